// EPT tables that map the first 4 GiB to themselves, for tests that are about something else than EPT.
#pragma once

#include <cstdint>

#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

class IdentityEpt {
public:
    // Pages of 2 MiB: readable, writable, executable, write-back.
    IdentityEpt();

    // Write-back, four levels; with accessed and dirty flags where wanted.
    [[nodiscard]] std::uint64_t pointer(bool accessed_dirty = false) const;
    // From the next entry on. KVM must offer EPT.
    void use_in(L2& guest, bool accessed_dirty = false) const;

    // The entry of this 4-KiB page, whose 2 MiB are split where they are not yet.
    std::uint64_t& page(std::uint64_t address) const;
    // The entry that maps this address, of 2 MiB or 4 KiB.
    [[nodiscard]] std::uint64_t leaf(std::uint64_t address) const;

    static constexpr std::uint64_t accessed = 1U << 8;
    static constexpr std::uint64_t dirty = 1U << 9;

private:
    std::uint64_t* _top;
    std::uint64_t* _directories; // four, one after the other
};

// EPT, and nothing that only looks like it.
bool offers_ept();
bool offers_accessed_dirty();
// After every change of the tables of a guest that has run.
void invalidate_ept();

} // namespace nestbed::vmx
