#include "lab/silicon.hpp"

#include <algorithm>

namespace nestbed::lab {

namespace {

using namespace std::chrono_literals;

// A #VMEXIT clears a bit of the CPU's pending requests in memory while another thread sets one for a device:
// one may be lost, and with it the timer interrupt that would have been followed by all others. Seen with
// QEMU 7.2.
//
// An emulated TSC is calibrated badly now and then. Where KVM finds the guest's TSC more than 250 ppm (its
// default) from the host's, and the CPU does not scale it, Linux 6.1 leaves the vCPU's ratio at 0: L2 then
// reads TSC_OFFSET alone with RDMSR.
constexpr Emulator qemu{.name = "QEMU",
                        .program = "qemu-system-x86_64",
                        .packages = "qemu-system-x86",
                        .vendor_module = "kvm_amd",
                        .vendor_option = "CONFIG_KVM_AMD",
                        .kernel_words = "kvm_amd.nested=1 kvm.tsc_tolerance_ppm=100000",
                        .boot_patience = 2min,
                        .silence = 30s,
                        .nudge_after = 2s};

// An interpreter without translation: what takes QEMU a second takes it ten and more. Its line has no limit
// but the baud rate, which is 9600 where none is named.
constexpr Emulator bochs{.name = "Bochs",
                         .program = "bochs",
                         .packages = "bochs-term bochs", // the first keeps apt from the graphical one
                         .vendor_module = "kvm_intel",
                         .vendor_option = "CONFIG_KVM_INTEL",
                         .kernel_words = "kvm_intel.nested=1",
                         .boot_patience = 6min,
                         .silence = 3min,
                         .nudge_after = 0s};

// On real silicon all of it takes seconds; but the host may be emulated itself.
constexpr Emulator on_kvm(const Emulator& silicons) {
    Emulator own = silicons;
    own.name = "nestbed boot";
    own.program = "nestbed";
    own.packages = "";
    own.boot_patience = 5min;
    own.silence = 2min;
    own.nudge_after = 0s;
    return own;
}

constexpr Emulator kvm_amd = on_kvm(qemu);
constexpr Emulator kvm_intel = on_kvm(bochs);

} // namespace

const Emulator& emulator_of(Silicon silicon, Engine engine) {
    if (engine == Engine::kvm)
        return silicon == Silicon::intel ? kvm_intel : kvm_amd;
    return silicon == Silicon::intel ? bochs : qemu;
}

std::optional<Silicon> parse_silicon(std::string_view name) {
    if (name == "amd")
        return Silicon::amd;
    if (name == "intel")
        return Silicon::intel;
    return std::nullopt;
}

bool is_machines_end(Silicon silicon, int exit_code, std::string_view text, Engine engine) {
    // 1 is what it says of a guest that did not end well: a panic, a triple fault.
    if (engine == Engine::kvm)
        return exit_code == 0 || exit_code == 1;
    if (silicon == Silicon::amd)
        return exit_code == 0;
    // Bochs exits with 1 whatever happened.
    return text.find("shutdown requested") != std::string_view::npos ||
           text.find("exception with no resolution") != std::string_view::npos;
}

std::string last_words(Silicon silicon, std::string_view text) {
    constexpr std::string_view marker = "exiting with the following message:\n";
    const auto at = text.rfind(marker);
    if (silicon == Silicon::intel && at != std::string_view::npos) {
        text.remove_prefix(at + marker.size());
        text = text.substr(0, text.find('\n'));
    }
    return std::string{text.substr(0, text.find_last_not_of(" \n") + 1)};
}

} // namespace nestbed::lab
