#include <array>
#include <chrono>
#include <optional>

#include <fmt/format.h>

#include "stress/checks.hpp"
#include "stress/drivers/died.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/footprint.hpp"

namespace nestbed::stress {

namespace {

using supervise::Clock;

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Bringups {
    std::vector<double> create_ms;
    std::vector<double> boot_ms;
    std::vector<double> end_ms;
    std::vector<std::string> wrong;
    std::optional<Counted> death; // of one of the machines, which ends the work
};

// One machine, from nothing to nothing. Errors: what ends the sweep.
Status bring_up_once(const StressContext& context, std::uint64_t number, Bringups& all) {
    auto start = Clock::now();
    auto machine = create_machine(context.setup, context.supervisor);
    if (!machine)
        return tl::unexpected{machine.error()};
    all.create_ms.push_back(ms_since(start));
    start = Clock::now();
    auto alive = (*machine)->boot(context.deadline);
    if (alive) {
        all.boot_ms.push_back(ms_since(start));
        for (const auto check : {&check_online, &check_answer}) {
            const auto found = check({**machine, context.seed, context.deadline});
            if (!found) {
                alive = tl::unexpected{found.error()};
                break;
            }
            if (!found->good)
                all.wrong.push_back(fmt::format("machine {}: {}", number, found->summary));
        }
    }
    if (!alive && !is_death(alive.error()))
        return alive;
    if (!alive)
        all.death = died(**machine, alive.error());
    start = Clock::now();
    if (auto stopped = (*machine)->stop(); !stopped)
        all.wrong.push_back(fmt::format("machine {}: {}", number, stopped.error().message()));
    machine->reset();
    all.end_ms.push_back(ms_since(start));
    // A death ends the loop of repeat_until_over() with an error, which is not told on.
    return alive;
}

Result<Counted> run_bringup(const StressContext& context) {
    const auto before = footprint();
    if (!before)
        return tl::unexpected{before.error()};
    Bringups all;
    const auto paced =
        repeat_until_over(context, [&](std::uint64_t number) { return bring_up_once(context, number, all); });
    if (all.death)
        return std::move(*all.death);
    if (!paced)
        return tl::unexpected{paced.error()};
    const auto after = settled_footprint(*before);
    if (!after)
        return tl::unexpected{after.error()};
    if (!after->within(*before))
        all.wrong.push_back(fmt::format("{} threads and {} descriptors before, {} and {} after",
                                        before->threads, before->descriptors, after->threads,
                                        after->descriptors));
    const auto machines = all.boot_ms.size();
    const auto vcpus = context.setup.plan.vcpus.size();
    Counted counted{
        .verdict = verdict_of(all.wrong),
        .summary = fmt::format("{} machines of {}, {} wrong", machines, vcpus_text(vcpus), all.wrong.size()),
        .details = capped(std::move(all.wrong)),
        .operations = static_cast<double>(machines * vcpus),
        .seconds = paced->seconds};
    counted.distributions.push_back(distribution("create", "ms", all.create_ms));
    counted.distributions.push_back(distribution("boot", "ms", all.boot_ms));
    counted.distributions.push_back(distribution("end", "ms", all.end_ms));
    return counted;
}

constexpr std::array drivers{
    StressDriver{
        .name = "bringup",
        .title = "Machines made, brought up by one broadcast INIT-SIPI-SIPI, and ended",
        .invariant =
            "every vCPU comes online with the APIC id of the plan and answers an interrupt; no thread "
            "and no descriptor is left behind",
        .unit = "vCPUs",
        .run = &run_bringup,
        .machines = Machines::own},
};

} // namespace

std::span<const StressDriver> bringup_drivers() {
    return drivers;
}

} // namespace nestbed::stress
