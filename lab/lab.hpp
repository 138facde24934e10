// A command of nestbed in an emulated machine with nested virtualization, for hosts that have none.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/supervise/supervisor.hpp"
#include "lab/kernel.hpp"
#include "lab/shape.hpp"

namespace nestbed::lab {

// Set in the environment of what runs inside: "amd" or "intel".
inline constexpr const char* silicon_variable = "NESTBED_LAB_SILICON";

struct LabRequest {
    std::vector<std::string> arguments; // what follows "nestbed"
    Shape shape;
    std::optional<KernelFiles> kernel;       // without it: see find_kernel()
    std::filesystem::path program;           // a nestbed; empty: the running program
    std::filesystem::path working_directory; // absolute; empty: the current one
    std::filesystem::path cache;             // empty: the user's
    std::filesystem::path emulator;          // empty: from PATH
    std::filesystem::path machine_results;   // where `nestbed boot` leaves its document; empty: nowhere
    std::string append;                      // to the kernel's command line
    std::chrono::milliseconds timeout = std::chrono::minutes{30}; // of the command and the boot together
    // To the first word from inside, and between two heartbeats; without them what suits the emulator.
    std::optional<std::chrono::milliseconds> boot_patience = {};
    std::optional<std::chrono::milliseconds> silence = {};
    // How often it may boot where the emulated host dies. One that does not write a word is given a second
    // chance whatever this says.
    unsigned attempts = 2;
    std::chrono::milliseconds grace = std::chrono::seconds{10}; // to end in, after a signal or the timeout
};

struct LabObserver {
    std::function<void(std::string_view bytes)> out;
    std::function<void(std::string_view bytes)> err;
    std::function<void(const std::string& what)> progress; // what happens until the inside speaks
    std::function<void(const Error& why)> again;           // all starts anew: what has been heard is void
};

struct LabResult {
    int exit_code = 0;                        // of the command
    std::vector<std::filesystem::path> files; // that were written here
    std::vector<Error> mishaps;               // results that did not come over, or had nowhere to go
    std::string kernel;                       // release
    std::filesystem::path kernel_image;
    std::vector<std::string> console; // the kernel's last lines
    double seconds_to_up = 0;         // from the emulator's start to the first word from inside
    double seconds = 0;
    unsigned attempts = 1;
};

// Does what the first run of several would do for all of them: finds the kernel, fetching it where it must,
// and makes the parts of the initramfs. Errors: as run().
[[nodiscard]] Status fill_cache(const LabRequest& request,
                                const std::function<void(const std::string& what)>& progress,
                                supervise::Supervisor& supervisor);

// Files that the arguments name go in, result files come back (see paths.hpp), both at the paths that they
// have here. The machine has ended when this returns. Errors: bad_input, host_lacks (no emulator, no kernel,
// a kernel without KVM), check_failed (the emulated kernel panicked or died twice), deadline, cancelled.
// Where the machine ran, `found` ends with the kernel's last lines.
[[nodiscard]] Result<LabResult> run(const LabRequest& request, const LabObserver& observer,
                                    supervise::Supervisor& supervisor);

} // namespace nestbed::lab
