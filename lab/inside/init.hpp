// The first process of the emulated machine.
#pragma once

namespace nestbed::lab {

// Mounts what a program expects, loads the modules, runs the command of the job, reports on the second serial
// line and turns the machine off. Only for process 1: elsewhere it says so and returns 2.
int run_as_init();

} // namespace nestbed::lab
