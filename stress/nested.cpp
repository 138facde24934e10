#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "core/cpu/leaves.hpp"
#include "nested/svm/exit_code.hpp"
#include "nested/svm/features.hpp"
#include "nested/svm/vmcb_text.hpp"
#include "nested/vmx/exit_text.hpp"
#include "nested/wire/conform.hpp"
#include "stress/checks.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

namespace {

namespace dump = wire::cpuid_dump;
namespace l2 = wire::l2_exits;
namespace leaf = core::cpu::leaf;
namespace feature = core::cpu::feature;

constexpr std::array leaves{dump::Leaf{leaf::features, 0}, dump::Leaf{leaf::extended_features, 0},
                            dump::Leaf{leaf::svm, 0}};
// What differs between the vendors: jobs, names as their manuals have them, and an exit in words.
struct Vendor {
    std::string_view prepare;
    std::string_view exits;
    std::array<std::string_view, l2::kinds> kinds;
    std::string (*exit_text)(std::uint64_t code);
};
constexpr Vendor svm_vendor{"nested.l2_prepare_svm",
                            "nested.l2_exits_svm",
                            {"l2_cpuid", "l2_vmmcall", "l2_ioio", "l2_msr", "l2_npf"},
                            [](std::uint64_t code) { return svm::exit_code_text(code); }};
constexpr Vendor vmx_vendor{

    "nested.l2_prepare_vmx",
    "nested.l2_exits_vmx",
    {"l2_cpuid", "l2_vmcall", "l2_io", "l2_rdmsr", "l2_ept_violation"},
    [](std::uint64_t code) { return vmx::exit_reason_text(static_cast<std::uint32_t>(code)); }};
// Of each kind on each vCPU: as many as take two seconds at most, and a few in any case.
constexpr std::uint64_t rounds = 50;
constexpr std::uint64_t fewest_rounds = 5;
constexpr std::uint64_t patience_ms = 2000;
constexpr std::uint64_t warmup_part = 10; // the first tenth
// A report that only a failure writes, and L2's context, VMCB, permission maps, L1's own two pages: 17 or so.
constexpr std::uint64_t pages_per_vcpu = sizeof(nested::wire::Report) / nestbed::wire::page_bytes + 24;

// Of nested page tables that map 4 GiB and all memory in 2 MiB pages.
std::uint64_t shared_pages(const machine::Machine& machine) {
    return 32 + machine.plan().memory_bytes() / GiB;
}

bool bit(std::uint32_t value, unsigned number) {
    return (value >> number & 1) != 0;
}

// What a table shows of nested virtualization, in the order of `leaves`: VMX, SVM, SVM's features.
struct Shown {
    bool vmx = false;
    bool svm = false;
    std::uint32_t svm_features = 0;
    bool operator==(const Shown&) const = default;
};

std::string to_string(const Shown& shown) {
    return fmt::format("VMX {}, SVM {}, Fn8000_000A EDX {:#x}", shown.vmx ? "yes" : "no",
                       shown.svm ? "yes" : "no", shown.svm_features);
}

Shown planned(const core::cpu::Table& table) {
    const auto* const basic = core::cpu::find(table, leaf::features);
    const auto* const extended = core::cpu::find(table, leaf::extended_features);
    const auto* const svm_leaf = core::cpu::find(table, leaf::svm);
    return {.vmx = basic != nullptr && bit(basic->ecx, feature::vmx),
            .svm = extended != nullptr && bit(extended->ecx, feature::svm),
            .svm_features = svm_leaf != nullptr ? svm_leaf->edx : 0};
}

// Whether L2 says that its patience ended, which it has for the first few.
bool is_cut(const l2::Counts& seen) {
    return seen.given_up == 1 && seen.made >= fewest_rounds && seen.made < rounds;
}

std::vector<std::string> complaints_of(const Vendor& vendor, std::uint32_t vcpu,
                                       std::span<const l2::Counts> counts, bool has_paging) {
    std::vector<std::string> lines;
    for (std::uint64_t kind = 0; kind < l2::kinds; ++kind) {
        if (kind == l2::nested_page_fault && !has_paging)
            continue;
        const auto seen = counts[kind];
        if (seen.wrong != 0)
            lines.push_back(fmt::format("vCPU {}, {}: {} after {} good exits", vcpu, vendor.kinds[kind],
                                        vendor.exit_text(seen.wrong_code), seen.handled));
        else if (seen.made != seen.handled || seen.ended != 1 || (seen.made != rounds && !is_cut(seen)))
            lines.push_back(fmt::format("vCPU {}, {}: L2 made {} exits, L1 saw {}, {} were to be{}", vcpu,
                                        vendor.kinds[kind], seen.made, seen.handled, rounds,
                                        seen.ended == 1 ? "" : "; L2 did not come to its end"));
    }
    return lines;
}

} // namespace

Result<Finding> check_nested_shown(const DriverContext& context) {
    auto& machine = context.machine;
    Scratch scratch{machine};
    const auto list = scratch.table<dump::Leaf>(leaves.size());
    const auto results = scratch.table<dump::Registers>(leaves.size() * machine.vcpus());
    if (auto both = first_error(list, results); !both)
        return tl::unexpected{both.error()};
    std::ranges::copy(leaves, list->entries.begin());
    if (auto ran = machine.run_job(
            on_all(context, "topology.cpuid", {list->address, leaves.size(), results->address}));
        !ran)
        return tl::unexpected{ran.error()};
    const auto want = planned(machine.cpuid());
    std::vector<std::string> wrong;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        const auto* const seen = &results->entries[vcpu * leaves.size()];
        const Shown shown{.vmx = bit(seen[0].ecx, feature::vmx),
                          .svm = bit(seen[1].ecx, feature::svm),
                          .svm_features = bit(seen[1].ecx, feature::svm) ? std::uint32_t{seen[2].edx} : 0};
        if (shown != want)
            wrong.push_back(
                fmt::format("vCPU {}: {}; planned is {}", vcpu, to_string(shown), to_string(want)));
    }
    return Finding{.good = wrong.empty(),
                   .summary = wrong.empty() ? to_string(want)
                                            : fmt::format("{} see something else", vcpus_text(wrong.size())),
                   .details = capped(std::move(wrong))};
}

Result<Finding> check_l2_exits(const DriverContext& context) {
    auto& machine = context.machine;
    const auto shown = planned(machine.cpuid());
    if (!shown.svm && !shown.vmx)
        return Finding{.good = false, .skip = "the guest is shown neither SVM nor VMX"};
    const auto& vendor = shown.svm ? svm_vendor : vmx_vendor;
    Scratch scratch{machine};
    const auto counts = scratch.table<l2::Counts>(machine.vcpus() * l2::kinds);
    const auto samples = scratch.table<std::uint64_t>(machine.vcpus() * l2::kinds * rounds);
    const auto paging = scratch.table<std::uint64_t>(1);
    const auto free = scratch.pages(shared_pages(machine) + machine.vcpus() * pages_per_vcpu);
    if (auto all = first_error(counts, samples, paging, free); !all)
        return tl::unexpected{all.error()};
    auto prepare = on_all(context, vendor.prepare, {*free, paging->address});
    prepare.end_vcpu = 1;
    auto ran = machine.run_job(prepare).and_then([&] {
        return machine.run_job(on_all(context, vendor.exits,
                                      {*free, rounds, samples->address, counts->address, fewest_rounds,
                                       patience_ms * machine.tsc_khz()}));
    });
    if (!ran)
        return tl::unexpected{ran.error()};

    const bool has_paging = paging->entries[0] == 1;
    Finding finding{.good = true, .summary = {}};
    std::vector<std::string> wrong;
    std::uint64_t handled = 0;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        const auto mine = std::span{counts->entries}.subspan(vcpu * l2::kinds, l2::kinds);
        for (auto& line : complaints_of(vendor, vcpu, mine, has_paging))
            wrong.push_back(std::move(line));
        for (const auto& kind : mine)
            handled += kind.handled;
    }
    finding.good = wrong.empty();
    finding.summary =
        fmt::format("{} exits on {}, {} wrong; median", handled, vcpus_text(machine.vcpus()), wrong.size());
    for (std::uint64_t kind = 0; kind < l2::kinds; ++kind) {
        if (kind == l2::nested_page_fault && !has_paging)
            continue;
        std::vector<double> us;
        for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
            const auto mine = vcpu * l2::kinds + kind;
            const auto made = std::min(counts->entries[mine].made, rounds);
            for (auto round = made / warmup_part; round < made; ++round)
                us.push_back(ticks_to_us(machine, samples->entries[mine * rounds + round]));
        }
        auto measured = report::measure(std::string{vendor.kinds[kind]}, "us", us);
        finding.summary += fmt::format(" {} {:.1f}", measured.name, measured.summary.median);
        finding.measurements.push_back(std::move(measured));
    }
    finding.summary += " us";
    finding.details = capped(std::move(wrong));
    return finding;
}

} // namespace nestbed::stress
