#include "core/device/redirection_entry.hpp"

namespace nestbed::device {

namespace {

RedirectionEntry written(const RedirectionEntry& old, std::uint64_t wanted) {
    RedirectionEntry entry{(wanted & RedirectionEntry::writable) |
                           (old.bits & RedirectionEntry::remote_irr_bit)};
    if (!entry.level_triggered())
        entry.bits &= ~RedirectionEntry::remote_irr_bit;
    return entry;
}

} // namespace

RedirectionEntry RedirectionEntry::with_low(std::uint32_t value) const {
    return written(*this, (bits & ~0xffff'ffffULL) | value);
}

RedirectionEntry RedirectionEntry::with_high(std::uint32_t value) const {
    return written(*this, (bits & 0xffff'ffffULL) | std::uint64_t{value} << 32);
}

Message message_of(const RedirectionEntry& entry) {
    // Entry bits 63:49 are address bits 19:5, as they are.
    const auto destination = static_cast<std::uint32_t>(entry.bits >> 49) << 5;
    const std::uint32_t logical = (entry.bits & RedirectionEntry::logical_bit) != 0 ? 1U << 2 : 0;
    const std::uint32_t level = entry.level_triggered() ? 3U << 14 : 0;
    return {.address_lo = 0xfee0'0000 | destination | logical,
            .address_hi = 0,
            .data = level | entry.delivery_mode() << 8 | entry.vector()};
}

} // namespace nestbed::device
