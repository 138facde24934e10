#include "stress/wire/l2_spin.hpp"
#include "stress/guest/l2_svm.hpp"
#include "stress/guest/l2_tables.hpp"
#include "stress/guest/l2_vmx.hpp"

namespace nestbed::guest {

namespace {

namespace job = stress::wire::l2_spin;

// Ends with the machine.
template<typename Driver>
void spin() {
    auto& running = *pointer_to<std::uint64_t>(job_argument(job::running));
    const auto mode = (job_argument(job::mix) + this_vcpu().vcpu) % job::modes;
    Driver::enable();
    Driver l2{shared_tables<Driver>(), L2Kind::whole};
    auto body = [&] {
        if (add(running, std::uint64_t{1}) + 1 == header().vcpus)
            out32(nestbed::wire::doorbell_port, 1);
        for (;;) {
            if (mode == job::exit)
                Driver::hypercall();
            else if (mode == job::halt)
                asm volatile("hlt" : : : "memory");
            else
                pause();
        }
    };
    l2.start(body);
    for (;;) {
        const auto exit = l2.enter();
        if (exit == conform::L2Exit::hypercall && !l2.at_end())
            l2.skip(3);
        else if (exit != conform::L2Exit::interrupt)
            return;
    }
}

} // namespace

NESTBED_JOB(l2_spin_svm, "nested.l2_spin_svm", "L2 runs on every vCPU until the machine is gone", "") {
    spin<SvmDriver>();
}
NESTBED_JOB(l2_spin_vmx, "nested.l2_spin_vmx", "L2 runs on every vCPU until the machine is gone", "") {
    spin<VmxDriver>();
}

} // namespace nestbed::guest
