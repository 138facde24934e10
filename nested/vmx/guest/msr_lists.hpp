// MSR lists of VM entry and VM exit, for tests.
#pragma once

#include <cstdint>

#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/vmcs.hpp"

namespace nestbed::vmx {

// As the processor has it (SDM volume 3, "VM-Exit Controls for MSRs").
struct MsrItem {
    std::uint32_t index;
    std::uint32_t reserved;
    std::uint64_t value;
};

enum class MsrList { entry_load, exit_store, exit_load };

// A list of the current VMCS, in pages of its own, all zero.
inline MsrItem* use_msr_list(MsrList list, std::uint32_t count, std::uint64_t offset = 0) {
    constexpr Field count_field[]{Field::entry_msr_load_count, Field::exit_msr_store_count,
                                  Field::exit_msr_load_count};
    constexpr Field address_field[]{Field::entry_msr_load_address, Field::exit_msr_store_address,
                                    Field::exit_msr_load_address};
    auto* const items =
        reinterpret_cast<MsrItem*>(static_cast<std::uint8_t*>(conform::allocate_pages(4)) + offset);
    const auto which = static_cast<unsigned>(list);
    write(count_field[which], count);
    write(address_field[which], conform::physical(items));
    return items;
}

} // namespace nestbed::vmx
