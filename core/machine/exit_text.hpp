// KVM's exits in words.
#pragma once

#include <cstdint>
#include <string>

#include <linux/kvm.h>

namespace nestbed::machine {

// "KVM_EXIT_IO"; "exit 99" for one that is not known.
[[nodiscard]] std::string exit_text(std::uint32_t reason);

// An exit after which a vCPU cannot go on, with what KVM says of it: triple fault, internal error with its
// data, failed entry with the hardware's reason.
[[nodiscard]] std::string describe_fatal_exit(const kvm_run& shared);

// KVM_MP_STATE_*: "runnable", "halted", ...
[[nodiscard]] std::string mp_state_text(std::uint32_t state);

} // namespace nestbed::machine
