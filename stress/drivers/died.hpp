// What is known of a machine that did not survive a driver.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "core/machine/machine.hpp"
#include "stress/drivers/stress_driver.hpp"

namespace nestbed::stress {

// vCPU and where its thread is in the kernel.
using KernelStack = std::pair<std::uint32_t, std::vector<std::string>>;

// Lines of Machine::diagnose() and kernel stacks, by vCPU. Lines that are about no vCPU, or about the machine
// as a whole, stay in `rest`. A value of values.
struct Diagnosis {
    std::vector<report::StuckVcpu> stuck;
    std::vector<std::string> rest;
};
[[nodiscard]] Diagnosis sort_diagnosis(const std::vector<std::string>& lines,
                                       const std::vector<KernelStack>& stacks);

// Stops the machine: hang where the error is a deadline, else crash, with registers, last exits and kernel
// stacks
// (/proc/self/task/TID/stack, for root alone) of the vCPUs that did not finish. The error is check_failed or
// deadline.
[[nodiscard]] Counted died(machine::Machine& machine, const Error& error);

// Whether an error is one that died() is for; the others end a sweep.
[[nodiscard]] bool is_death(const Error& error);

} // namespace nestbed::stress
