// What a child of the benchmarks does: the way that `nestbed validate` goes, as far as the figure reaches.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/supervise/supervisor.hpp"
#include "stress/bench/bench.hpp"
#include "stress/setup.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::bench {

namespace {

using namespace std::chrono_literals;
constexpr auto patience = 280s;

Result<double> resident_kib() {
    std::ifstream file{"/proc/self/smaps_rollup"};
    std::string word;
    double kib = 0;
    while (file >> word)
        if (word == "Rss:" && file >> kib)
            return kib;
    return fail(ErrorKind::host_lacks, "read /proc/self/smaps_rollup", "it names no Rss",
                "use Linux 4.14 or newer");
}

Result<std::string> answered(machine::Machine& machine) {
    if (auto ran = machine.run_job({.name = "bringup.answer",
                                    .arguments = {},
                                    .first_vcpu = 0,
                                    .end_vcpu = machine.vcpus(),
                                    .deadline = patience});
        !ran)
        return tl::unexpected{ran.error()};
    return "answered";
}

Result<std::string> exit_ticks(machine::Machine& machine, std::uint64_t count) {
    namespace job = stress::wire::exits;
    const auto address = machine.scratch().address;
    if (auto ran = machine.run_job({.name = "exits.cost",
                                    .arguments = {job::port_out, count, address},
                                    .first_vcpu = 0,
                                    .end_vcpu = 1,
                                    .deadline = patience});
        !ran)
        return tl::unexpected{ran.error()};
    const auto* const first = machine.memory().object<std::uint64_t>(address, count);
    if (first == nullptr)
        return fail(ErrorKind::bad_input, fmt::format("time {} exits", count), "no room for so many samples");
    std::vector<std::uint64_t> ticks{first, first + count};
    std::ranges::nth_element(ticks, ticks.begin() + static_cast<std::ptrdiff_t>(count / 2));
    return fmt::format("{:.1f}", static_cast<double>(ticks[count / 2]));
}

Result<std::string> memory_beyond_guest(machine::Machine& machine) {
    if (auto all = answered(machine); !all)
        return all;
    return resident_kib().map([&](double kib) {
        return fmt::format("{:.1f}", kib - static_cast<double>(machine.plan().memory_bytes()) / KiB);
    });
}

} // namespace

Status run_bench_child(const std::string& mode, std::uint64_t number) {
    const auto vcpus = mode == "exit" ? 1U : static_cast<std::uint32_t>(number);
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return tl::unexpected{supervisor.error()};
    stress::MachineRequest request;
    request.vcpus = vcpus;
    const auto setup = stress::set_up(request, stress::look_at_host());
    if (!setup)
        return tl::unexpected{setup.error()};
    auto machine = stress::create_machine(*setup, **supervisor);
    if (!machine)
        return tl::unexpected{machine.error()};
    if (auto booted = (*machine)->boot(patience); !booted)
        return booted;
    const auto line = mode == "exit"     ? exit_ticks(**machine, number)
                      : mode == "memory" ? memory_beyond_guest(**machine)
                                         : answered(**machine);
    if (!line)
        return tl::unexpected{line.error()};
    fmt::print("{}\n", *line);
    std::fflush(stdout);
    return {};
}

} // namespace nestbed::bench
