// What a VMX exit says of itself, for people.
#pragma once

#include <cstdint>
#include <string>

namespace nestbed::vmx {

// "CPUID (10)", "VM-entry failure due to invalid guest state (33), entry failure"; "reason 99" where the
// manual has none.
[[nodiscard]] std::string exit_reason_text(std::uint32_t exit_reason);

// "VM entry with invalid control field(s) (7)"; "error 99"; empty for 0, no error.
[[nodiscard]] std::string instruction_error_text(std::uint32_t error);

// "hardware exception, vector 14, error code"; empty for 0. Of all three fields of interruption information.
[[nodiscard]] std::string event_text(std::uint32_t information);

// "MOV to CR3 from RAX", "IN 1 byte, port 0x60"; empty where the number says it all, or says nothing for this
// exit. `exit_reason` and `interruption_information` are the fields of the same exit.
[[nodiscard]] std::string qualification_text(std::uint32_t exit_reason, std::uint64_t qualification,
                                             std::uint32_t interruption_information = 0);

// "[RAX + RCX * 8] in DS, 64-bit addresses, RDX"; empty where this exit has no such information.
[[nodiscard]] std::string instruction_information_text(std::uint32_t exit_reason, std::uint32_t information);

} // namespace nestbed::vmx
