#include <vector>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "core/cpu/seen.hpp"
#include "stress/checks.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

Result<Finding> check_topology(const DriverContext& context) {
    namespace dump = wire::cpuid_dump;
    auto& machine = context.machine;
    const auto wanted = core::cpu::leaves_to_dump(machine.cpuid());
    Scratch scratch{machine};
    const auto leaves = scratch.table<dump::Leaf>(wanted.size());
    const auto results = scratch.table<dump::Registers>(wanted.size() * machine.vcpus());
    if (auto placed = first_error(leaves, results); !placed)
        return tl::unexpected{placed.error()};
    for (std::size_t i = 0; i < wanted.size(); ++i)
        leaves->entries[i] = {wanted[i].leaf, wanted[i].subleaf};
    if (auto ran = machine.run_job(
            on_all(context, "topology.cpuid", {leaves->address, wanted.size(), results->address}));
        !ran)
        return tl::unexpected{ran.error()};

    std::vector<std::string> complaints;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        std::vector<core::cpu::SeenCpuid> seen;
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            const auto registers = results->entries[vcpu * wanted.size() + i];
            seen.push_back({wanted[i].leaf, wanted[i].subleaf, registers.eax, registers.ebx, registers.ecx,
                            registers.edx});
        }
        const auto id = static_cast<std::uint32_t>(job_value(machine, vcpu, dump::x2apic_id));
        for (const auto& line : core::cpu::topology_complaints(machine.plan().shape, vcpu, seen, id))
            complaints.push_back(fmt::format("vCPU {}: {}", vcpu, line));
    }
    return Finding{.good = complaints.empty(),
                   .summary = complaints.empty() ? fmt::format("{} leaves on {} agree with {}", wanted.size(),
                                                               vcpus_text(machine.vcpus()),
                                                               topology::format_shape(machine.plan().shape))
                                                 : fmt::format("{} complaints", complaints.size()),
                   .details = capped(std::move(complaints))};
}

} // namespace nestbed::stress
