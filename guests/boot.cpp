#include "guests/boot.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "guests/console.hpp"
#include "report/host_facts.hpp"
#include "stress/footprint.hpp"
#include "stress/kvm_statistics.hpp"
#include "stress/placement.hpp"
#include "topology/text_file.hpp"

namespace nestbed::guests {

namespace {

using namespace std::chrono_literals;
using supervise::Clock;

constexpr std::uint64_t largest_file = 4 * GiB; // boot protocols have 32 bits for it
// Images of kvm-unit-tests that cannot test here write this, so that QEMU ends with the status 77.
constexpr std::uint64_t skipped = 77 / 2;
constexpr auto for_ever = std::chrono::hours{24 * 365};

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span{text.data(), text.size()});
}

// One run, step by step. Every step that fails leaves its Error in the result and ends the run.
class Run {
public:
    Run(const BootRequest& request, supervise::Supervisor& supervisor, const BootObserver& observer)
        : _request{request}, _supervisor{supervisor}, _observer{observer} {
        _result.run.kind = "boot";
        _result.run.started_at = std::chrono::system_clock::now();
    }

    BootResult go() {
        if (auto done = prepare().and_then([&] { return live(); }); !done)
            end_with(done.error());
        auto& run = _result.run;
        if (!run.error)
            run.outcome = report::outcome_of(run.checks);
        run.duration_s = seconds_since(_start);
        return std::move(_result);
    }

private:
    Status prepare() {
        auto seen = stress::look_at_host();
        auto& run = _result.run;
        run.host =
            report::gather_host_facts(seen.host ? &*seen.host : nullptr, seen.kvm ? &*seen.kvm : nullptr);
        if (_request.expect) {
            auto pattern = LinePattern::compile(*_request.expect);
            if (!pattern)
                return tl::unexpected{pattern.error()};
            _expect = std::move(*pattern);
        }
        if (auto read = read_files(); !read)
            return read;
        auto asked = _request.machine;
        if (!asked.vcpus && !asked.all_vcpus && !asked.shape)
            asked.vcpus = 1;
        if (!asked.memory_bytes)
            asked.memory_bytes = default_guest_memory(asked.vcpus.value_or(
                asked.shape ? static_cast<std::uint32_t>(topology::vcpu_count(*asked.shape)) : 1024));
        auto setup = stress::set_up(asked, std::move(seen));
        if (!setup)
            return tl::unexpected{setup.error()};
        _setup.emplace(std::move(*setup));
        const auto& plan = _setup->plan;
        run.machine = report::MachineFacts{static_cast<std::uint32_t>(plan.vcpus.size()), plan.shape,
                                           plan.memory_bytes(), plan.page_size};
        run.plan = plan;
        if (_observer.planned)
            _observer.planned(run);
        return {};
    }

    // Pipes, too, by a shell's <( ).
    Status read_files() {
        const supervise::EndAtOnce while_nothing_is_there;
        auto image = topology::read_text_file(_request.image, largest_file);
        if (!image)
            return tl::unexpected{image.error()};
        _image = std::move(*image);
        if (!_request.initrd.empty()) {
            auto initrd = topology::read_text_file(_request.initrd, largest_file);
            if (!initrd)
                return tl::unexpected{initrd.error()};
            _initrd = std::move(*initrd);
        }
        return {};
    }

    Status live() {
        const auto before = stress::footprint();
        if (!before)
            return tl::unexpected{before.error()};
        // The console outlives the machine whose threads write to it.
        pc::Pc* machine = nullptr;
        Console console{std::move(_expect), _observer.console ? _observer.console : [](auto) {},
                        [&] { machine->ring(); }};
        auto made = pc::Pc::create(
            _setup->kvm,
            {.plan = _setup->plan,
             .nested = _setup->shown.nested,
             .hidden = _setup->shown.hidden,
             .shown = _request.cpu,
             .memory = _request.prefault ? machine::Presence::prefaulted : machine::Presence::on_touch,
             .image = bytes_of(_image),
             .initrd = bytes_of(_initrd),
             .image_name = _request.image,
             .command_line = _request.command_line,
             .protocol = _request.protocol,
             .devices = {.console = [&](std::span<const std::byte> bytes) { console.take(bytes); },
                         .second_console = _observer.second_console,
                         .disks = _request.disks,
                         .random = _request.random}},
            _supervisor);
        if (!made)
            return tl::unexpected{made.error()};
        auto pc = std::move(*made);
        machine = pc.get();
        publish(check("boot.image", "The image is one that can be started", true, pc->protocol()));
        if (_observer.started)
            _observer.started(*pc);
        pc->start();
        const auto ended = pc->await_ending([&] { return _request.expect && console.seen(); },
                                            _request.timeout.value_or(for_ever));
        // Whoever takes the console may stand still, and is waited for where the guest has ended by itself.
        if (!ended && _observer.hurry)
            _observer.hurry();
        pc->flush_console();
        if (ended && *ended)
            console.finish();
        if (_observer.ended)
            _observer.ended();
        if (const auto at = console.first_line_at())
            _result.first_line_s = std::chrono::duration<double>(*at - _start).count();
        judge(*pc, console, ended);
        return tear_down(std::move(pc), *before, ended);
    }

    void judge(pc::Pc& pc, const Console& console, const Result<std::optional<pc::PcEnding>>& ended) {
        const auto& chassis = pc.chassis();
        publish(from_finding("cpuid.readback", "KVM kept the CPUID tables that it was given",
                             stress::cpuid_as_written(chassis)));
        publish(from_finding("placement.threads",
                             "Every vCPU thread may run where it was planned and nowhere else",
                             stress::threads_where_planned(chassis)));
        publish(from_finding("placement.memory", "Every guest page that is there is on its planned node",
                             stress::memory_where_planned(chassis, presence())));
        if (_request.expect) {
            const auto line = console.matched_line();
            auto result = check("boot.expected", "The guest says what is expected of it", line.has_value(),
                                line ? *line : fmt::format("no line matches {}", *_request.expect));
            if (!line)
                result.details = console.last_lines();
            publish(std::move(result));
        }
        auto result = check("boot.ending", "The guest ends by itself, and well", true, {});
        if (!ended) {
            result.verdict = report::Verdict::fail;
            result.summary = ended.error().message();
            for (auto& line : pc.diagnose())
                result.details.push_back(std::move(line));
            for (auto& line : console.last_lines())
                result.details.push_back("console: " + line);
        } else if (*ended) {
            _result.ending = **ended;
            judge_ending(result, **ended, console);
        } else {
            result.summary = "ended at the expected line";
        }
        publish(std::move(result));
    }

    static void judge_ending(report::CheckResult& result, const pc::PcEnding& ending,
                             const Console& console) {
        result.summary = pc::to_string(ending);
        const auto lines = console.last_lines();
        const auto panic = std::ranges::find_if(lines, [](const std::string& line) {
            return line.find("Kernel panic - not syncing") != std::string::npos;
        });
        if (ending.kind == pc::PcEnding::Kind::exit_code && ending.exit_code == skipped) {
            result.verdict = report::Verdict::skipped;
            result.reason = "the image says that it skipped what it is for";
        }
        const bool bad = ending.kind == pc::PcEnding::Kind::triple_fault ||
                         (ending.kind == pc::PcEnding::Kind::exit_code && ending.exit_code != 0 &&
                          ending.exit_code != skipped);
        if (panic != lines.end())
            result.summary += ": " + *panic;
        if (bad || panic != lines.end()) {
            result.verdict = report::Verdict::fail;
            result.details = lines;
        }
        if (ending.kind == pc::PcEnding::Kind::exit_code)
            result.facts["exit_code"] = ending.exit_code;
    }

    Status tear_down(pc::PcPtr pc, const stress::Footprint& before,
                     const Result<std::optional<pc::PcEnding>>& ended) {
        auto& run = _result.run;
        if (auto stopped = pc->stop(); !stopped)
            return stopped;
        for (const auto& [name, seconds] : pc->chassis().phase_times())
            run.timings.push_back({name, seconds});
        if (_result.first_line_s)
            run.timings.push_back({"first_line", *_result.first_line_s});
        run.kvm_stats = stress::kvm_statistics(pc->chassis().statistics());
        pc.reset();
        const auto after = stress::settled_footprint(before);
        if (!after)
            return tl::unexpected{after.error()};
        publish(check("machine.teardown", "Every thread and descriptor of the machine is gone after it",
                      after->within(before),
                      fmt::format("{} threads and {} descriptors before, {} and {} after", before.threads,
                                  before.descriptors, after->threads, after->descriptors)));
        if (!ended && ended.error().kind != ErrorKind::check_failed)
            return tl::unexpected{ended.error()};
        return {};
    }

    [[nodiscard]] static report::CheckResult check(std::string name, std::string title, bool good,
                                                   std::string summary) {
        report::CheckResult result;
        result.name = std::move(name);
        result.title = std::move(title);
        result.verdict = good ? report::Verdict::pass : report::Verdict::fail;
        result.summary = std::move(summary);
        return result;
    }

    [[nodiscard]] static report::CheckResult from_finding(std::string name, std::string title,
                                                          Result<stress::Finding> finding) {
        if (!finding)
            return check(std::move(name), std::move(title), false, finding.error().message());
        auto result = check(std::move(name), std::move(title), finding->good, std::move(finding->summary));
        result.details = std::move(finding->details);
        result.facts = std::move(finding->facts);
        return result;
    }

    [[nodiscard]] machine::Presence presence() const {
        return _request.prefault ? machine::Presence::prefaulted : machine::Presence::on_touch;
    }

    void publish(report::CheckResult result) {
        if (_observer.checked)
            _observer.checked(result);
        _result.run.checks.push_back(std::move(result));
    }

    void end_with(const Error& error) {
        _result.run.error = error;
        _result.run.outcome = report::outcome_of(error.kind);
    }

    const BootRequest& _request;
    supervise::Supervisor& _supervisor;
    const BootObserver& _observer;
    BootResult _result;
    Clock::time_point _start = Clock::now();
    std::optional<LinePattern> _expect;
    std::string _image;
    std::string _initrd;
    std::optional<stress::Setup> _setup; // outlives the machine
};

} // namespace

std::uint64_t default_guest_memory(std::uint32_t vcpus) {
    return 512 * MiB + vcpus * 4 * MiB;
}

BootResult boot(const BootRequest& request, supervise::Supervisor& supervisor, const BootObserver& observer) {
    return Run{request, supervisor, observer}.go();
}

} // namespace nestbed::guests
