// The devices of a PC, wired to each other and to KVM.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "core/acpi/hardware.hpp"
#include "core/device/ending.hpp"
#include "core/device/exit_ports.hpp"
#include "core/device/fw_cfg.hpp"
#include "core/device/ioapic.hpp"
#include "core/device/pci_host.hpp"
#include "core/device/pci_test_device.hpp"
#include "core/device/power.hpp"
#include "core/device/real_time_clock.hpp"
#include "core/device/serial.hpp"
#include "core/device/system_control.hpp"
#include "core/device/test_device.hpp"
#include "core/machine/chassis.hpp"
#include "core/virtio/block.hpp"
#include "core/virtio/disk_spec.hpp"
#include "core/virtio/mmio_transport.hpp"
#include "core/virtio/random.hpp"

namespace nestbed::pc {

struct DeviceSpec {
    // Take what the guest sends over COM1 and COM2, from vCPU threads, the port's lock held. No COM2 without
    // a taker.
    std::function<void(std::span<const std::byte>)> console = [](std::span<const std::byte>) {};
    std::function<void(std::span<const std::byte>)> second_console = {};
    std::vector<virtio::DiskSpec> disks = {};
    bool random = true; // virtio-rng
    // What test images expect of a machine: fw_cfg, exit ports, pc-testdev, PCI. Linux would look for PCI
    // devices for a long time.
    bool for_test_images = false;
};

class Devices final : public device::MessageSink {
public:
    // `chassis` has its VM and its memory and no vCPU, and outlives the devices.
    Devices(machine::Chassis& chassis, DeviceSpec spec);
    Devices(const Devices&) = delete;
    Devices& operator=(const Devices&) = delete;
    Devices(Devices&&) = delete;
    Devices& operator=(Devices&&) = delete;
    ~Devices() override = default;

    // Puts all of them on the chassis' buses. Errors: host_lacks; bad_input for more disks than there are
    // pins, and those of virtio::Block::open().
    [[nodiscard]] Status attach();

    // What the guest's ACPI tables have to say of them.
    [[nodiscard]] acpi::Hardware hardware() const;

    // The first that the guest asked for; any thread.
    [[nodiscard]] std::optional<device::Ending> ending() const;

    [[nodiscard]] std::size_t type(std::span<const std::byte> bytes) { return _com1.feed(bytes); }
    [[nodiscard]] std::size_t send_second(std::span<const std::byte> bytes) {
        return _com2 ? _com2->feed(bytes) : 0;
    }
    void flush_console();

    // Hands over what the guest has sent, and ends what runs by itself. After the vCPUs have stopped.
    void quiesce();

    void send(const device::Message& message) override;

private:
    [[nodiscard]] device::TestDevice::Init test_device_init();
    void route(const device::Ioapic::Routes& routes);
    [[nodiscard]] Status attach_virtio(virtio::Device& device, int notify_fd);

    machine::Chassis& _chassis;
    const DeviceSpec _spec;
    mutable std::mutex _mutex; // of the next
    std::optional<device::Ending> _asked;
    device::FirstEnding _ending;
    device::Ioapic _ioapic;
    device::Serial _com1;
    std::optional<device::Serial> _com2;
    device::Power _power;
    device::RealTimeClock _clock;
    device::SystemControl _system_control;
    device::DebugExit _debug_exit;
    device::ShutdownPort _shutdown_port;
    device::FwCfg _fw_cfg;
    device::PciTestDevice _pci_test_device;
    device::PciHost _pci;
    device::TestDevice _test_device;
    virtio::Random _random;
    std::vector<std::unique_ptr<virtio::Block>> _disks;
    std::vector<std::unique_ptr<virtio::MmioTransport>> _virtio; // go first, and stop their devices
};

} // namespace nestbed::pc
