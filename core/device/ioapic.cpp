#include "core/device/ioapic.hpp"

#include <utility>

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

namespace {

// Offsets in the MMIO window.
constexpr std::uint64_t select_offset = 0x00;
constexpr std::uint64_t window_offset = 0x10;
constexpr std::uint64_t eoi_offset = 0x40;

// Registers behind the window.
constexpr unsigned id_register = 0;
constexpr unsigned version_register = 1;
constexpr unsigned arbitration_register = 2;
constexpr unsigned first_entry_register = 0x10;

constexpr std::uint32_t version = (Ioapic::pins - 1) << 16 | 0x20;

} // namespace

Ioapic::Ioapic(Init init)
    : _base{init.base}, _messages{init.messages},
      _routes_changed{std::move(init.routes_changed)}, _id{static_cast<std::uint8_t>(init.id & 0xf)} {
    for (unsigned i = 0; i < pins; ++i) {
        _lines[i].ioapic = this;
        _lines[i].number = i;
        _kept[i] = message_of(_entries[i]);
    }
}

// The registers are 32 bits wide at multiples of 16 and want to be accessed as such. Wider accesses reach
// the register that they begin with; narrower writes select, as only bits 7:0 count there, and otherwise do
// nothing.
void Ioapic::access(const MmioAccess& access) {
    const auto offset = access.address - _base;
    const std::lock_guard lock{_mutex};
    if (!access.write) {
        std::uint32_t value = 0;
        if (offset == select_offset)
            value = _select;
        else if (offset == window_offset)
            value = read_register();
        put_number(access.data, value);
        return;
    }
    const auto value = static_cast<std::uint32_t>(number_in(access.data));
    if (offset == select_offset)
        _select = static_cast<std::uint8_t>(value);
    else if (access.data.size() < 4)
        return;
    else if (offset == window_offset)
        write_register(value);
    else if (offset == eoi_offset)
        end_interrupts(static_cast<std::uint8_t>(value));
}

void Ioapic::end_of_interrupt(std::uint8_t vector) {
    const std::lock_guard lock{_mutex};
    end_interrupts(vector);
}

Ioapic::Routes Ioapic::routes() const {
    const std::lock_guard lock{_mutex};
    return messages_of_all();
}

void Ioapic::set_pin(unsigned number, bool level) {
    const std::lock_guard lock{_mutex};
    const bool rises = level && !_asserted[number];
    _asserted[number] = level;
    const auto& entry = _entries[number];
    if (entry.level_triggered())
        deliver_level(number);
    else if (rises && !entry.masked()) // an edge on a masked pin is lost (82093AA, section 3.2.4, bit 16)
        _messages.send(message_of(entry));
}

void Ioapic::deliver_level(unsigned number) {
    auto& entry = _entries[number];
    if (!_asserted[number] || entry.masked() || entry.remote_irr())
        return;
    entry.bits |= RedirectionEntry::remote_irr_bit;
    _last_sent[number] = message_of(entry);
    _messages.send(_last_sent[number]);
}

void Ioapic::end_interrupts(std::uint8_t vector) {
    for (unsigned i = 0; i < pins; ++i) {
        if (!_entries[i].level_triggered() || _entries[i].vector() != vector)
            continue;
        _entries[i].bits &= ~RedirectionEntry::remote_irr_bit;
        deliver_level(i);
    }
}

std::uint32_t Ioapic::read_register() const {
    if (_select == id_register || _select == arbitration_register)
        return std::uint32_t{_id} << 24;
    if (_select == version_register)
        return version;
    const unsigned half = _select - first_entry_register;
    if (_select < first_entry_register || half / 2 >= pins)
        return 0;
    return static_cast<std::uint32_t>(_entries[half / 2].bits >> 32 * (half % 2));
}

void Ioapic::write_register(std::uint32_t value) {
    if (_select == id_register)
        _id = value >> 24 & 0xf;
    const unsigned half = _select - first_entry_register;
    if (_select < first_entry_register || half / 2 >= pins)
        return;
    const auto& old = _entries[half / 2];
    replace_entry(half / 2, half % 2 == 0 ? old.with_low(value) : old.with_high(value));
}

void Ioapic::replace_entry(unsigned number, const RedirectionEntry& entry) {
    const bool changed = message_of(entry) != message_of(_entries[number]);
    if (changed)
        _kept[number] = _entries[number].remote_irr() ? _last_sent[number] : message_of(entry);
    _entries[number] = entry;
    // KVM takes a moment for a new table, and masking, which is frequent, needs none.
    if (changed && _routes_changed)
        _routes_changed(messages_of_all());
    if (entry.level_triggered())
        deliver_level(number);
}

Ioapic::Routes Ioapic::messages_of_all() const {
    Routes routes;
    for (unsigned i = 0; i < pins; ++i) {
        routes[i] = message_of(_entries[i]);
        routes[pins + i] = _kept[i];
    }
    return routes;
}

} // namespace nestbed::device
