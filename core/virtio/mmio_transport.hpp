// A virtio device as registers in guest-physical memory (virtio 1.2, section 4.2).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/device/interrupt_line.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/virtio/device.hpp"
#include "core/virtio/guest_ram.hpp"
#include "core/virtio/mmio_registers.hpp"

namespace nestbed::virtio {

class MmioTransport final : public device::MmioDevice, private Transport {
public:
    // What it occupies: registers and 256 bytes of configuration space.
    static constexpr std::uint64_t window_bytes = 0x200;

    // Answers [base, base + window_bytes); device and line are the caller's and outlive it.
    MmioTransport(std::uint64_t base, Device& device, GuestRam ram, device::InterruptLine& line);
    MmioTransport(const MmioTransport&) = delete;
    MmioTransport& operator=(const MmioTransport&) = delete;
    MmioTransport(MmioTransport&&) = delete;
    MmioTransport& operator=(MmioTransport&&) = delete;
    // Stops the device. No vCPU runs any more.
    ~MmioTransport() override;

    // From any vCPU thread, several at once.
    void access(const device::MmioAccess& access) override;

private:
    struct QueueRegisters {
        bool ready = false;
        QueueSetup setup; // as the driver has it so far
    };

    void interrupt() override;
    void configuration_changed() override;
    void needs_reset(std::string_view why) override;

    void raise(std::uint32_t bits);
    void read_configuration(std::uint64_t offset, std::span<std::byte> data) const;
    [[nodiscard]] std::uint32_t read(MmioRegister which);
    void write(MmioRegister which, std::uint32_t value);
    void acknowledge(std::uint32_t bits);
    void write_queue(MmioRegister which, std::uint32_t value);
    void write_queue_ready(std::uint32_t value);
    void write_status(std::uint32_t value);
    void start();
    void reset();

    [[nodiscard]] QueueRegisters* selected_queue();
    [[nodiscard]] Checked<Queue> make_queue(const QueueRegisters& registers) const;
    [[nodiscard]] std::uint64_t offered() const { return _device.features() | feature_version_1; }
    [[nodiscard]] bool features_are_sound() const;

    const std::uint64_t _base;
    Device& _device;
    const GuestRam _ram;
    device::InterruptLine& _line;

    std::mutex _mutex; // registers; held while the device is called
    std::uint32_t _device_features_sel = 0;
    std::uint32_t _driver_features_sel = 0;
    std::uint64_t _driver_features = 0;
    bool _accepted_unknown_features = false; // behind the first 64
    std::uint32_t _queue_sel = 0;
    std::vector<QueueRegisters> _queues;
    bool _running = false; // the device was started

    // The device's own threads come this far, so what is below is never held while waiting for the device.
    std::mutex _interrupt_mutex; // bits and edge are one step
    std::uint32_t _interrupt_status = 0;
    std::atomic<std::uint32_t> _status{0};
    std::atomic<std::uint32_t> _config_generation{0};
    bool _complained = false; // about this driver; a guest cannot fill the log
};

} // namespace nestbed::virtio
