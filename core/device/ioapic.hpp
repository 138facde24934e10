// The I/O APIC of a machine with KVM's split irqchip: an Intel 82093AA with the EOI register of version 0x20,
// whose interrupts leave as messages.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>

#include "core/device/interrupt_line.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/device/redirection_entry.hpp"

namespace nestbed::device {

class Ioapic final : public MmioDevice {
public:
    static constexpr unsigned pins = 24;
    static constexpr std::uint64_t bytes = 0x1000; // of the address space
    static constexpr std::uint64_t usual_base = 0xfec0'0000;

    // One message a pin, of masked pins too: while a pin is masked, the EOI of its last interrupt may be
    // still to come. Behind them one a pin once more: what was in service when the pin's message changed
    // last, or the same message where nothing was. A guest may move an interrupt to another CPU from its own
    // handler; its EOI then comes from a CPU that is in no route any more.
    using Routes = std::array<Message, std::size_t{2} * pins>;

    struct Init {
        std::uint64_t base = usual_base;
        std::uint8_t id = 0; // as the MADT has it; 4 bits
        MessageSink& messages;
        // The messages have changed. KVM makes KVM_EXIT_IOAPIC_EOI only for vectors that it knows from
        // KVM_SET_GSI_ROUTING, so this comes before the first message that is new.
        std::function<void(const Routes&)> routes_changed;
    };

    // `messages` and `routes_changed` are called from the threads that drive pins, access registers or end
    // interrupts, with the I/O APIC's lock held, which keeps them in order: they must not call back.
    explicit Ioapic(Init init);

    void access(const MmioAccess& access) override;

    // `number` is below `pins`. A pin has one driver, or drivers that know of each other.
    [[nodiscard]] InterruptLine& pin(unsigned number) { return _lines.at(number); }

    // KVM_EXIT_IOAPIC_EOI, and what a write to the EOI register does: level-triggered pins with this vector
    // interrupt again if they are still asserted.
    void end_of_interrupt(std::uint8_t vector);

    [[nodiscard]] Routes routes() const;

private:
    struct Line final : InterruptLine {
        void set(bool level) override { ioapic->set_pin(number, level); }

        Ioapic* ioapic = nullptr;
        unsigned number = 0;
    };

    // Of all of these, only set_pin() is called without the lock.
    void set_pin(unsigned number, bool level);
    void deliver_level(unsigned number);
    void end_interrupts(std::uint8_t vector);
    [[nodiscard]] std::uint32_t read_register() const;
    void write_register(std::uint32_t value);
    void replace_entry(unsigned number, const RedirectionEntry& entry);
    [[nodiscard]] Routes messages_of_all() const;

    const std::uint64_t _base;
    MessageSink& _messages;
    const std::function<void(const Routes&)> _routes_changed;
    std::array<Line, pins> _lines;

    mutable std::mutex _mutex; // of all below
    std::uint8_t _id = 0;
    std::uint8_t _select = 0;
    std::array<RedirectionEntry, pins> _entries;
    std::array<bool, pins> _asserted{};
    std::array<Message, pins> _last_sent; // of a level-triggered pin
    std::array<Message, pins> _kept;      // the second half of the routes
};

} // namespace nestbed::device
