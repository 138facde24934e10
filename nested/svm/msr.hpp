// MSRs of SVM and what they hold (APM volume 2, 15.30 and appendix A). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::svm::msr {

inline constexpr std::uint32_t efer = 0xc000'0080;
inline constexpr std::uint32_t star = 0xc000'0081;
inline constexpr std::uint32_t lstar = 0xc000'0082;
inline constexpr std::uint32_t cstar = 0xc000'0083;
inline constexpr std::uint32_t sfmask = 0xc000'0084;
inline constexpr std::uint32_t fs_base = 0xc000'0100;
inline constexpr std::uint32_t gs_base = 0xc000'0101;
inline constexpr std::uint32_t kernel_gs_base = 0xc000'0102;
inline constexpr std::uint32_t tsc_aux = 0xc000'0103;
inline constexpr std::uint32_t tsc_ratio = 0xc000'0104;
inline constexpr std::uint32_t vm_cr = 0xc001'0114;
inline constexpr std::uint32_t vm_hsave_pa = 0xc001'0117;
inline constexpr std::uint32_t sysenter_cs = 0x174;
inline constexpr std::uint32_t sysenter_esp = 0x175;
inline constexpr std::uint32_t sysenter_eip = 0x176;
inline constexpr std::uint32_t debugctl = 0x1d9;
inline constexpr std::uint32_t last_branch_from = 0x1db;
inline constexpr std::uint32_t last_branch_to = 0x1dc;
inline constexpr std::uint32_t pat = 0x277;
inline constexpr std::uint32_t tsc = 0x10;

namespace efer_bit {
inline constexpr std::uint64_t sce = 1U << 0;
inline constexpr std::uint64_t lme = 1U << 8;
inline constexpr std::uint64_t lma = 1U << 10;
inline constexpr std::uint64_t nxe = 1U << 11;
inline constexpr std::uint64_t svme = 1U << 12;
inline constexpr std::uint64_t lmsle = 1U << 13;
inline constexpr std::uint64_t ffxsr = 1U << 14;
} // namespace efer_bit

namespace vm_cr_bit {
inline constexpr std::uint64_t r_init = 1U << 1;
inline constexpr std::uint64_t lock = 1U << 3;
inline constexpr std::uint64_t svmdis = 1U << 4;
} // namespace vm_cr_bit

} // namespace nestbed::svm::msr
