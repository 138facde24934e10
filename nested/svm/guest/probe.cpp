#include "nested/svm/guest/probe.hpp"

#include <cstddef>

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/l1.hpp"

namespace nestbed::svm {

static_assert(offsetof(Probe, rsp_before) == 32);
static_assert(offsetof(Probe, rflags_after) == 56);
static_assert(offsetof(Probe, cs) == 64);
static_assert(offsetof(Probe, guest_loaded) == 96);

Probed probe_vmrun(L2& guest, ProbeOptions options) {
    Probed probed{};
    static Vmcb* left; // the same for every call: tests probe in loops
    if (left == nullptr)
        left = &conform::allocate<Vmcb>();
    probed.left = left;
    probed.vmcb = guest.vmcb_pa();
    probed.after = conform::physical(left);
    probed.host = conform::physical(this_host().state);
    probed.rflags = options.rflags;
    probed.guest_loaded = options.load_guest ? 1 : 0;
    auto& report = conform::report();
    const bool keep = report.frozen == 0;
    if (keep)
        conform::copy_page(report.written, &guest.vmcb());
    ++report.runs;
    guest::store(report.in_l2, std::uint64_t{1});
    svm_probe(&probed, &guest.registers);
    guest::store(report.in_l2, std::uint64_t{0});
    if (keep)
        conform::copy_page(report.after, &guest.vmcb());
    return probed;
}

} // namespace nestbed::svm
