#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "core/machine/guest_text.hpp"
#include "stress/checks.hpp"

namespace nestbed::stress {

namespace {

std::uint64_t read_shared(const std::uint64_t& value) {
    return __atomic_load_n(&value, __ATOMIC_ACQUIRE);
}

} // namespace

Result<Finding> check_online(const DriverContext& context) {
    auto& machine = context.machine;
    // Waited for by Machine::boot(); here it is judged and measured.
    Finding finding;
    const auto init = read_shared(machine.header().tsc_init);
    std::vector<double> us;
    std::vector<std::string> wrong;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        const auto& mailbox = machine.mailbox(vcpu);
        const auto planned = machine.plan().vcpus[vcpu].apic_id;
        const auto online = read_shared(mailbox.tsc_online);
        const auto seen = read_shared(mailbox.seen_apic_id);
        if (online == 0)
            wrong.push_back(fmt::format("vCPU {} is not online", vcpu));
        else if (seen != planned)
            wrong.push_back(
                fmt::format("vCPU {} has APIC id {} in its x2APIC, planned is {}", vcpu, seen, planned));
        if (vcpu != 0 && online > init)
            us.push_back(ticks_to_us(machine, online - init));
    }
    const auto online = read_shared(machine.header().online);
    if (online != machine.vcpus())
        wrong.push_back(fmt::format("{} came online, planned are {}", online, machine.vcpus()));
    finding.good = wrong.empty();
    const auto slowest = us.empty() ? 0 : *std::max_element(us.begin(), us.end());
    finding.summary = wrong.empty()
                          ? fmt::format("{} online, the last {:.1f} ms after INIT",
                                        vcpus_text(machine.vcpus()), slowest / 1000)
                          : fmt::format("{} of {} wrong", wrong.size(), vcpus_text(machine.vcpus()));
    finding.details = capped(std::move(wrong));
    if (!us.empty())
        finding.measurements.push_back(
            report::measure("init_to_online", "us", us, 0, report::RawSamples::keep));
    return finding;
}

Result<Finding> check_answer(const DriverContext& context) {
    // Each vCPU is woken by an MSI of its own; run_job() fails unless all of them answer.
    if (auto ran = context.machine.run_job(on_all(context, "bringup.answer")); !ran)
        return tl::unexpected{ran.error()};
    std::uint64_t wakes = 0;
    std::vector<std::uint32_t> silent;
    for (std::uint32_t vcpu = 0; vcpu < context.machine.vcpus(); ++vcpu) {
        const auto taken = read_shared(context.machine.mailbox(vcpu).wakes);
        wakes += taken;
        if (taken == 0)
            silent.push_back(vcpu);
    }
    // A vCPU that was awake for another reason may see its job before it takes the interrupt; it takes it all
    // the same.
    if (!silent.empty())
        return Finding{.good = false,
                       .summary = fmt::format("no interrupt taken by {}", machine::vcpu_list(silent))};
    return Finding{.good = true,
                   .summary = fmt::format("{} answered, {} interrupts taken",
                                          vcpus_text(context.machine.vcpus()), wakes)};
}

Result<Finding> check_spurious(const DriverContext& context) {
    std::vector<std::string> wrong;
    std::uint64_t total = 0;
    for (std::uint32_t vcpu = 0; vcpu < context.machine.vcpus(); ++vcpu) {
        const auto& mailbox = context.machine.mailbox(vcpu);
        const auto count = read_shared(mailbox.spurious_interrupts);
        total += count;
        if (count != 0)
            wrong.push_back(fmt::format("vCPU {}: {}, the last with vector {:#x}", vcpu, count,
                                        read_shared(mailbox.last_spurious_vector)));
    }
    return Finding{
        .good = total == 0,
        .summary = fmt::format("{} unexpected interrupts on {}", total, vcpus_text(context.machine.vcpus())),
        .details = capped(std::move(wrong))};
}

} // namespace nestbed::stress
