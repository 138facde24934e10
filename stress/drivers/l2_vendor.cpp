#include "stress/drivers/l2_vendor.hpp"

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "core/cpu/leaves.hpp"
#include "nested/svm/exit_code.hpp"
#include "nested/svm/vmcb_text.hpp"
#include "nested/vmx/exit_text.hpp"
#include "nested/wire/conform.hpp"

namespace nestbed::stress {

namespace {

namespace leaf = core::cpu::leaf;
namespace feature = core::cpu::feature;

constexpr L2Vendor svm_vendor{"svm", {"cpuid", "vmmcall", "ioio", "msr", "npf"}, [](std::uint64_t code) {
                                  return svm::exit_code_text(code);
                              }};
constexpr L2Vendor vmx_vendor{
    "vmx", {"cpuid", "vmcall", "io", "rdmsr", "ept_violation"}, [](std::uint64_t code) {
        return vmx::exit_reason_text(static_cast<std::uint32_t>(code));
    }};

} // namespace

const L2Vendor* l2_vendor(const core::cpu::Table& table) {
    const auto* const extended = core::cpu::find(table, leaf::extended_features);
    if (extended != nullptr && (extended->ecx >> feature::svm & 1) != 0)
        return &svm_vendor;
    const auto* const basic = core::cpu::find(table, leaf::features);
    if (basic != nullptr && (basic->ecx >> feature::vmx & 1) != 0)
        return &vmx_vendor;
    return nullptr;
}

std::uint64_t l2_shared_pages(std::uint64_t guest_memory_bytes) {
    return 32 + guest_memory_bytes / GiB;
}

std::uint64_t l2_pages_per_vcpu() {
    return sizeof(nested::wire::Report) / nestbed::wire::page_bytes + 8;
}

Result<bool> prepare_l2(const DriverContext& context, const L2Vendor& vendor, std::uint64_t free) {
    Scratch scratch{context.machine};
    const auto paging = scratch.table<std::uint64_t>(1);
    if (!paging)
        return tl::unexpected{paging.error()};
    const auto job = l2_job("nested.l2_prepare", vendor);
    auto prepare = on_all(context, job, {free, paging->address});
    prepare.end_vcpu = 1;
    if (auto ran = context.machine.run_job(prepare); !ran)
        return tl::unexpected{ran.error()};
    const bool seen = paging->entries[0] == 1;
    paging->entries[0] = 0;
    return seen;
}

std::string l2_job(std::string_view name, const L2Vendor& vendor) {
    return fmt::format("{}_{}", name, vendor.suffix);
}

} // namespace nestbed::stress
