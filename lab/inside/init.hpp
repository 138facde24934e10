// The first process of the emulated machine.
#pragma once

namespace nestbed::lab {

// Whether this process is the one; it has no arguments by which it could tell.
[[nodiscard]] bool is_init();

// Mounts what a program expects, loads the modules, runs the command of the job, reports on the second serial
// line and turns the machine off.
[[noreturn]] void run_as_init();

} // namespace nestbed::lab
