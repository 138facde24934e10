#include "core/device/system_control.hpp"

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

void SystemControl::access(const PortAccess& access) {
    byte_by_byte(
        access,
        [this](std::uint32_t at) {
            if (at != port)
                return std::uint8_t{0xff};
            const bool refresh = !_refresh;
            _refresh = refresh;
            return static_cast<std::uint8_t>(_written | (refresh ? 0x10 : 0));
        },
        [this](std::uint32_t at, std::uint8_t value) {
            if (at == port)
                _written = value & 0x0f;
        });
}

} // namespace nestbed::device
