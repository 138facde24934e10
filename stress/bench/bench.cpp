#include "stress/bench/bench.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.hpp"
#include "core/kvm/kvm.hpp"
#include "stress/bench/child_process.hpp"
#include "topology/plan.hpp"

namespace nestbed::bench {

namespace {

using Samples = std::vector<double>;
using Announce = std::function<void(const std::string&)>;

constexpr std::uint64_t exits_counted = 5000;
constexpr std::uint32_t default_vcpus = 288;
constexpr std::uint32_t most_vcpus = 1024;

report::Summary seconds(const Samples& samples) {
    return report::summarize(samples, "s");
}

class Bench {
public:
    Bench(const BenchRequest& request, const Announce& announce,
          const std::function<void(const Figure&)>& done)
        : _request{request}, _announce{announce}, _done{done},
          _floor{
              (std::filesystem::path{request.program}.parent_path().parent_path() / "bench" / "nestbed-floor")
                  .string()} {}

    Status run(const std::string& name) {
        if (name == "bringup")
            return bringup();
        if (name == "exit")
            return exit();
        if (name == "memory")
            return memory();
        return plan();
    }

private:
    Result<ChildRun> child(const std::vector<std::string>& arguments) {
        auto run = run_child(arguments, _request.timeout);
        if (run && run->exit_code != 0)
            return fail(ErrorKind::host_lacks, fmt::format("run {}", fmt::join(arguments, " ")),
                        fmt::format("exit code {}", run->exit_code), "run it by hand to see what it says");
        return run;
    }
    Result<ChildRun> ours(const std::string& mode, std::uint64_t number) {
        return child({_request.program, "bench-child", mode, std::to_string(number)});
    }
    Result<ChildRun> floor(const std::string& mode, std::uint64_t number) {
        return child({_floor, mode, std::to_string(number)});
    }

    Status bringup() {
        Samples our_times;
        Samples floor_times;
        Samples other_times;
        int exit_code = 0;
        for (unsigned i = 0; i < _request.repeat; ++i) {
            _announce(fmt::format("bringup {} of {}", i + 1, _request.repeat));
            const auto mine = ours("bringup", _request.vcpus);
            const auto bare = floor("bringup", _request.vcpus);
            if (!mine)
                return tl::unexpected{mine.error()};
            if (!bare)
                return tl::unexpected{bare.error()};
            our_times.push_back(mine->seconds_to_line);
            floor_times.push_back(bare->seconds_to_line);
            if (_request.against.empty())
                continue;
            // Its exit code is its own affair: QEMU's test device never answers 0.
            const auto other = run_child({"/bin/sh", "-c", _request.against}, _request.timeout);
            if (!other)
                return tl::unexpected{other.error()};
            other_times.push_back(other->seconds_to_end);
            // Not judged, since a test device may answer anything; shown, since a command that fails at once
            // is fast.
            exit_code = other->exit_code;
        }
        _done({.name = "bringup/floor",
               .unit = "s",
               .ours = seconds(our_times),
               .other = seconds(floor_times),
               .ratio = report::summarize(pairwise_ratios(our_times, floor_times), ""),
               .what = fmt::format(
                   "{} vCPUs online and each interrupted, to a bare program that brings them online",
                   _request.vcpus),
               .target = 1.5});
        if (!other_times.empty())
            _done({.name = "bringup/against",
                   .unit = "s",
                   .ours = seconds(our_times),
                   .other = seconds(other_times),
                   .ratio = report::summarize(pairwise_ratios(other_times, our_times), ""),
                   .what = fmt::format(
                       "the given command as a whole (its last exit code was {}), to nestbed with {} vCPUs",
                       exit_code, _request.vcpus),
                   .target = 5,
                   .at_most = false});
        return {};
    }

    Status exit() {
        Samples our_ticks;
        Samples floor_ticks;
        for (unsigned i = 0; i < _request.repeat; ++i) {
            _announce(fmt::format("exit {} of {}", i + 1, _request.repeat));
            const auto mine = ours("exit", exits_counted);
            const auto bare = floor("exit", exits_counted);
            if (!mine)
                return tl::unexpected{mine.error()};
            if (!bare)
                return tl::unexpected{bare.error()};
            our_ticks.push_back(std::strtod(mine->line.c_str(), nullptr));
            floor_ticks.push_back(std::strtod(bare->line.c_str(), nullptr));
        }
        _done({.name = "exit/floor",
               .unit = "ticks",
               .ours = report::summarize(our_ticks, "ticks"),
               .other = report::summarize(floor_ticks, "ticks"),
               .ratio = report::summarize(pairwise_ratios(our_ticks, floor_ticks), ""),
               .what = fmt::format("median of {} OUTs to user space, to a bare KVM_RUN loop", exits_counted),
               .target = 1.05});
        return {};
    }

    Status memory() {
        Samples per_vcpu;
        const auto kvm = kvm::Kvm::open();
        if (!kvm)
            return tl::unexpected{kvm.error()};
        const auto many_vcpus =
            std::min(most_vcpus, static_cast<std::uint32_t>(kvm->check_extension(KVM_CAP_MAX_VCPUS)));
        const auto few_vcpus = std::min(default_vcpus, many_vcpus / 2);
        for (unsigned i = 0; i < std::min(_request.repeat, 3U); ++i) {
            _announce(fmt::format("memory {} of {}", i + 1, std::min(_request.repeat, 3U)));
            const auto few = ours("memory", few_vcpus);
            const auto many = ours("memory", many_vcpus);
            if (!few)
                return tl::unexpected{few.error()};
            if (!many)
                return tl::unexpected{many.error()};
            per_vcpu.push_back(
                (std::strtod(many->line.c_str(), nullptr) - std::strtod(few->line.c_str(), nullptr)) /
                (many_vcpus - few_vcpus));
        }
        _done({.name = "memory/vcpu",
               .unit = "KiB",
               .ours = report::summarize(per_vcpu, "KiB"),
               .other = {},
               .ratio = {},
               .what = fmt::format("resident beyond guest RAM, for each vCPU from {} to {}", few_vcpus,
                                   many_vcpus),
               .target = 32});
        return {};
    }

    Status plan() {
        _announce("plan");
        const auto host = topology::discover("pack:16 [numa(memory=64GB)] core:128 pu:2");
        if (!host)
            return tl::unexpected{host.error()};
        for (const auto policy : topology::all_policies()) {
            Samples milliseconds;
            for (unsigned i = 0; i < 20; ++i) {
                const auto start = std::chrono::steady_clock::now();
                const auto made = topology::plan({.vcpus = most_vcpus,
                                                  .memory_bytes = 64 * GiB,
                                                  .policy = policy,
                                                  .page_size = topology::PageSize::base,
                                                  .shape = {}},
                                                 *host);
                if (!made)
                    return tl::unexpected{made.error()};
                milliseconds.push_back(
                    std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                        .count());
            }
            _done({.name = fmt::format("plan/{}", topology::to_string(policy)),
                   .unit = "ms",
                   .ours = report::summarize(milliseconds, "ms"),
                   .other = {},
                   .ratio = {},
                   .what = fmt::format("{} vCPUs on 4096 PUs in 16 nodes, the host being known", most_vcpus),
                   .target = 100});
        }
        return {};
    }

    const BenchRequest& _request;
    const Announce& _announce;
    const std::function<void(const Figure&)>& _done;
    std::string _floor;
};

} // namespace

bool Figure::holds() const {
    const auto value = ratio ? ratio->median : ours.median;
    return at_most ? value <= target : value >= target;
}

const std::vector<std::string>& bench_names() {
    static const std::vector<std::string> names{"bringup", "exit", "memory", "plan"};
    return names;
}

std::vector<double> pairwise_ratios(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        ratios.push_back(a[i] / b[i]);
    return ratios;
}

Status run_bench(const BenchRequest& request, const Announce& progress,
                 const std::function<void(const Figure&)>& done) {
    for (const auto& name : request.names)
        if (std::ranges::find(bench_names(), name) == bench_names().end())
            return fail(ErrorKind::bad_input, fmt::format("run the benchmark \"{}\"", name),
                        "there is none of that name",
                        fmt::format("there are: {}", fmt::join(bench_names(), ", ")));
    Bench bench{request, progress, done};
    for (const auto& name : request.names.empty() ? bench_names() : request.names)
        if (auto ran = bench.run(name); !ran)
            return ran;
    return {};
}

} // namespace nestbed::bench
