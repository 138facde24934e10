#include "nested/svm/guest/legacy_host.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

extern "C" {
void svm_legacy_vmrun();
// Of legacy_host.S: what it is given and what it keeps. One vCPU at a time.
extern std::uint64_t svm_legacy_vmcb, svm_legacy_cr3, svm_legacy_cr4;
extern std::uint64_t svm_legacy_rsi, svm_legacy_rdi, svm_legacy_rbx;
}

namespace {

struct [[gnu::packed]] PseudoDescriptor {
    std::uint16_t limit;
    std::uint64_t base;
};

constexpr unsigned code32_selector = 0x38; // of legacy_host.S
constexpr std::uint64_t code32 = 0x00cf'9b00'0000'ffff;

} // namespace

void vmrun_in_legacy_mode(const LegacyHost& host, std::uint64_t rsi, std::uint64_t rdi, std::uint64_t rbx) {
    PseudoDescriptor before{};
    asm volatile("sgdt %0" : "=m"(before));
    // The vCPU's descriptors, and 32-bit code.
    auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    const auto* const old = guest::pointer_to<const std::uint64_t>(before.base);
    for (unsigned i = 0; i <= before.limit / 8U; ++i)
        table[i] = old[i];
    table[code32_selector / 8] = code32;
    const PseudoDescriptor with_code32{code32_selector + 7, conform::physical(table)};

    svm_legacy_vmcb = host.vmcb;
    svm_legacy_cr3 = host.cr3;
    svm_legacy_cr4 = host.cr4;
    svm_legacy_rsi = rsi;
    svm_legacy_rdi = rdi;
    svm_legacy_rbx = rbx;
    clgi();
    asm volatile("lgdt %0" : : "m"(with_code32));
    svm_legacy_vmrun();
    asm volatile("lgdt %0" : : "m"(before));
    stgi();
}

} // namespace nestbed::svm
