// The time of day and the battery-backed bytes of a PC (Motorola MC146818A): the clock can be read and not
// set, and has no alarm and no interrupt.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "core/device/port_bus.hpp"

namespace nestbed::device {

class RealTimeClock final : public PortDevice {
public:
    static constexpr std::uint16_t index_port = 0x70; // the data port is the next
    static constexpr std::uint16_t ports = 2;
    static constexpr std::uint8_t century_register = 0x32; // as the FADT says it

    using Time = std::chrono::system_clock::time_point;

    // `now` is called from vCPU threads, several at once.
    explicit RealTimeClock(std::function<Time()> now) : _now{std::move(now)} {}

    void access(const PortAccess& access) override;

private:
    [[nodiscard]] std::uint8_t read_data() const;

    const std::function<Time()> _now;

    std::mutex _mutex; // of all below
    std::uint8_t _index = 0;
    std::array<std::uint8_t, 128> _memory{};
};

// What the clock's own registers read at a time, in UTC: seconds, minutes, hours, days, months and years in
// BCD, 24 hours a day, Sunday being 1, and the registers A to D. Nothing for alarms and memory.
[[nodiscard]] std::optional<std::uint8_t> clock_register(RealTimeClock::Time time, std::uint8_t index);

} // namespace nestbed::device
