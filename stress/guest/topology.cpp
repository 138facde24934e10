#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::guest {

NESTBED_JOB(cpuid_dump, "topology.cpuid", "What CPUID tells each vCPU of the topology",
            "SDM volume 2, CPUID; APM volume 3, appendix E") {
    using namespace stress::wire::cpuid_dump;
    auto& mailbox = this_vcpu();
    const auto* const list = pointer_to<const Leaf>(job_argument(leaves));
    const auto length = job_argument(count);
    auto* const out = pointer_to<Registers>(job_argument(results)) + mailbox.vcpu * length;
    for (std::uint64_t i = 0; i < length; ++i) {
        const auto seen = cpuid(list[i].leaf, list[i].subleaf);
        out[i] = {seen.eax, seen.ebx, seen.ecx, seen.edx};
    }
    mailbox.job_value[x2apic_id] = apic::read(apic::Register::id);
}

} // namespace nestbed::guest
