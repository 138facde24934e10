#include "cli/boot_command.hpp"

#include <filesystem>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/console_output.hpp"
#include "cli/output.hpp"
#include "cli/placement_options.hpp"
#include "cli/results.hpp"
#include "cli/run_in_lab.hpp"
#include "cli/seconds.hpp"
#include "cli/serial_lines.hpp"
#include "cli/typing.hpp"
#include "cli/validate_text.hpp"
#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"
#include "guests/boot.hpp"
#include "lab/lab.hpp"

namespace nestbed::cli {

namespace {

struct BootOptions {
    PlacementOptions placement;
    guests::BootRequest request;
    std::string protocol = "auto";
    std::string expect;
    std::vector<std::string> disks;
    std::vector<int> serial_fds; // empty: the console is stdin and stdout, and there is no COM2
    bool no_random = false;
    double timeout_s = 600;
    std::string directory = "results";
    std::string where = "auto";
    bool json = false;
    std::vector<std::string> command_line;
};

constexpr std::pair<std::string_view, boot::BootProtocol> protocols[]{
    {"auto", boot::BootProtocol::automatic},
    {"linux64", boot::BootProtocol::linux64},
    {"pvh", boot::BootProtocol::pvh},
    {"multiboot", boot::BootProtocol::multiboot},
};

boot::BootProtocol protocol_of(std::string_view name) {
    for (const auto& [known, protocol] : protocols)
        if (known == name)
            return protocol;
    return boot::BootProtocol::automatic;
}

int run_boot(const BootOptions& options) {
    const auto machine = options.placement.read();
    if (!machine)
        return complain(machine.error());
    const auto path = document_path(options.directory);
    if (!path)
        return complain(path.error());
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    if (options.where != "host") {
        const auto kvm = kvm::Kvm::open();
        if (options.where == "lab" || !kvm) {
            lab::LabRequest request;
            request.arguments.assign(options.command_line.begin() + 1, options.command_line.end());
            request.arguments.insert(request.arguments.end(), {"--where", "host"});
            return run_in_lab(request, **supervisor);
        }
    }

    auto request = options.request;
    request.machine = *machine;
    request.protocol = protocol_of(options.protocol);
    request.random = !options.no_random;
    for (const auto& text : options.disks) {
        const auto disk = virtio::parse_disk(text);
        if (!disk)
            return complain(disk.error());
        request.disks.push_back(*disk);
    }
    if (!options.expect.empty())
        request.expect = options.expect;
    if (options.timeout_s > 0)
        request.timeout = milliseconds_of(options.timeout_s);
    std::optional<SerialLines> lines;
    if (!options.serial_fds.empty()) {
        const auto taken = SerialLines::take(options.serial_fds);
        if (!taken)
            return complain(taken.error());
        lines = *taken;
    }
    std::unique_ptr<Typing> typing;
    std::unique_ptr<lab::Pump> heard;
    ConsoleOutput console;
    guests::BootObserver observer;
    observer.started = [&](pc::Pc& pc) {
        if (lines) {
            auto listening =
                lines->listen(**supervisor, [&](std::span<const std::byte> bytes) { return pc.type(bytes); });
            if (listening)
                heard = std::move(*listening);
            else
                complain(listening.error()); // the guest cannot be asked to end, and runs all the same
            return;
        }
        typing = Typing::start(STDIN_FILENO, **supervisor,
                               [&](std::span<const std::byte> bytes) { return pc.type(bytes); });
    };
    observer.ended = [&] {
        typing.reset();
        heard.reset();
    };
    if (lines) {
        observer.console = [&](std::span<const std::byte> bytes) { lines->to_first(bytes); };
        observer.second_console = [&](std::span<const std::byte> bytes) { lines->to_second(bytes); };
    } else if (!options.json)
        observer.console = [&](std::span<const std::byte> bytes) { console.write(bytes); };
    observer.hurry = [&] { console.hurry(); };
    auto result = guests::boot(request, **supervisor, observer);
    auto& run = result.run;
    run.command_line = options.command_line;
    const auto exit_code = conclude(run, *path, options.json, [&] {
        if (!run.machine)
            return;
        const bool colour = is_terminal(STDERR_FILENO);
        std::string text = "\n";
        for (const auto& check : run.checks)
            text += verdict_line(check, colour);
        remark(text + conclusion(run, path->string()));
    });
    // The image's own tells more, but it does not make good what else went wrong.
    if (result.ending && result.ending->kind == pc::PcEnding::Kind::exit_code)
        if (const auto own = static_cast<int>(result.ending->exit_code & 0xff); own != 0)
            return own;
    return exit_code;
}

} // namespace

void add_boot_command(CLI::App& app, Action& action, std::vector<std::string> command_line) {
    auto options = std::make_shared<BootOptions>();
    options->command_line = std::move(command_line);

    auto* const command =
        app.add_subcommand("boot", "Boot a guest that nobody here wrote: Linux, or a multiboot image");
    command
        ->add_option("image", options->request.image,
                     "A bzImage, a vmlinux with a PVH note, or a multiboot image such as those of "
                     "kvm-unit-tests")
        ->required()
        ->check(CLI::ExistingFile)
        ->type_name("IMAGE");
    command->add_option("--initrd", options->request.initrd, "The initial RAM disk, or a multiboot module")
        ->check(CLI::ExistingFile)
        ->type_name("FILE");
    command->add_option("--append", options->request.command_line, "The kernel's command line")
        ->type_name("TEXT");
    options->placement.add_to(*command);
    options->placement.add_nested_to(*command);
    command
        ->add_option("--protocol", options->protocol,
                     "How to start the image: auto, linux64, pvh or multiboot")
        ->check(CLI::IsMember({"auto", "linux64", "pvh", "multiboot"}))
        ->capture_default_str();
    command
        ->add_option("--disk", options->disks,
                     "A raw image or block device as virtio-blk: file=F, and after commas ro (read-only), "
                     "iops=N, bps=SIZE; may be given several times")
        ->type_name("SPEC")
        ->allow_extra_args(false);
    command
        ->add_option("--serial-fds", options->serial_fds,
                     "Descriptors, inherited, that COM1 and COM2 are connected to")
        ->delimiter(',')
        ->group(""); // for programs; see lab/kvm_machine.hpp
    command->add_flag("--no-rng", options->no_random, "No virtio-rng");
    command->add_flag("--prefault", options->request.prefault,
                      "Have all guest memory present before the start, as validate does");
    command
        ->add_option("--expect", options->expect,
                     "End well as soon as the console has a line that this regular expression matches, and "
                     "badly if the guest ends without one")
        ->type_name("REGEX");
    command->add_option("--timeout", options->timeout_s, "Seconds that the guest may run; 0: for ever")
        ->check(no_or_more_seconds())
        ->capture_default_str();
    command
        ->add_option("--where", options->where,
                     "host, lab (an emulated AMD machine), or auto: the lab where there is no KVM to use")
        ->check(CLI::IsMember({"auto", "host", "lab"}))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
        ->capture_default_str();
    command->add_option("-o,--output", options->directory, "Folder for run.json, the result document")
        ->type_name("DIR")
        ->capture_default_str();
    command->add_flag("--json", options->json, "Print the result document instead of the console");
    command->footer(
        "The console is COM1, on stdout; what is typed or piped in goes to it. Ctrl-A x ends the guest.\n"
        "Exit code: that of the image where it has one (0 is good); else 0 all held, 1 a check failed,\n"
        "2 bad usage or input, 3 the host lacks what was asked, 130 interrupted.\n\n"
        "Examples:\n"
        "  nestbed boot /boot/vmlinuz --initrd /boot/initrd.img --append 'console=ttyS0' --vcpus 4\n"
        "  nestbed boot bzImage --initrd test.cpio --append 'console=ttyS0 panic=-1' --expect 'all tests "
        "passed'\n"
        "  nestbed boot bzImage --disk file=root.img,iops=1000 --append 'console=ttyS0 root=/dev/vda'\n"
        "  nestbed boot x86/smptest.flat --vcpus 288\n"
        "  nestbed lab --nodes 4 -- boot bzImage --initrd i.cpio --append console=ttyS0 --vcpus 32");
    command->callback([options, &action] { action = [options] { return run_boot(*options); }; });
}

} // namespace nestbed::cli
