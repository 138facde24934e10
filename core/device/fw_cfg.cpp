#include "core/device/fw_cfg.hpp"

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

namespace {

// Bit 14 of a selector asks for writing, which no item allows any more.
constexpr std::uint16_t write_channel = 0x4000;

constexpr std::uint64_t has_ports = 1; // bit 1 would be DMA

} // namespace

void FwCfg::access(const PortAccess& access) {
    const std::lock_guard lock{_mutex};
    each_repetition(access, [&](std::span<std::byte> bytes) {
        if (access.out) {
            if (access.port == selector_port && bytes.size() == 2)
                select(static_cast<std::uint16_t>(number_in(bytes)));
            return;
        }
        for (auto& byte : bytes)
            byte = next();
    });
}

void FwCfg::select(std::uint16_t key) {
    const auto item = _items.find(static_cast<std::uint16_t>(key & ~write_channel));
    _selected = item == _items.end() ? nullptr : &item->second;
    _offset = 0;
}

std::byte FwCfg::next() {
    if (_selected == nullptr || _offset >= _selected->size())
        return std::byte{0};
    return (*_selected)[_offset++];
}

std::vector<std::byte> fw_cfg_number(std::uint64_t value, std::size_t bytes) {
    std::vector<std::byte> number(bytes);
    put_number(number, value);
    return number;
}

FwCfg::Items fw_cfg_items(std::uint16_t cpus, std::uint64_t ram_bytes) {
    return {
        {FwCfg::signature, {std::byte{'Q'}, std::byte{'E'}, std::byte{'M'}, std::byte{'U'}}},
        {FwCfg::features, fw_cfg_number(has_ports, 4)},
        {FwCfg::ram_size, fw_cfg_number(ram_bytes, 8)},
        {FwCfg::cpus, fw_cfg_number(cpus, 2)},
        {FwCfg::max_cpus, fw_cfg_number(cpus, 2)},
    };
}

} // namespace nestbed::device
