// Any sequence of accesses, lines, ends of interrupts and input to all devices of a foreign guest at once.
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/device/exit_ports.hpp"
#include "core/device/fw_cfg.hpp"
#include "core/device/ioapic.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/device/pci_host.hpp"
#include "core/device/pci_test_device.hpp"
#include "core/device/port_bus.hpp"
#include "core/device/power.hpp"
#include "core/device/real_time_clock.hpp"
#include "core/device/register_bytes.hpp"
#include "core/device/serial.hpp"
#include "core/device/system_control.hpp"
#include "core/device/test_device.hpp"
#include "require.hpp"

using nestbed::fuzz::require;
using namespace nestbed::device;

namespace {

// The input, byte by byte; zeros behind its end.
class Bytes {
public:
    Bytes(const std::uint8_t* data, std::size_t size) : _rest{data, size} {}

    [[nodiscard]] bool empty() const { return _rest.empty(); }
    std::uint64_t take(std::size_t bytes) {
        std::uint64_t number = 0;
        for (std::size_t i = 0; i < bytes && !_rest.empty(); ++i) {
            number |= std::uint64_t{_rest.front()} << 8 * i;
            _rest = _rest.subspan(1);
        }
        return number;
    }

private:
    std::span<const std::uint8_t> _rest;
};

constexpr bool is_level(const Message& message) {
    return (message.data >> 15 & 1) != 0;
}

// A message is one: an interrupt's address, no reserved bits, and what KVM accepts once translated.
void require_sound(const Message& message) {
    require(message.address_lo >> 20 == 0xfee && (message.address_lo & 0x1b) == 0 && message.address_hi == 0);
    require((message.data & ~0xc7ffU) == 0 && is_level(message) == ((message.data >> 14 & 1) != 0));
    require(!is_level(message) || (message.data >> 8 & 7) <= 1);
    const auto translated = with_32bit_destination(message);
    require((translated.address_lo & 0xfe0) == 0 && (translated.address_hi & ~0x7f00U) == 0);
}

struct Messages final : MessageSink {
    void send(const Message& message) override {
        require_sound(message);
        ++sent;
    }
    std::uint64_t sent = 0;
};

struct Machine {
    Machine() {
        ports.attach(Serial::com1, Serial::ports, serial);
        ports.attach(FwCfg::selector_port, FwCfg::ports, fw_cfg);
        ports.attach(DebugExit::usual_port, DebugExit::ports, debug_exit);
        ports.attach(ShutdownPort::usual_port, 1, shutdown_port);
        ports.attach(RealTimeClock::index_port, RealTimeClock::ports, clock);
        ports.attach(SystemControl::port, 1, system_control);
        power.attach_to(ports);
        pci.attach_to(ports);
        pci_test.attach_to(ports, memory);
        test.attach_to(ports, memory);
        memory.attach(Ioapic::usual_base, Ioapic::bytes, ioapic);
    }

    std::vector<InterruptLine*> all_pins() {
        std::vector<InterruptLine*> lines;
        for (unsigned i = 0; i < Ioapic::pins; ++i)
            lines.push_back(&ioapic.pin(i));
        return lines;
    }

    // What the serial port has to send of an OUT.
    void expect_output(const PortAccess& access) {
        const auto read = [this](std::uint16_t number) {
            std::array data{std::byte{0}};
            serial.access({.vcpu = 0,
                           .port = static_cast<std::uint16_t>(Serial::com1 + number),
                           .out = false,
                           .width = 1,
                           .data = data});
            return std::to_integer<unsigned>(data[0]);
        };
        bool divisor = (read(3) & 0x80) != 0;
        bool looped = (read(4) & 0x10) != 0;
        byte_by_byte(
            access, [](std::uint32_t) { return std::uint8_t{0}; },
            [&](std::uint32_t port, std::uint8_t value) {
                const auto number = port - Serial::com1;
                if (number == 0 && !divisor && !looped)
                    expected.push_back(std::byte{value});
                if (number == 3)
                    divisor = (value & 0x80) != 0;
                if (number == 4)
                    looped = (value & 0x10) != 0;
            });
    }

    Messages messages;
    Ioapic::Routes routes{};
    std::vector<std::byte> output;
    std::vector<std::byte> expected;
    unsigned endings = 0;

    Ioapic ioapic{{.messages = messages, .routes_changed = [this](const auto& all) {
                       require(all != routes);
                       routes = all;
                   }}};
    Serial serial{{.output =
                       [this](std::span<const std::byte> bytes) {
                           require(!bytes.empty() && bytes.size() <= Serial::output_bytes);
                           output.insert(output.end(), bytes.begin(), bytes.end());
                       },
                   .interrupt = &ioapic.pin(4)}};
    FirstEnding ending{[this](const Ending&) { ++endings; }};
    DebugExit debug_exit{ending};
    ShutdownPort shutdown_port{ending};
    Power power{ending};
    FwCfg fw_cfg{fw_cfg_items(288, 1ULL << 32)};
    TestDevice test{
        {.interrupt_lines = all_pins(), .flush_page = [](std::uint64_t page) { require(page % 4096 == 0); }}};
    std::uint32_t seconds = 0;
    RealTimeClock clock{[this] { return RealTimeClock::Time{std::chrono::seconds{++seconds * 977U}}; }};
    SystemControl system_control;
    PciTestDevice pci_test{{}};
    PciHost pci{[this] {
        PciHost::Functions functions;
        functions[0] = pci_host_bridge();
        functions[1] = pci_test.config();
        return functions;
    }()};
    PortBus ports;
    MmioBus memory;
};

constexpr std::array<std::uint16_t, 16> first_ports{0x3f8, 0x2000, 0xe0,   0xcf8, 0xcfc, 0x510,
                                                    0xf4,  0x600,  0xcf9,  0x60,  0x64,  0x70,
                                                    0x61,  0x8900, 0xc000, 0x2010};
constexpr std::array<std::uint64_t, 4> first_addresses{Ioapic::usual_base, TestDevice::window,
                                                       PciTestDevice::usual_address, 0xffff'ffff'ffff'fff8};

void access_port(Machine& machine, Bytes& bytes, bool is_out) {
    const auto which = bytes.take(1);
    const auto port =
        static_cast<std::uint16_t>(which == 0xff ? bytes.take(2) : first_ports[which & 0xf] + (which >> 4));
    const auto shape = bytes.take(1);
    const auto width = static_cast<std::uint8_t>(1U << shape % 3);
    std::vector<std::byte> data(width * (shape < 192 ? 1 : 1 + shape * 7 % 64));
    put_number(data, bytes.take(is_out ? width : 0));
    const auto before = data;
    const PortAccess access{.vcpu = 0, .port = port, .out = is_out, .width = width, .data = data};
    if (is_out && port >= Serial::com1 && port < Serial::com1 + Serial::ports)
        machine.expect_output(access);
    const bool claimed = machine.ports.dispatch(access);
    if (is_out)
        require(data == before);
    else if (!claimed)
        require(data == std::vector<std::byte>(data.size(), std::byte{0xff}));
}

void access_memory(Machine& machine, Bytes& bytes, bool write) {
    const auto which = bytes.take(1);
    const auto offset = bytes.take(which < 128 ? 1 : 2);
    const auto width = static_cast<std::uint8_t>(1 + (which >> 2) % 8);
    std::array<std::byte, 8> data;
    put_number(data, bytes.take(write ? width : 0));
    const auto before = data;
    static_cast<void>(machine.memory.dispatch({.vcpu = 0,
                                               .address = first_addresses[which & 3] + offset,
                                               .write = write,
                                               .width = width,
                                               .data = std::span{data}.first(width)}));
    if (write)
        require(data == before);
}

// The I/O APIC's window in one step, without which few inputs would program it.
void program_entry(Machine& machine, Bytes& bytes) {
    const auto store = [&](std::uint64_t offset, std::uint64_t value) {
        std::array<std::byte, 4> data;
        put_number(data, value);
        machine.ioapic.access(
            {.vcpu = 0, .address = Ioapic::usual_base + offset, .write = true, .width = 4, .data = data});
    };
    store(0x00, 0x10 + bytes.take(1) % 48);
    store(0x10, bytes.take(4));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Machine machine;
    machine.routes = machine.ioapic.routes();
    Bytes bytes{data, size};
    while (!bytes.empty()) {
        const auto sent = machine.messages.sent;
        const auto operation = bytes.take(1);
        switch (operation % 8) {
        case 0:
            access_port(machine, bytes, true);
            break;
        case 1:
            access_port(machine, bytes, false);
            break;
        case 2:
            access_memory(machine, bytes, true);
            break;
        case 3:
            access_memory(machine, bytes, false);
            break;
        case 4:
            program_entry(machine, bytes);
            break;
        case 5:
            machine.ioapic.pin(operation / 16 % 16 + bytes.take(1) % 9).set((operation & 8) != 0);
            break;
        case 6:
            machine.ioapic.end_of_interrupt(static_cast<std::uint8_t>(bytes.take(1)));
            break;
        default: {
            const std::vector<std::byte> input(bytes.take(1) * 16, std::byte{'i'});
            require(machine.serial.feed(input) <= input.size());
            if ((operation & 8) != 0)
                machine.serial.flush();
            break;
        }
        }
        // A string OUT sets lines at most twice a byte; nothing sends by itself.
        require(machine.messages.sent - sent <= 512);
        require(machine.routes == machine.ioapic.routes());
        require(machine.endings <= 1);
        require(machine.expected.size() - machine.output.size() < Serial::output_bytes);
    }
    machine.serial.flush();
    require(machine.output == machine.expected);
    return 0;
}
