// The drivers that create machines only to destroy them.
#include <array>
#include <chrono>
#include <utility>

#include <boost/fiber/operations.hpp>
#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "stress/drivers/l2_vendor.hpp"
#include "stress/drivers/lives.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/wire/l2_spin.hpp"

namespace nestbed::stress {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t at_once = 4;

enum class End { created, booted, with_a_job, after_a_job };

// Runs "bringup.answer", and looks whether each vCPU has answered.
Status answer(const StressContext& context, machine::Machine& machine, bool await) {
    const auto job = on_all({machine, context.seed, context.deadline}, "bringup.answer");
    if (!await)
        return machine.start_job(job);
    return machine.run_job(job).and_then([&]() -> Status {
        for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu)
            if (job_value(machine, vcpu, 0) == 0)
                return fail(ErrorKind::check_failed, "run bringup.answer",
                            fmt::format("vCPU {} did not answer", vcpu));
        return {};
    });
}

Result<Counted> run_churn(const StressContext& context) {
    return run_lives(context, at_once,
                     [&](const Life& life) -> Status {
                         const auto end = static_cast<End>(life.random() % 4);
                         if (end == End::created)
                             return {};
                         if (auto up = life.machine.boot(context.deadline); !up || end == End::booted)
                             return up;
                         return answer(context, life.machine, end == End::after_a_job);
                     })
        .map([](Lives lives) { return counted(std::move(lives), at_once); });
}

std::uint64_t spin_pages(std::uint32_t vcpus) {
    return vcpus * (l2_pages_per_vcpu() + l2_pages_per_guest);
}
std::uint64_t spin_memory(std::uint32_t vcpus) {
    return round_up(spin_pages(vcpus) * nestbed::wire::page_bytes, 2 * MiB) + 2 * MiB;
}

// L2 runs on all vCPUs when this returns.
Status start_l2(const StressContext& context, const L2Vendor& vendor, const Life& life) {
    auto& machine = life.machine;
    if (auto up = machine.boot(context.deadline); !up)
        return up;
    Scratch scratch{machine};
    const auto unused = scratch.table<std::uint64_t>(1); // prepare_l2() has it
    const auto running = scratch.table<std::uint64_t>(1);
    const auto free =
        scratch.pages(l2_shared_pages(machine.plan().memory_bytes()) + spin_pages(machine.vcpus()));
    if (auto placed = first_error(unused, running, free); !placed)
        return tl::unexpected{placed.error()};
    const DriverContext on{machine, context.seed, context.deadline};
    if (auto prepared = prepare_l2(on, vendor, *free); !prepared)
        return tl::unexpected{prepared.error()};
    const auto job = l2_job("nested.l2_spin", vendor);
    const auto mix = life.random() % wire::l2_spin::modes;
    return machine.start_job(on_all(on, job, {*free, mix, running->address})).and_then([&] {
        return machine.await_guest(
            [&] { return __atomic_load_n(&running->entries[0], __ATOMIC_ACQUIRE) >= machine.vcpus(); },
            context.deadline, "run L2 on every vCPU");
    });
}

Result<Counted> run_kill(const StressContext& context) {
    // Which of the two it is, a first machine says; its table is that of all.
    const L2Vendor* vendor = nullptr;
    {
        const auto machine = create_machine(context.setup, context.supervisor);
        if (!machine)
            return tl::unexpected{machine.error()};
        vendor = l2_vendor((*machine)->cpuid());
    }
    if (vendor == nullptr)
        return skipped(std::string{no_l2_vendor});
    return run_lives(context, at_once,
                     [&](const Life& life) -> Status {
                         if (auto started = start_l2(context, *vendor, life); !started)
                             return started;
                         // Not always at the same instruction.
                         boost::this_fiber::sleep_for(std::chrono::microseconds{life.random() % 3000});
                         return {};
                     })
        .map([](Lives lives) { return counted(std::move(lives), at_once); });
}

constexpr std::string_view machines_grow =
    "machines are counted, and each is more work the more vCPUs it has";

constexpr std::array drivers{
    StressDriver{
        .name = "churn",
        .title = "Machines are created, run and destroyed, four at a time, at every stage of their lives",
        .invariant = "every vCPU that is asked answers, and no thread, descriptor, mapping or memory is left",
        .unit = "machines",
        .run = &run_churn,
        .machines = Machines::own,
        .not_parallel = machines_grow},
    StressDriver{.name = "l2-kill",
                 .title = "Machines are destroyed while L2 runs on all their vCPUs",
                 .invariant = "L2 runs on every vCPU, and no thread, descriptor, mapping or memory is left",
                 .unit = "machines",
                 .run = &run_kill,
                 .nested = true,
                 .machines = Machines::own,
                 .more_memory = &spin_memory,
                 .not_parallel = machines_grow},
};

} // namespace

std::span<const StressDriver> machine_drivers() {
    return drivers;
}

} // namespace nestbed::stress
