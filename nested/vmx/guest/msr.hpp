// MSRs of VMX and of what it switches (SDM volume 4).
#pragma once

#include <cstdint>

namespace nestbed::vmx::msr {

inline constexpr std::uint32_t feature_control = 0x3a;
inline constexpr std::uint32_t sysenter_cs = 0x174;
inline constexpr std::uint32_t sysenter_esp = 0x175;
inline constexpr std::uint32_t sysenter_eip = 0x176;
inline constexpr std::uint32_t debugctl = 0x1d9;
inline constexpr std::uint32_t pat = 0x277;
inline constexpr std::uint32_t perf_global_ctrl = 0x38f;
inline constexpr std::uint32_t vmx_basic = 0x480;
inline constexpr std::uint32_t vmx_pin_based = 0x481;
inline constexpr std::uint32_t vmx_primary = 0x482;
inline constexpr std::uint32_t vmx_exit = 0x483;
inline constexpr std::uint32_t vmx_entry = 0x484;
inline constexpr std::uint32_t vmx_misc = 0x485;
inline constexpr std::uint32_t vmx_cr0_fixed0 = 0x486;
inline constexpr std::uint32_t vmx_cr0_fixed1 = 0x487;
inline constexpr std::uint32_t vmx_cr4_fixed0 = 0x488;
inline constexpr std::uint32_t vmx_cr4_fixed1 = 0x489;
inline constexpr std::uint32_t vmx_vmcs_enum = 0x48a;
inline constexpr std::uint32_t vmx_secondary = 0x48b;
inline constexpr std::uint32_t vmx_ept_vpid = 0x48c;
inline constexpr std::uint32_t vmx_true_pin_based = 0x48d;
inline constexpr std::uint32_t vmx_true_primary = 0x48e;
inline constexpr std::uint32_t vmx_true_exit = 0x48f;
inline constexpr std::uint32_t vmx_true_entry = 0x490;
inline constexpr std::uint32_t efer = 0xc000'0080;
inline constexpr std::uint32_t star = 0xc000'0081;
inline constexpr std::uint32_t lstar = 0xc000'0082;
inline constexpr std::uint32_t sfmask = 0xc000'0084;
inline constexpr std::uint32_t fs_base = 0xc000'0100;
inline constexpr std::uint32_t gs_base = 0xc000'0101;
inline constexpr std::uint32_t kernel_gs_base = 0xc000'0102;

namespace feature_control_bit {
inline constexpr std::uint64_t lock = 1U << 0;
inline constexpr std::uint64_t vmx_outside_smx = 1U << 2;
} // namespace feature_control_bit

} // namespace nestbed::vmx::msr
