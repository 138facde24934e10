// Coming online is the runtime's own doing and stamped in the mailbox; here each vCPU shows that it takes an
// interrupt.
#include "core/guest/runtime.hpp"

namespace nestbed::guest {

NESTBED_JOB(answer, "bringup.answer", "Every vCPU takes an interrupt and answers", "") {
    // The host sends each vCPU an interrupt of its own; one that was still on its way up sees the job before
    // it.
    auto& mailbox = this_vcpu();
    halt_until([&] { return load(mailbox.wakes) != 0; });
    mailbox.job_value[0] = rdtsc();
}

} // namespace nestbed::guest
