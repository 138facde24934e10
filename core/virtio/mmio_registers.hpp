// Registers of virtio over MMIO, version 2 (virtio 1.2, section 4.2.2), and the status bits (section 2.1).
#pragma once

#include <cstdint>

namespace nestbed::virtio {

enum class MmioRegister : std::uint32_t {
    magic_value = 0x000,
    version = 0x004,
    device_id = 0x008,
    vendor_id = 0x00c,
    device_features = 0x010,
    device_features_sel = 0x014,
    driver_features = 0x020,
    driver_features_sel = 0x024,
    queue_sel = 0x030,
    queue_num_max = 0x034,
    queue_num = 0x038,
    queue_ready = 0x044,
    queue_notify = 0x050,
    interrupt_status = 0x060,
    interrupt_ack = 0x064,
    status = 0x070,
    queue_desc_low = 0x080,
    queue_desc_high = 0x084,
    queue_driver_low = 0x090,
    queue_driver_high = 0x094,
    queue_device_low = 0x0a0,
    queue_device_high = 0x0a4,
    shm_sel = 0x0ac,
    shm_len_low = 0x0b0,
    shm_len_high = 0x0b4,
    shm_base_low = 0x0b8,
    shm_base_high = 0x0bc,
    config_generation = 0x0fc,
    config = 0x100,
};

inline constexpr std::uint32_t mmio_magic = 0x7472'6976; // "virt"
inline constexpr std::uint32_t mmio_version = 2;

inline constexpr std::uint32_t interrupt_used_buffer = 1;
inline constexpr std::uint32_t interrupt_configuration = 2;

inline constexpr std::uint32_t status_acknowledge = 1;
inline constexpr std::uint32_t status_driver = 2;
inline constexpr std::uint32_t status_driver_ok = 4;
inline constexpr std::uint32_t status_features_ok = 8;
inline constexpr std::uint32_t status_needs_reset = 64;
inline constexpr std::uint32_t status_failed = 128;

inline constexpr std::uint64_t feature_indirect_desc = std::uint64_t{1} << 28;
inline constexpr std::uint64_t feature_event_idx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t feature_version_1 = std::uint64_t{1} << 32;

} // namespace nestbed::virtio
