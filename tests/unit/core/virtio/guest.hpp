// The guest's side: RAM, a driver's half of a virtqueue, and the registers of a transport.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/device/interrupt_line.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/virtio/guest_ram.hpp"
#include "core/virtio/mmio_registers.hpp"
#include "core/virtio/queue.hpp"

namespace nestbed::virtio::test {

// Two ranges that follow one another in guest-physical addresses but not in the host's. Each is an allocation
// of its own, so that AddressSanitizer sees what goes beyond.
class Ram {
public:
    static constexpr std::uint64_t start = 0x10000;
    static constexpr std::uint64_t border = start + 0x40000;
    static constexpr std::uint64_t end = border + 0x40000;

    [[nodiscard]] std::span<std::byte> at(std::uint64_t address, std::uint64_t bytes);
    [[nodiscard]] GuestRam callable() {
        return [this](std::uint64_t address, std::uint64_t bytes) { return at(address, bytes); };
    }

    template<typename T>
    T get(std::uint64_t address) {
        T value{};
        std::memcpy(&value, at(address, sizeof value).data(), sizeof value);
        return value;
    }
    template<typename T>
    void set(std::uint64_t address, T value) {
        std::memcpy(at(address, sizeof value).data(), &value, sizeof value);
    }
    // Across the border too.
    void fill(std::uint64_t address, std::string_view text);
    [[nodiscard]] std::string text(std::uint64_t address, std::uint64_t bytes);

private:
    std::vector<std::byte> _low = std::vector<std::byte>(border - start);
    std::vector<std::byte> _high = std::vector<std::byte>(end - border);
};

struct Buffer {
    std::uint64_t address = 0;
    std::uint32_t bytes = 0;
    bool write = false; // for the device to fill
};

struct Used {
    std::uint32_t id = 0;
    std::uint32_t bytes = 0;
    bool operator==(const Used&) const = default;
};

inline constexpr std::uint16_t flag_next = 1;
inline constexpr std::uint16_t flag_write = 2;
inline constexpr std::uint16_t flag_indirect = 4;

// Descriptors are used round robin: no more than `size` at a time.
class DriverQueue {
public:
    DriverQueue(Ram& ram, std::uint16_t size, std::uint64_t at = Ram::start);

    [[nodiscard]] QueueSetup setup() const;

    void set_descriptor(std::uint64_t table, std::uint16_t index, std::uint64_t address, std::uint32_t bytes,
                        std::uint16_t flags, std::uint16_t next);
    // Writes the chain's descriptors; the head.
    std::uint16_t write_chain(const std::vector<Buffer>& buffers);
    std::uint16_t write_indirect(const std::vector<Buffer>& buffers, std::uint64_t table);
    // Makes a chain available: release, as a driver does. The index as it then is.
    std::uint16_t publish(std::uint16_t head);
    std::uint16_t add(const std::vector<Buffer>& buffers) {
        const auto head = write_chain(buffers);
        publish(head);
        return head;
    }

    void set_available_index(std::uint16_t index);
    void set_available_flags(std::uint16_t flags);
    void set_used_event(std::uint16_t index);
    [[nodiscard]] std::uint16_t used_index();
    [[nodiscard]] std::uint16_t used_flags();
    [[nodiscard]] std::uint16_t available_event();
    // What was used since the last call.
    std::vector<Used> take_used();

    // As after a reset: rings that are empty, counted from zero.
    void restart();

    std::uint64_t descriptors = 0;
    std::uint64_t available = 0;
    std::uint64_t used = 0;

private:
    std::uint16_t* word(std::uint64_t address);

    Ram& _ram;
    std::uint16_t _size;
    std::uint16_t _next_descriptor = 0;
    std::uint16_t _available_index = 0;
    std::uint16_t _seen = 0;
};

class CountingLine final : public device::InterruptLine {
public:
    void set(bool level) override {
        const std::lock_guard lock{_mutex};
        if (level && !_level)
            ++_edges;
        _level = level;
    }
    [[nodiscard]] int edges() const {
        const std::lock_guard lock{_mutex};
        return _edges;
    }
    [[nodiscard]] bool level() const {
        const std::lock_guard lock{_mutex};
        return _level;
    }

private:
    mutable std::mutex _mutex;
    bool _level = false;
    int _edges = 0;
};

// A driver's accesses to a device at `base`.
class Registers {
public:
    static constexpr std::uint64_t base = 0xd000'0000;
    explicit Registers(device::MmioDevice& device) : _device{&device} {}

    [[nodiscard]] std::uint32_t read(MmioRegister which) const {
        return read<std::uint32_t>(static_cast<std::uint64_t>(which));
    }
    void write(MmioRegister which, std::uint32_t value) const {
        write(static_cast<std::uint64_t>(which), value);
    }
    template<typename T>
    [[nodiscard]] T read(std::uint64_t offset) const {
        T value{};
        std::memset(&value, 0x5a, sizeof value);
        _device->access({.vcpu = 0,
                         .address = base + offset,
                         .write = false,
                         .data = std::as_writable_bytes(std::span{&value, 1})});
        return value;
    }
    template<typename T>
    void write(std::uint64_t offset, T value) const {
        _device->access({.vcpu = 0,
                         .address = base + offset,
                         .write = true,
                         .data = std::as_writable_bytes(std::span{&value, 1})});
    }

    [[nodiscard]] std::uint64_t offered() const;
    // Up to FEATURES_OK; whether the device took it.
    bool negotiate(std::uint64_t features) const;
    void set_up(std::uint16_t index, const QueueSetup& setup) const;
    // negotiate, one queue, DRIVER_OK.
    bool bring_up(std::uint64_t features, const QueueSetup& setup) const;
    void reset() const { write(MmioRegister::status, 0); }
    void kick() const { write(MmioRegister::queue_notify, 0); }
    [[nodiscard]] std::uint32_t status() const { return read(MmioRegister::status); }

private:
    device::MmioDevice* _device;
};

// Whether it becomes true in good time.
template<typename Condition>
[[nodiscard]] bool soon(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline)
            return false;
        std::this_thread::sleep_for(std::chrono::microseconds{200});
    }
    return true;
}

} // namespace nestbed::virtio::test
