// Extended page tables that L1 builds for its L2 (SDM volume 3, "The Extended Page Table Mechanism").
#pragma once

#include <cstdint>

#include "nested/vmx/guest/tables.hpp"

namespace nestbed::vmx {

namespace ept_bit {
inline constexpr std::uint64_t read = 1U << 0;
inline constexpr std::uint64_t write = 1U << 1;
inline constexpr std::uint64_t execute = 1U << 2;
inline constexpr std::uint64_t all = read | write | execute;
inline constexpr unsigned memory_type_shift = 3;
inline constexpr std::uint64_t memory_type = 7U << memory_type_shift;
inline constexpr std::uint64_t write_back = 6U << memory_type_shift;
inline constexpr std::uint64_t ignore_pat = 1U << 6;
inline constexpr std::uint64_t large = 1U << 7;
inline constexpr std::uint64_t accessed = 1U << 8;
inline constexpr std::uint64_t dirty = 1U << 9;
inline constexpr std::uint64_t leaf = all | write_back; // of an entry that maps a page
} // namespace ept_bit

// The extended-page-table pointer.
namespace eptp_bit {
inline constexpr std::uint64_t memory_type = 7U << 0;
inline constexpr std::uint64_t write_back = 6U << 0;
inline constexpr std::uint64_t walk_length = 7U << 3; // minus 1
inline constexpr std::uint64_t walk_length_4 = 3U << 3;
inline constexpr std::uint64_t accessed_dirty = 1U << 6;
} // namespace eptp_bit

// The exit qualification of an EPT violation ("Basic VM-Exit Information").
namespace ept_violation {
inline constexpr std::uint64_t read = 1U << 0;
inline constexpr std::uint64_t write = 1U << 1;
inline constexpr std::uint64_t fetch = 1U << 2;
inline constexpr std::uint64_t readable = 1U << 3;
inline constexpr std::uint64_t writable = 1U << 4;
inline constexpr std::uint64_t executable = 1U << 5;
inline constexpr std::uint64_t linear_valid = 1U << 7;
inline constexpr std::uint64_t final = 1U << 8; // not the walk through L2's own paging structures
inline constexpr std::uint64_t nmi_unblocking = 1U << 12;
// Those above and the reserved ones. Bit 6 is undefined without mode-based execute control, bits 11:9 are
// without advanced information, which no test asks for.
inline constexpr std::uint64_t defined = ~std::uint64_t{0xe40};
} // namespace ept_violation

// IA32_VMX_EPT_VPID_CAP, and what it says.
namespace ept_capability {
inline constexpr std::uint64_t execute_only = 1U << 0;
inline constexpr std::uint64_t walk_length_4 = 1U << 6;
inline constexpr std::uint64_t walk_length_5 = 1U << 7;
inline constexpr std::uint64_t uncacheable = 1U << 8;
inline constexpr std::uint64_t write_back = 1U << 14;
inline constexpr std::uint64_t pages_2_mib = 1U << 16;
inline constexpr std::uint64_t pages_1_gib = 1U << 17;
inline constexpr std::uint64_t invept = 1U << 20;
inline constexpr std::uint64_t accessed_dirty = 1U << 21;
inline constexpr std::uint64_t invept_single_context = 1U << 25;
inline constexpr std::uint64_t invvpid = std::uint64_t{1} << 32;
inline constexpr std::uint64_t invvpid_individual_address = std::uint64_t{1} << 40;
} // namespace ept_capability
bool has_ept();
bool has_page_size(PageSize size);
bool has_execute_only();
bool has_ept_accessed_dirty();
bool has_invept(unsigned type);
bool has_invvpid(unsigned type);

class L2;

class ExtendedPageTables : public FourLevelTables {
public:
    // Everything may be read, written and executed, is write-back, and not yet accessed.
    explicit ExtendedPageTables(PageSize size = usual_size());
    // 2 MiB where the vCPU has such pages.
    static PageSize usual_size();

    // Accessed and dirty flags are off until then.
    void use_accessed_dirty(bool on) { _accessed_dirty = on; }
    [[nodiscard]] std::uint64_t pointer() const;

    // Sets "enable EPT" and the EPT pointer in the current VMCS.
    void use_in(L2& guest) const;
    // INVEPT of this EPT pointer where that type is offered, else of all.
    void invalidate() const;

private:
    bool _accessed_dirty = false;
};

// The next entries of the current VMCS are without EPT.
void stop_using_ept();

} // namespace nestbed::vmx
