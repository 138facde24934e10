// What differs between the emulated machines of two vendors, in one place.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace nestbed::lab {

enum class Silicon { amd, intel };

// What runs the machine: the emulator for its silicon, or this host's KVM with `nestbed boot`, for a machine
// that is a level of a tower.
enum class Engine { emulator, kvm };

// The program that emulates it, and what is to be known of what it emulates.
struct Emulator {
    const char* name;    // for people
    const char* program; // in PATH
    const char* packages;
    const char* vendor_module; // of KVM
    const char* vendor_option; // of the kernel's configuration
    const char* kernel_words;  // for the kernel's command line
    std::chrono::milliseconds boot_patience;
    std::chrono::milliseconds silence; // longest between two heartbeats, one an emulated second
    // Where it loses interrupts: after so long without a sign from inside the machine is sent one from
    // outside, which brings what is pending with it. 0: it loses none.
    std::chrono::milliseconds nudge_after;
};

[[nodiscard]] const Emulator& emulator_of(Silicon silicon, Engine engine = Engine::emulator);

// Of "amd", "intel".
[[nodiscard]] std::optional<Silicon> parse_silicon(std::string_view name);

// Whether an emulator that has ended did so because the emulated machine was reset or turned off, and not
// through a failure of its own. `text` is what it wrote to stdout and stderr, or the end of it.
[[nodiscard]] bool is_machines_end(Silicon silicon, int exit_code, std::string_view text,
                                   Engine engine = Engine::emulator);

// What it said of its end, without the banners and prompts before it.
[[nodiscard]] std::string last_words(Silicon silicon, std::string_view text);

} // namespace nestbed::lab
