#include "stress/bench/bench.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/printable.hpp"
#include "base/units.hpp"
#include "core/kvm/kvm.hpp"
#include "stress/bench/child_process.hpp"
#include "stress/bench/race.hpp"
#include "stress/bench/rounds.hpp"
#include "stress/setup.hpp"
#include "topology/plan.hpp"

namespace nestbed::bench {

namespace {

using Samples = std::vector<double>;
using Done = std::function<void(const Figure&)>;

constexpr std::uint64_t exits_counted = 5000;
constexpr std::uint32_t most_vcpus = 1024;
constexpr unsigned most_memory_rounds = 3;

// nestbed and its floor say with their exit code what went wrong, as exit_code() has it.
ErrorKind kind_of(int exit_code) {
    for (const auto kind : {ErrorKind::bad_input, ErrorKind::host_lacks, ErrorKind::cancelled})
        if (nestbed::exit_code(kind) == exit_code)
            return kind;
    return ErrorKind::check_failed;
}

class Bench {
public:
    Bench(const BenchRequest& request, const Progress& announce, const Done& done)
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
        if (name == "race")
            return run_race({.commands = _request.commands,
                             .lines = _request.lines,
                             .rounds = _request.repeat,
                             .timeout = _request.timeout},
                            _announce, _done);
        return plan();
    }

private:
    [[nodiscard]] Result<ChildRun> child(const std::vector<std::string>& arguments) const {
        auto run = run_child(arguments, _request.timeout);
        if (run && run->exit_code != 0)
            return fail(kind_of(run->exit_code), fmt::format("run {}", fmt::join(arguments, " ")),
                        ending_text(*run), "run it by hand to see all that it says");
        return run;
    }
    [[nodiscard]] Result<ChildRun> ours(const std::string& mode, std::uint64_t number) const {
        return child({_request.program, "bench-child", mode, std::to_string(number)});
    }
    [[nodiscard]] Result<ChildRun> floor(const std::string& mode, std::uint64_t number) const {
        return child({_floor, mode, std::to_string(number)});
    }
    [[nodiscard]] Result<double> against() const {
        const auto run = run_child({"/bin/sh", "-c", _request.against}, _request.timeout);
        if (!run)
            return tl::unexpected{run.error()};
        if (run->exit_code != 0)
            return fail(ErrorKind::bad_input, fmt::format("time --against '{}'", _request.against),
                        ending_text(*run),
                        "give a command that ends with 0; to one that works and never does, such as QEMU "
                        "with its debug exit device, append what makes it so: '; test $? -eq 1'");
        return run->seconds_to_end;
    }

    Rounds take(std::string_view name, unsigned rounds, const std::vector<Sampler>& samplers) {
        return take_in_turn(rounds, samplers, [&](unsigned round) {
            _announce(fmt::format("{} {} of {}", name, round, rounds), (round - 1.0) / rounds);
        });
    }
    void tell(const std::optional<Figure>& figure) {
        if (figure)
            _done(*figure);
    }

    Status bringup() {
        const auto to_line = [](const ChildRun& run) { return run.seconds_to_line; };
        std::vector<Sampler> samplers{
            [&] { return ours("bringup", _request.vcpus).map(to_line); },
            [&] { return floor("bringup", _request.vcpus).map(to_line); },
        };
        if (!_request.against.empty())
            samplers.emplace_back([&] { return against(); });
        const auto taken = take("bringup", _request.repeat, samplers);
        tell(figure_of_pairs(
            {.name = "bringup/floor",
             .unit = "s",
             .what = fmt::format(
                 "{} vCPUs online and each interrupted, to a bare program that brings them online",
                 _request.vcpus),
             .target = 1.5},
            taken.samples[0], taken.samples[1]));
        if (!_request.against.empty())
            tell(
                figure_of_pairs({.name = "bringup/against",
                                 .unit = "s",
                                 .what = fmt::format("the given command as a whole, to nestbed with {} vCPUs",
                                                     _request.vcpus),
                                 .target = 5,
                                 .at_most = false},
                                taken.samples[0], taken.samples[2]));
        return taken.status();
    }

    Status exit() {
        const auto ticks = [](const ChildRun& run) { return parse_figure(run.line); };
        const auto taken = take("exit", _request.repeat,
                                {[&] { return ours("exit", exits_counted).and_then(ticks); },
                                 [&] { return floor("exit", exits_counted).and_then(ticks); }});
        tell(figure_of_pairs(
            {.name = "exit/floor",
             .unit = "ticks",
             .what = fmt::format("median of {} OUTs to user space, to a bare KVM_RUN loop", exits_counted),
             .target = 1.05},
            taken.samples[0], taken.samples[1]));
        return taken.status();
    }

    Status memory() {
        const auto kvm = kvm::Kvm::open();
        if (!kvm)
            return tl::unexpected{kvm.error()};
        const auto many =
            std::min(most_vcpus, static_cast<std::uint32_t>(kvm->check_extension(KVM_CAP_MAX_VCPUS)));
        const auto few = std::min(stress::default_vcpus, many / 2);
        const auto kib = [](const ChildRun& run) { return parse_figure(run.line); };
        const auto taken = take("memory", std::min(_request.repeat, most_memory_rounds),
                                {[&] { return ours("memory", few).and_then(kib); },
                                 [&] { return ours("memory", many).and_then(kib); }});
        Samples per_vcpu;
        for (std::size_t i = 0; i < taken.samples[1].size(); ++i)
            per_vcpu.push_back((taken.samples[1][i] - taken.samples[0][i]) / (many - few));
        tell(figure_of(
            {.name = "memory/vcpu",
             .unit = "KiB",
             .what = fmt::format("resident beyond guest RAM, for each vCPU from {} to {}", few, many),
             .target = 32},
            per_vcpu));
        return taken.status();
    }

    Status plan() {
        _announce("plan", 0);
        const auto host = topology::discover("pack:16 [numa(memory=64GB)] core:128 pu:2");
        if (!host)
            return tl::unexpected{host.error()};
        for (const auto& policy : topology::all_policies()) {
            const bool is_mapped = policy.kind == topology::Policy::traffic;
            Samples milliseconds;
            for (unsigned i = 0; i < (is_mapped ? 3U : 20U); ++i) {
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
            tell(figure_of(
                {.name = fmt::format("plan/{}", topology::to_string(policy)),
                 .unit = "ms",
                 .what = fmt::format("{} vCPUs on 4096 PUs in 16 nodes, the host being known", most_vcpus),
                 .target = is_mapped ? 2000.0 : 100.0},
                milliseconds));
        }
        return {};
    }

    const BenchRequest& _request;
    const Progress& _announce;
    const Done& _done;
    std::string _floor;
};

} // namespace

const std::vector<std::string>& bench_names() {
    static const std::vector<std::string> names{"bringup", "exit", "memory", "plan", "race"};
    return names;
}

std::vector<std::string> chosen_benches(const BenchRequest& request) {
    if (!request.names.empty())
        return request.names;
    auto names = bench_names();
    if (request.commands.empty() && request.lines.empty())
        std::erase(names, "race");
    return names;
}

Result<double> parse_figure(const std::string& line) {
    double value = 0;
    const auto* const last = line.data() + line.size();
    const auto [end, code] = std::from_chars(line.data(), last, value);
    if (code != std::errc{} || end != last || !std::isfinite(value))
        return fail(ErrorKind::check_failed, "read the figure of a benchmark's child",
                    fmt::format("it printed \"{}\", which is no number", printable(line)));
    return value;
}

Status run_bench(const BenchRequest& request, const Progress& progress, const Done& done) {
    for (const auto& name : request.names)
        if (std::ranges::find(bench_names(), name) == bench_names().end())
            return fail(ErrorKind::bad_input, fmt::format("run the benchmark \"{}\"", name),
                        "there is none of that name",
                        fmt::format("there are: {}", fmt::join(bench_names(), ", ")));
    const auto names = chosen_benches(request);
    double ended = 0;
    const Progress of_all = [&](const std::string& what, double fraction) {
        progress(what, (ended + fraction) / static_cast<double>(names.size()));
    };
    Bench bench{request, of_all, done};
    for (const auto& name : names) {
        if (auto ran = bench.run(name); !ran)
            return ran;
        ++ended;
    }
    return {};
}

} // namespace nestbed::bench
