// QEMU's firmware configuration device with its I/O ports, without DMA (QEMU, docs/specs/fw_cfg.rst). Test
// images ask it how many CPUs and how much memory there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/device/port_bus.hpp"

namespace nestbed::device {

class FwCfg final : public PortDevice {
public:
    static constexpr std::uint16_t selector_port = 0x510; // the data port is the next
    static constexpr std::uint16_t ports = 2;

    enum Key : std::uint16_t {
        signature = 0x00,
        features = 0x01,
        ram_size = 0x03,  // bytes, 8
        cpus = 0x05,      // 2
        max_cpus = 0x0f,  // 2
        max_memory = 0x11 // kvm-unit-tests' own: bytes to use at most, 8; 0 is no limit
    };

    // What each key reads as; all others, and what is behind the end of an item, read zero.
    using Items = std::map<std::uint16_t, std::vector<std::byte>>;

    explicit FwCfg(Items items) : _items{std::move(items)} {}

    void access(const PortAccess& access) override;

private:
    void select(std::uint16_t key);
    std::byte next();

    const Items _items;

    std::mutex _mutex; // of all below
    const std::vector<std::byte>* _selected = nullptr;
    std::size_t _offset = 0;
};

// Little-endian, `bytes` of them, at most 8.
[[nodiscard]] std::vector<std::byte> fw_cfg_number(std::uint64_t value, std::size_t bytes);

// What says that this is the device, and what images ask of every machine.
[[nodiscard]] FwCfg::Items fw_cfg_items(std::uint16_t cpus, std::uint64_t ram_bytes);

} // namespace nestbed::device
