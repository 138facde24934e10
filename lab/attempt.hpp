// One start of the emulator, watched to its end.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/supervise/supervisor.hpp"
#include "lab/message.hpp"
#include "lab/process.hpp"
#include "lab/silicon.hpp"

namespace nestbed::lab {

// The emulator's descriptors: sockets, for Bochs a terminal and a pipe.
inline constexpr int console_descriptor = 3; // ttyS0, on which the inside also hears
inline constexpr int frames_descriptor = 4;  // ttyS1

struct AttemptRequest {
    Silicon silicon = Silicon::amd;
    Engine engine = Engine::emulator;
    Command command;                   // of the emulator, which is given descriptors
    std::filesystem::path console_log; // all that the kernel writes
    supervise::Deadline deadline;      // of the whole
    std::chrono::milliseconds boot_patience;
    std::chrono::milliseconds silence;     // longest between two signs of life
    std::chrono::milliseconds nudge_after; // as in Emulator
    std::chrono::milliseconds grace;       // after asking the inside to end
};

struct AttemptObserver {
    std::function<void(const Hello&)> up;
    std::function<void(const Output&)> output;
    std::function<void(const ResultFile&)> file;
};

enum class Ending {
    exited,          // the command ended; `exit_code` is its own
    failed,          // the inside could not start it; `error` is the inside's
    emulator_failed, // it did not take its arguments, or crashed
    emulator_ended,  // it ended without a result: the emulated kernel panicked or reset
    not_up,          // nothing was heard from inside in time
    host_died,       // the heartbeat stopped while the emulator ran on
    deadline,
    cancelled,
};

struct AttemptResult {
    Ending ending = Ending::exited;
    int exit_code = 0;
    Error error;
    bool was_up = false; // the inside had been heard of
    bool panicked = false;
    std::vector<std::string> console; // the kernel's last lines
    std::string emulator_text;        // its stdout and stderr, the end of it
    std::uint64_t gaps = 0;
    std::uint64_t dropped_files = 0;
};

// After a deadline or a signal the inside is asked to end the command, so that what it has found still comes.
// The emulator has ended when this returns. Errors: host_lacks where there is no descriptor left or no
// emulator to start.
[[nodiscard]] Result<AttemptResult> attempt(const AttemptRequest& request, const AttemptObserver& observer,
                                            supervise::Supervisor& supervisor);

} // namespace nestbed::lab
