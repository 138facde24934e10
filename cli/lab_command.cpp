#include "cli/lab_command.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
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
    command->add_option("--cpus", shape.cpus, "Emulated CPUs, each a thread of QEMU; 1 for Intel silicon")
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
    command->callback(
        [options, command, &action, run_line = std::move(run_line), line = std::move(command_line)] {
            const auto marker = std::ranges::find(line, "--");
            if (marker == line.end())
                throw CLI::ValidationError{"args", "put -- before the command, as in: nestbed lab -- check"};
            options->arguments.assign(marker + 1, line.end());
            const auto usual = lab::default_shape(
                options->arguments, lab::parse_silicon(options->silicon).value_or(lab::Silicon::amd));
            options->shape.silicon = usual.silicon;
            const auto cpus = command->count("--cpus");
            const auto nodes = command->count("--nodes");
            const auto shaped = cpus + nodes;
            // Of one of them alone follows the other, on AMD's silicon; Intel's one of each is not asked for.
            const bool intel = usual.silicon == lab::Silicon::intel;
            auto& asked = options->shape;
            if (cpus == 0)
                asked.cpus = shaped == 0 || intel ? usual.cpus : std::max(asked.cpus, asked.nodes);
            if (nodes == 0)
                asked.nodes = shaped == 0 || intel ? usual.nodes : std::min(asked.cpus, asked.nodes);
            if (command->count("--memory") == 0)
                options->shape.memory_bytes = usual.memory_bytes;
            if (shaped + command->count("--memory") + command->count("--timeout") == 0 &&
                is_conformance_run(options->arguments, usual.silicon))
                action = [options, run_line] { return run_line(as_conformance_run(*options)); };
            else
                action = [options] { return run_lab(*options); };
        });
}

} // namespace nestbed::cli
