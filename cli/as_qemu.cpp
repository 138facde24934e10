// nestbed-as-qemu: the part of QEMU's command line by which kvm-unit-tests start their images, on nestbed.
//
// Their scripts take every line on stderr without the word "warning" for a failure, whatever the exit status,
// and so whatever goes there says what it is.
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <linux/kvm.h>
#include <malloc.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "cli/console_output.hpp"
#include "cli/output.hpp"
#include "cli/typing.hpp"
#include "core/cpu/cpuid.hpp"
#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"
#include "guests/boot.hpp"
#include "guests/qemu_arguments.hpp"
#include "report/nested_offer.hpp"

namespace {

using namespace nestbed;

// As QEMU's: 1 is also what an image's own 0 becomes, which is why its scripts look at stderr.
constexpr int failed = 1;
constexpr int cancelled = 130;

int complain(const Error& error) {
    cli::remark(fmt::format("nestbed-as-qemu: {}\n", error.message()));
    return error.kind == ErrorKind::cancelled ? cancelled : failed;
}

void warn(std::string_view text) {
    cli::remark(fmt::format("nestbed-as-qemu: warning: {}\n", text));
}

void warn_of_missing_features(const kvm::Kvm& kvm, const guests::QemuCpu& cpu) {
    const auto supported = kvm.supported_cpuid();
    if (!supported)
        return; // the boot will say so
    const auto shown = core::cpu::guest_template(
        *supported, {.shape = {}, .tsc_deadline = kvm.check_extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0});
    for (const auto& feature : cpu.wanted)
        if (!core::cpu::missing_bits(shown, {&feature.bits, 1}).empty())
            warn(fmt::format("this host's KVM does not offer {}, which -cpu asks for", feature.name));
}

int exit_status(const guests::QemuArguments& arguments, const guests::BootResult& result) {
    const auto& run = result.run;
    for (const auto& check : run.checks)
        if (check.name != "boot.ending" && check.verdict == report::Verdict::fail)
            warn(fmt::format("{}: {}", check.name, check.summary));
    if (run.error && run.error->kind != ErrorKind::check_failed)
        return complain(*run.error);
    if (!result.ending) {
        for (const auto& check : run.checks)
            if (check.name == "boot.ending") {
                cli::remark(fmt::format("nestbed-as-qemu: {}\n", check.summary));
                for (const auto& line : check.details)
                    cli::remark(fmt::format("  {}\n", line));
            }
        return run.error ? complain(*run.error) : failed;
    }
    switch (result.ending->kind) {
    case pc::PcEnding::Kind::exit_code:
        return static_cast<int>((result.ending->exit_code << 1 | 1) & 0xff);
    case pc::PcEnding::Kind::power_off:
        return 0;
    case pc::PcEnding::Kind::reset:
    case pc::PcEnding::Kind::triple_fault:
        if (arguments.no_reboot)
            return 0;
        break;
    }
    cli::remark(fmt::format("nestbed-as-qemu: the guest {}: it is not started once more; use -no-reboot\n",
                            pc::to_string(*result.ending)));
    return failed;
}

int boot(const guests::QemuArguments& arguments) {
    const auto kvm = kvm::Kvm::open();
    if (!kvm)
        return complain(kvm.error());
    const auto most = static_cast<std::uint32_t>(kvm->check_extension(KVM_CAP_MAX_VCPUS));
    if (arguments.vcpus > most) {
        // The scripts look for "SMP CPUs" and take the last word for the number.
        cli::remark(
            fmt::format("nestbed-as-qemu: cannot have {} SMP CPUs: the most that KVM allows is ({})\n",
                        arguments.vcpus, most));
        return failed;
    }
    if (::access(arguments.kernel.c_str(), R_OK) != 0) {
        // Once more their words: without them every test is skipped.
        cli::remark(fmt::format("nestbed-as-qemu: could not open kernel file '{}': {}\n", arguments.kernel,
                                errno_text(errno)));
        return failed;
    }
    warn_of_missing_features(*kvm, arguments.cpu);
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    guests::BootRequest request;
    request.machine.vcpus = arguments.vcpus;
    request.machine.memory_bytes = arguments.memory_bytes;
    request.machine.nested = guests::nested_profile(arguments.cpu, report::nested_offer(*kvm).extension);
    request.cpu = arguments.cpu.shown;
    request.image = arguments.kernel;
    request.initrd = arguments.initrd;
    request.command_line = arguments.command_line;
    request.protocol = boot::BootProtocol::multiboot;
    request.random = false;
    std::unique_ptr<cli::Typing> typing;
    cli::ConsoleOutput console;
    guests::BootObserver observer;
    if (arguments.serial_on_stdio) {
        observer.console = [&](std::span<const std::byte> bytes) { console.write(bytes); };
        observer.hurry = [&] { console.hurry(); };
        observer.started = [&](pc::Pc& pc) {
            typing = cli::Typing::start(STDIN_FILENO, **supervisor,
                                        [&](std::span<const std::byte> bytes) { return pc.type(bytes); });
        };
        observer.ended = [&] { typing.reset(); };
    }
    return exit_status(arguments, guests::boot(request, **supervisor, observer));
}

int run(std::span<const std::string> words) {
    const auto arguments = guests::parse_qemu_arguments(words);
    if (!arguments)
        return complain(arguments.error());
    switch (arguments->action) {
    case guests::QemuAction::boot:
        return boot(*arguments);
    case guests::QemuAction::list_devices:
        return cli::print(guests::device_list());
    case guests::QemuAction::list_machines:
        return cli::print(guests::machine_list());
    case guests::QemuAction::show_version:
    case guests::QemuAction::show_help:
        break;
    }
    // The fourth word of the first line is taken for the version.
    auto text = fmt::format("nestbed as-QEMU version {}\n", report::program_version());
    if (arguments->action == guests::QemuAction::show_help)
        text += "usage: nestbed-as-qemu [QEMU's options] -kernel IMAGE\n\n"
                "Takes those of QEMU's options by which kvm-unit-tests start their images:\n"
                "  QEMU=.../nestbed-as-qemu ACCEL=kvm ./run_tests.sh\n"
                "All others are refused. `nestbed boot` has options of its own, and more of them.\n";
    return cli::print(text);
}

// As in main.cpp.
constexpr int most_malloc_arenas = 8;

} // namespace

int main(int argc, char** argv) {
    ::mallopt(M_ARENA_MAX, most_malloc_arenas);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        spdlog::set_default_logger(spdlog::stderr_color_mt("nestbed"));
        spdlog::set_level(spdlog::level::warn);
        const std::vector<std::string> words{argv + 1, argv + argc};
        return run(words);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "nestbed-as-qemu: %s\n", error.what());
    } catch (...) {
        std::fputs("nestbed-as-qemu: an unknown exception\n", stderr);
    }
    return failed;
}
