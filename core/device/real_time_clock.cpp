#include "core/device/real_time_clock.hpp"

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

namespace {

enum Register : std::uint8_t {
    seconds = 0,
    minutes = 2,
    hours = 4,
    day_of_week = 6,
    day_of_month = 7,
    month = 8,
    year = 9,
    status_a = 10,
    status_b = 11,
    status_c = 12,
    status_d = 13,
};

constexpr std::uint8_t time_base = 0x26;     // register A: 32.768 kHz, 1024 interrupts a second
constexpr std::uint8_t updating = 0x80;      // register A: UIP
constexpr std::uint8_t hours_are_24 = 0x02;  // register B; the values are BCD
constexpr std::uint8_t time_is_valid = 0x80; // register D

// An update takes 1984 us with this time base and is announced 244 us before. A guest that sees none coming
// has that long to read all registers.
constexpr std::chrono::microseconds announced_before{1984 + 244};

constexpr std::uint8_t bcd(unsigned value) {
    return static_cast<std::uint8_t>(value / 10 % 10 << 4 | value % 10);
}

} // namespace

std::optional<std::uint8_t> clock_register(RealTimeClock::Time time, std::uint8_t index) {
    using namespace std::chrono;
    const auto day = floor<days>(time);
    const year_month_day date{day};
    const hh_mm_ss clock{floor<std::chrono::seconds>(time - day)};
    const auto years = static_cast<unsigned>(static_cast<int>(date.year()));
    switch (index) {
    case Register::seconds:
        return bcd(static_cast<unsigned>(clock.seconds().count()));
    case Register::minutes:
        return bcd(static_cast<unsigned>(clock.minutes().count()));
    case Register::hours:
        return bcd(static_cast<unsigned>(clock.hours().count()));
    case Register::day_of_week:
        return bcd(weekday{day}.c_encoding() + 1);
    case Register::day_of_month:
        return bcd(static_cast<unsigned>(date.day()));
    case Register::month:
        return bcd(static_cast<unsigned>(date.month()));
    case Register::year:
        return bcd(years % 100);
    case RealTimeClock::century_register:
        return bcd(years / 100);
    case status_a: {
        const auto left = floor<std::chrono::seconds>(time) + std::chrono::seconds{1} - time;
        return static_cast<std::uint8_t>(time_base | (left <= announced_before ? updating : 0));
    }
    case status_b:
        return hours_are_24;
    case status_c:
        return std::uint8_t{0};
    case status_d:
        return time_is_valid;
    default:
        return {};
    }
}

void RealTimeClock::access(const PortAccess& access) {
    const std::lock_guard lock{_mutex};
    byte_by_byte(
        access,
        [this](std::uint32_t port) { return port == index_port + 1 ? read_data() : std::uint8_t{0xff}; },
        [this](std::uint32_t port, std::uint8_t value) {
            if (port == index_port)
                _index = value & 0x7f; // bit 7 masks NMIs on a PC, not here
            else if (port == index_port + 1)
                _memory[_index] = value; // what is written to the clock's own is never read
        });
}

std::uint8_t RealTimeClock::read_data() const {
    return clock_register(_now(), _index).value_or(_memory[_index]);
}

} // namespace nestbed::device
