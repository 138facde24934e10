#include "cli/lab_command.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/units.hpp"
#include "cli/lab_options.hpp"
#include "cli/output.hpp"
#include "cli/run_in_lab.hpp"
#include "cli/seconds.hpp"
#include "lab/lab.hpp"

namespace nestbed::cli {

namespace {

struct LabCommand {
    LabOptions machine;
    lab::Shape shape;
    std::vector<std::string> arguments;
    std::string silicon = "amd"; // parse_silicon() takes it
    std::string memory;
    double timeout_s = 1800;
    std::vector<std::string> ignored; // the arguments as CLI11 sees them
};

// Conformance tests know more of emulated machines than this command: they share them, and go on in another
// when one dies. Not where a machine is described that they would not take.
bool is_conformance_run(const std::vector<std::string>& arguments, lab::Silicon silicon) {
    // Tests of the other vendor would be given other silicon than was asked for.
    const auto* const other = silicon == lab::Silicon::intel ? "svm." : "vmx.";
    return arguments.size() >= 2 && arguments[0] == "conform" && arguments[1] == "run" &&
           std::ranges::none_of(arguments, [&](const std::string& word) {
               return word.starts_with("--where") || word.starts_with(other);
           });
}

std::vector<std::string> as_conformance_run(const LabCommand& options) {
    std::vector<std::string> words{"nestbed", "conform", "run", "--where=lab",
                                   "--silicon=" + options.silicon};
    for (auto& word : to_words(options.machine))
        words.push_back(std::move(word));
    words.insert(words.end(), options.arguments.begin() + 2, options.arguments.end());
    return words;
}

int run_lab(const LabCommand& options) {
    auto request = to_request(options.machine);
    const auto flags = request.shape.cpu_flags;
    request.shape = options.shape;
    request.shape.cpu_flags = flags;
    request.arguments = options.arguments;
    if (!options.memory.empty()) {
        const auto bytes = parse_size(options.memory);
        if (!bytes)
            return complain(bytes.error());
        request.shape.memory_bytes = *bytes;
    }
    request.timeout = milliseconds_of(options.timeout_s);
    if (request.shape.cpus > 1 && request.shape.engine == lab::Engine::emulator &&
        lab::keeps_guests_busy(request.arguments))
        spdlog::warn("on several emulated CPUs guests end in a triple fault now and then, or the emulated "
                     "kernel stops, whatever VMM runs them; --cpus 1 is much steadier");

    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    return run_in_lab(request, **supervisor);
}

} // namespace

void add_lab_command(CLI::App& app, Action& action, std::vector<std::string> command_line,
                     std::function<int(const std::vector<std::string>&)> run_line) {
    auto options = std::make_shared<LabCommand>();
    auto* const command = app.add_subcommand(
        "lab", "Run a command of nestbed in an emulated machine with nested virtualization");
    auto& shape = options->shape;
    command->add_option("--silicon", options->silicon, "What is emulated: amd with QEMU, intel with Bochs")
        ->type_name("VENDOR")
        ->check(CLI::IsMember({"amd", "intel"}))
        ->capture_default_str();
    command
        ->add_option("--cpus", shape.cpus,
                     "Emulated CPUs, each a thread of QEMU; 1 for Intel silicon, and unless asked for "
                     "otherwise for boot, conform, stress and tower")
        ->check(CLI::Range(std::uint32_t{1}, lab::max_cpus))
        ->capture_default_str();
    command
        ->add_option(
            "--nodes", shape.nodes,
            "NUMA nodes that CPUs and memory are split over, those beyond the CPUs of memory alone; 1 "
            "for Intel silicon")
        ->check(CLI::Range(std::uint32_t{1}, lab::max_nodes))
        ->capture_default_str();
    command->add_option("--memory", options->memory, "Of the emulated machine [2G]")->type_name("SIZE");
    add_lab_options(*command, options->machine, "OPTIONS");
    command->add_option("--timeout", options->timeout_s, "Seconds that all of it may take")
        ->check(some_seconds())
        ->capture_default_str();
    command->add_option("args", options->ignored, "A command of nestbed with its options, after --")
        ->type_name("-- ARGS")
        ->required();
    command->footer(
        "Needs QEMU, for Intel silicon Bochs, and no /dev/kvm. The first use fetches the distribution's "
        "kernel, without installing "
        "it.\n"
        "Files that the arguments name go in; what the command writes to results/, or to where its options\n"
        "-o, --tap, --junit and the like say, comes back. The machine and its times are emulated: ask it\n"
        "whether something works, not how fast.\n"
        "Exit code: the command's own; 3 where the machine cannot be emulated here, 1 where it panics or "
        "dies.\n\n"
        "Examples:\n"
        "  nestbed lab -- check\n"
        "  nestbed lab -- validate --vcpus 64 -o /tmp/run\n"
        "  nestbed lab --nodes 4 -- validate --policy numa   # a CPU each\n"
        "  nestbed lab --silicon intel -- check --nested   # one CPU, and ten times slower\n"
        "  nestbed lab --kernel arch/x86/boot/bzImage --modules . -- conform run 'svm.npt.*'   # in a "
        "kernel's build tree");
    command->callback([options, command, &action, run_line = std::move(run_line),
                       line = std::move(command_line)] {
        const auto marker = std::ranges::find(line, "--");
        if (marker == line.end())
            throw CLI::ValidationError{"args", "put -- before the command, as in: nestbed lab -- check"};
        options->arguments.assign(marker + 1, line.end());
        const auto asked = [command](const char* option, std::uint32_t value) {
            return command->count(option) == 0 ? std::nullopt : std::optional{value};
        };
        const auto cpus = asked("--cpus", options->shape.cpus);
        const auto nodes = asked("--nodes", options->shape.nodes);
        options->shape =
            lab::default_shape(options->arguments,
                               lab::parse_silicon(options->silicon).value_or(lab::Silicon::amd), cpus, nodes);
        if (!cpus && !nodes && command->count("--memory") + command->count("--timeout") == 0 &&
            is_conformance_run(options->arguments, options->shape.silicon))
            action = [options, run_line] { return run_line(as_conformance_run(*options)); };
        else
            action = [options] { return run_lab(*options); };
    });
}

} // namespace nestbed::cli
