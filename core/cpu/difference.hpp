// What KVM made of the CPUID table it was given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/cpu/table.hpp"

namespace nestbed::core::cpu {

struct CpuidDifference {
    std::uint32_t leaf = 0;
    std::uint32_t subleaf = 0;
    Register reg = Register::eax;
    std::optional<std::uint32_t> written; // empty: the table had no such entry
    std::optional<std::uint32_t> read;    // likewise

    bool operator==(const CpuidDifference&) const = default;
};

// "leaf 0xb subleaf 1 EBX: written 0x120, read 0x0".
[[nodiscard]] std::string to_string(const CpuidDifference& difference);

// `written` went to KVM_SET_CPUID2, `read_back` came from KVM_GET_CPUID2. Bits that KVM keeps in step with
// the vCPU's state are not compared, and an absent entry is equal to zeros, which is what the guest reads.
[[nodiscard]] std::vector<CpuidDifference> differences(const Table& written, const Table& read_back);

// True where the difference touches a bit that guest_template() or for_vcpu() decide on: topology, ids, VMX,
// SVM, x2APIC, TSC-deadline, the extended destination id. Such a guest is not the one that was planned. The
// rest is feature bits passed on from the host, which some KVMs put back to the host's own (seen with a KVM
// whose guests execute CPUID without an exit): worth telling, no fault of the machine's.
[[nodiscard]] bool is_ours(const CpuidDifference& difference);

} // namespace nestbed::core::cpu
