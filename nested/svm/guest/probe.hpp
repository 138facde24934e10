// VMRUN alone, seen closely: what L1 has right before it and right after it, when nothing but VMRUN and the
// #VMEXIT has switched state. For tests of the switch itself; guests are run by L2::run().
#pragma once

#include <cstdint>

#include "nested/svm/guest/l1.hpp"
#include "nested/svm/guest/l2.hpp"

namespace nestbed::svm {

// The offsets are used by probe.S.
struct Probe {
    std::uint64_t vmcb;       // RAX at VMRUN
    std::uint64_t after;      // VMSAVE to here right after VMRUN
    std::uint64_t host;       // then VMLOAD from here, see Host::state
    std::uint64_t rflags;     // at VMRUN
    std::uint64_t rsp_before; // at VMRUN
    std::uint64_t rsp_after;  // and everything below is of right after VMRUN
    std::uint64_t rax_after;
    std::uint64_t rflags_after;
    std::uint64_t cs, ss, ds, es;
    std::uint64_t guest_loaded; // 1: VMLOAD of `vmcb` before VMRUN
};

extern "C" void svm_probe(Probe* probe, GeneralRegisters* registers);

struct ProbeOptions {
    std::uint64_t rflags = 2;
    bool load_guest = true; // VMLOAD of the guest's VMCB before VMRUN, else it runs with L1's FS, GS, TR...
};

// What L1 finds after one VMRUN. GIF at VMRUN is what the caller made it; it is left as the #VMEXIT made it.
struct Probed : Probe {
    Vmcb* left; // VMSAVE of right after VMRUN
};
Probed probe_vmrun(L2& guest, ProbeOptions options = {});

} // namespace nestbed::svm
