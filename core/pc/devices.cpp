#include "core/pc/devices.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/pc/address_map.hpp"

namespace nestbed::pc {

namespace {

constexpr std::uint64_t queue_notify = 0x50; // virtio 1.2, 4.2.2

// More than a 16-bit number of CPUs no test image takes.
std::uint16_t cpus_told(const machine::Chassis& chassis) {
    return static_cast<std::uint16_t>(std::min<std::uint32_t>(chassis.vcpus(), UINT16_MAX));
}

device::PciHost::Functions functions(const device::PciTestDevice& test_device) {
    device::PciHost::Functions functions{};
    functions[0] = device::pci_host_bridge();
    functions[1] = test_device.config();
    return functions;
}

} // namespace

Devices::Devices(machine::Chassis& chassis, DeviceSpec spec)
    : _chassis{chassis}, _spec{std::move(spec)}, _ending{[this](const device::Ending& asked) {
          {
              const std::lock_guard lock{_mutex};
              _asked = asked;
          }
          _chassis.ring();
      }},
      _ioapic{{.messages = *this,
               .routes_changed = [this](const device::Ioapic::Routes& routes) { route(routes); }}},
      _com1{{.output = _spec.console, .interrupt = &_ioapic.pin(com1_gsi)}}, _power{_ending}, _clock{[] {
          return std::chrono::system_clock::now();
      }},
      _debug_exit{_ending}, _shutdown_port{_ending}, _fw_cfg{device::fw_cfg_items(
                                                         cpus_told(chassis), chassis.plan().memory_bytes())},
      _pci_test_device{{}}, _pci{functions(_pci_test_device)}, _test_device{test_device_init()} {
    if (_spec.second_console)
        _com2.emplace(device::Serial::Init{
            .base = com2_port, .output = _spec.second_console, .interrupt = &_ioapic.pin(com2_gsi)});
}

device::TestDevice::Init Devices::test_device_init() {
    device::TestDevice::Init init;
    // Line 0, a PC's timer, is connected to pin 2.
    for (unsigned line = 0; line < device::TestDevice::lines; ++line)
        init.interrupt_lines.push_back(line == 0 ? &_ioapic.pin(2) : &_ioapic.pin(line));
    return init;
}

Status Devices::attach() {
    auto& ports = _chassis.ports();
    auto& mmio = _chassis.mmio();
    mmio.attach(device::Ioapic::usual_base, device::Ioapic::bytes, _ioapic);
    _chassis.on_end_of_interrupt([this](std::uint8_t vector) { _ioapic.end_of_interrupt(vector); });
    // In the order in which guests use them most.
    ports.attach(device::Serial::com1, device::Serial::ports, _com1);
    if (_com2)
        ports.attach(com2_port, device::Serial::ports, *_com2);
    if (_spec.for_test_images) {
        ports.attach(device::DebugExit::usual_port, device::DebugExit::ports, _debug_exit);
        ports.attach(device::ShutdownPort::usual_port, 1, _shutdown_port);
        ports.attach(device::FwCfg::selector_port, device::FwCfg::ports, _fw_cfg);
        _test_device.attach_to(ports, mmio);
        _pci_test_device.attach_to(ports, mmio);
        _pci.attach_to(ports);
    }
    _power.attach_to(ports);
    ports.attach(device::RealTimeClock::index_port, device::RealTimeClock::ports, _clock);
    ports.attach(device::SystemControl::port, 1, _system_control);
    for (const auto& spec : _spec.disks) {
        auto disk = virtio::Block::open(spec);
        if (!disk)
            return tl::unexpected{disk.error()};
        _disks.push_back(std::move(*disk));
        if (auto attached = attach_virtio(*_disks.back(), _disks.back()->notify_fd()); !attached)
            return attached;
    }
    return _spec.random ? attach_virtio(_random, -1) : Status{};
}

Status Devices::attach_virtio(virtio::Device& device, int notify_fd) {
    const auto index = _virtio.size();
    if (index == most_virtio_devices)
        return fail(ErrorKind::bad_input, fmt::format("have {} disks", _spec.disks.size()),
                    fmt::format("the I/O APIC has pins for {} virtio devices", most_virtio_devices),
                    "use fewer --disk");
    const auto base = virtio_base + index * virtio_bytes;
    const auto gsi = static_cast<unsigned>(first_virtio_gsi + index);
    _virtio.push_back(std::make_unique<virtio::MmioTransport>(
        base, device,
        [this](std::uint64_t address, std::uint64_t bytes) { return _chassis.memory().at(address, bytes); },
        _ioapic.pin(gsi)));
    _chassis.mmio().attach(base, virtio::MmioTransport::window_bytes, *_virtio.back());
    if (notify_fd < 0)
        return {};
    // A kick does not leave the kernel then.
    return _chassis.vm().add_mmio_eventfd(base + queue_notify, sizeof(std::uint32_t), notify_fd);
}

acpi::Hardware Devices::hardware() const {
    acpi::Hardware hardware;
    hardware.ioapic.address = static_cast<std::uint32_t>(device::Ioapic::usual_base);
    hardware.ioapic.pins = device::Ioapic::pins;
    hardware.serial.push_back({.port = device::Serial::com1, .gsi = com1_gsi});
    if (_com2)
        hardware.serial.push_back({.port = com2_port, .gsi = com2_gsi});
    for (std::size_t i = 0; i < _virtio.size(); ++i)
        hardware.virtio.push_back({.address = virtio_base + i * virtio_bytes,
                                   .bytes = virtio_bytes,
                                   .gsi = static_cast<std::uint32_t>(first_virtio_gsi + i)});
    hardware.sleep_control_port = device::Power::sleep_control;
    hardware.sleep_status_port = device::Power::sleep_status;
    hardware.reset_port = device::Power::reset_control;
    hardware.reset_value = device::Power::reset_value;
    return hardware;
}

std::optional<device::Ending> Devices::ending() const {
    const std::lock_guard lock{_mutex};
    return _asked;
}

void Devices::flush_console() {
    _com1.flush();
    if (_com2)
        _com2->flush();
}

void Devices::quiesce() {
    flush_console();
    _virtio.clear();
}

void Devices::send(const device::Message& message) {
    const auto whole = device::with_32bit_destination(message);
    // A guest may send to nobody; that is no failure of ours.
    [[maybe_unused]] const auto sent = _chassis.vm().signal_msi(
        kvm::Msi{.address_lo = whole.address_lo, .address_hi = whole.address_hi, .data = whole.data});
}

void Devices::route(const device::Ioapic::Routes& routes) {
    std::array<kvm::Msi, std::tuple_size_v<device::Ioapic::Routes>> pins;
    for (std::size_t pin = 0; pin < pins.size(); ++pin) {
        const auto whole = device::with_32bit_destination(routes[pin]);
        pins[pin] = {.address_lo = whole.address_lo, .address_hi = whole.address_hi, .data = whole.data};
    }
    // Where it fails level-triggered interrupts come once, and the guest says so.
    if (auto set = _chassis.vm().set_gsi_routing(pins); !set)
        spdlog::error("{}", set.error().message());
}

} // namespace nestbed::pc
