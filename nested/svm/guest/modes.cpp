#include "nested/svm/guest/modes.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

namespace {

constexpr std::uint64_t cr0_pe = 1U << 0;
constexpr std::uint64_t cr0_et = 1U << 4;
constexpr std::uint64_t cr0_ne = 1U << 5;
constexpr std::uint64_t cr0_pg = 1U << 31;
constexpr std::uint64_t cr4_pse = 1U << 4;
constexpr std::uint64_t cr4_pae = 1U << 5;
constexpr std::uint64_t entry_bits = 7; // present, write, user
constexpr std::uint64_t large = 1U << 7;
constexpr std::uint64_t four_gib = std::uint64_t{4} << 30;

void flat_segments(SaveArea& save, std::uint16_t code, std::uint16_t data, std::uint32_t limit) {
    save.cs = {nestbed::wire::kernel_code_selector, code, limit, 0};
    save.ss = save.ds = save.es = save.fs = save.gs = {nestbed::wire::kernel_data_selector, data, limit, 0};
    save.gdtr = {0, 0, 0, 0};
    save.idtr = {0, 0, 0, 0};
    save.ldtr = {0, 0x082, 0xffff, 0};
    save.tr = {0, 0x08b, 0x67, 0}; // a busy 32-bit TSS
    save.cpl = 0;
    save.rflags = 2;
}

std::uint64_t* page() {
    return static_cast<std::uint64_t*>(conform::allocate_pages(1));
}

} // namespace

void set_real_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack) {
    flat_segments(save, 0x09b, 0x093, 0xffff);
    save.cs.selector = static_cast<std::uint16_t>(code >> 4);
    save.cs.base = code;
    save.ss.selector = static_cast<std::uint16_t>(stack >> 4);
    save.ss.base = stack;
    save.ds.selector = save.es.selector = save.fs.selector = save.gs.selector = 0;
    save.idtr.limit = 0x3ff;
    save.cr0 = cr0_et;
    save.cr3 = 0;
    save.cr4 = 0;
    save.efer = msr::efer_bit::svme;
    save.rip = 0;
    save.rsp = 0x1000;
}

void set_protected_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack) {
    flat_segments(save, 0xc9b, 0xc93, 0xffff'ffff);
    save.cr0 = cr0_pe | cr0_et | cr0_ne;
    save.cr3 = 0;
    save.cr4 = 0;
    save.efer = msr::efer_bit::svme;
    save.rip = code;
    save.rsp = stack;
}

void set_pae_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack) {
    set_protected_mode(save, code, stack);
    auto* const directory_pointers = page();
    for (std::uint64_t at = 0; at < four_gib; at += std::uint64_t{1} << 30) {
        auto* const directory = page();
        for (std::uint64_t i = 0; i < 512; ++i)
            directory[i] = (at + (i << 21)) | entry_bits | large;
        directory_pointers[at >> 30] = conform::physical(directory) | 1; // no write or user bit at this level
    }
    save.cr3 = conform::physical(directory_pointers);
    save.cr4 = cr4_pae;
    save.cr0 |= cr0_pg;
}

void set_legacy_paging_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack) {
    set_protected_mode(save, code, stack);
    auto* const directory = reinterpret_cast<std::uint32_t*>(page());
    for (std::uint32_t i = 0; i < 1024; ++i)
        directory[i] = i << 22 | entry_bits | large;
    save.cr3 = conform::physical(directory);
    save.cr4 = cr4_pse;
    save.cr0 |= cr0_pg;
}

void set_compatibility_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack) {
    const auto cr3 = save.cr3;
    const auto cr4 = save.cr4;
    const auto cr0 = save.cr0;
    const auto efer = save.efer;
    const auto tr = save.tr;
    set_protected_mode(save, code, stack);
    save.cr0 = cr0;
    save.cr3 = cr3;
    save.cr4 = cr4;
    save.efer = efer;
    save.tr = tr;
}

} // namespace nestbed::svm
