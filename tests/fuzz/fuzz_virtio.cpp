// Any bytes as what a guest does to a virtio device: its memory, its registers, its kicks, in any order.
// Nothing outside RAM is touched (AddressSanitizer sees that), and the disk is asked for what it has only.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include <spdlog/spdlog.h>

#include "core/device/interrupt_line.hpp"
#include "core/virtio/block.hpp"
#include "core/virtio/block_service.hpp"
#include "core/virtio/mmio_transport.hpp"
#include "core/virtio/random.hpp"
#include "require.hpp"

using namespace nestbed::virtio;
using nestbed::fuzz::require;

namespace {

class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : _left{data, size} {}
    [[nodiscard]] bool empty() const { return _left.empty(); }
    template<typename T>
    T take() {
        T value{};
        const auto count = std::min(sizeof value, _left.size());
        std::memcpy(&value, _left.data(), count);
        _left = _left.subspan(count);
        return value;
    }
    std::span<const std::uint8_t> take_some(std::size_t most) {
        const auto some = _left.first(std::min(most, _left.size()));
        _left = _left.subspan(some.size());
        return some;
    }

private:
    std::span<const std::uint8_t> _left;
};

// From 0, where small numbers lead to. The second range follows the first, elsewhere in the host.
class Ram {
public:
    std::span<std::byte> at(std::uint64_t address, std::uint64_t bytes) {
        auto& range = address < _low.size() ? _low : _high;
        const auto offset = address < _low.size() ? address : address - _low.size();
        if (offset >= range.size() || bytes > range.size() - offset)
            return {};
        return std::span{range}.subspan(offset, bytes);
    }
    [[nodiscard]] bool holds(const void* start, std::size_t bytes) const {
        const auto inside = [&](const std::vector<std::byte>& range) {
            const auto* const first = static_cast<const std::byte*>(start);
            return first >= range.data() && first + bytes <= range.data() + range.size();
        };
        return inside(_low) || inside(_high);
    }

private:
    std::vector<std::byte> _low = std::vector<std::byte>(0x2000);
    std::vector<std::byte> _high = std::vector<std::byte>(0x1000);
};

class MemoryDisk final : public IoEngine {
public:
    static constexpr std::uint64_t bytes = 16 * sector_bytes;
    // `kind` makes it cut operations short, fail them, or hold them back.
    MemoryDisk(const Ram& ram, std::uint8_t kind) : _ram{ram}, _kind{kind} {}

    void start(std::uint32_t slot, const IoOperation& operation) override {
        require(slot < depth && _slots.insert(slot).second);
        require(operation.bytes <= bytes && operation.offset <= bytes - operation.bytes);
        std::uint64_t total = 0;
        std::uint64_t at = operation.offset;
        for (const auto& buffer : operation.buffers) {
            require(buffer.iov_len > 0 && _ram.holds(buffer.iov_base, buffer.iov_len));
            total += buffer.iov_len;
            if (operation.kind == IoOperation::Kind::read)
                std::memcpy(buffer.iov_base, _content.data() + at, buffer.iov_len);
            else
                std::memcpy(_content.data() + at, buffer.iov_base, buffer.iov_len);
            at += buffer.iov_len;
        }
        const bool moves =
            operation.kind == IoOperation::Kind::read || operation.kind == IoOperation::Kind::write;
        require(total == (moves ? operation.bytes : 0));
        auto result = static_cast<std::int64_t>(total);
        if (_kind % 4 == 1 && result > 1)
            result /= 2;
        else if (_kind % 4 == 2)
            result = _kind % 8 == 2 ? -EIO : -EOPNOTSUPP;
        else if (_kind % 4 == 3)
            result = -EAGAIN;
        _done.push_back({slot, result});
    }
    void cancel(std::uint32_t slot) override { require(_slots.contains(slot)); }
    bool submit() override { return true; }
    std::vector<IoCompletion> reap() override {
        if (_kind >= 128 && ++_calls % 3 != 0)
            return {};
        for (const auto& one : _done)
            _slots.erase(one.slot);
        return std::exchange(_done, {});
    }
    [[nodiscard]] int completion_fd() const override { return -1; }
    [[nodiscard]] std::string_view name() const override { return "memory"; }

private:
    const Ram& _ram;
    std::uint8_t _kind;
    unsigned _calls = 0;
    std::set<std::uint32_t> _slots;
    std::vector<IoCompletion> _done;
    std::vector<std::byte> _content = std::vector<std::byte>(bytes);
};

// virtio-blk without a thread.
class SteppedBlock final : public Device {
public:
    SteppedBlock(DiskFacts disk, std::unique_ptr<IoEngine> engine, RateLimit limit)
        : _facts{disk}, _space{block_configuration(disk)}, _service{disk, std::move(engine), limit} {}

    [[nodiscard]] std::uint32_t id() const override { return 2; }
    [[nodiscard]] std::uint64_t features() const override { return block_features(_facts); }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return _sizes; }
    [[nodiscard]] std::span<const std::byte> configuration() const override { return _space; }
    void start(std::uint64_t features, std::vector<std::optional<Queue>> queues,
               Transport& transport) override {
        if (queues[0])
            _service.start(*std::move(queues[0]), (features & (1U << 9)) != 0, transport);
    }
    void notify(std::uint16_t /*queue*/) override { step(); }
    bool stop() override {
        _service.begin_stop();
        for (int i = 0; i < 10 && !_service.idle(); ++i)
            step();
        require(_service.idle());
        return true;
    }
    void step() { static_cast<void>(_service.step(_now)); }
    void pass(std::uint8_t milliseconds) { _now += std::chrono::milliseconds{milliseconds}; }

private:
    const std::array<std::uint16_t, 1> _sizes{8};
    DiskFacts _facts;
    std::vector<std::byte> _space;
    BlockService _service;
    Clock::time_point _now{std::chrono::seconds{1}};
};

class Line final : public nestbed::device::InterruptLine {
public:
    void set(bool level) override {
        require(level != _level);
        _level = level;
    }

private:
    bool _level = false;
};

constexpr std::uint64_t base = 0xd000'0000;
constexpr std::uint16_t queue_size = 8;
constexpr std::uint64_t descriptors_at = 0;
constexpr std::uint64_t available_at = 0x80;
constexpr std::uint64_t used_at = 0xa0;

void write_register(MmioTransport& transport, std::uint64_t offset, std::uint32_t value) {
    transport.access({.vcpu = 0,
                      .address = base + offset,
                      .write = true,
                      .data = std::as_writable_bytes(std::span{&value, 1})});
}

void write_register(MmioTransport& transport, MmioRegister which, std::uint32_t value) {
    write_register(transport, static_cast<std::uint64_t>(which), value);
}

// As a driver that is in its right mind begins; without, few inputs would come further than the status.
void bring_up(MmioTransport& transport, std::uint32_t features) {
    write_register(transport, MmioRegister::status, 0);
    write_register(transport, MmioRegister::status, 3);
    write_register(transport, MmioRegister::driver_features_sel, 1);
    write_register(transport, MmioRegister::driver_features, 1);
    write_register(transport, MmioRegister::driver_features_sel, 0);
    write_register(transport, MmioRegister::driver_features, features);
    write_register(transport, MmioRegister::status, 11);
    write_register(transport, MmioRegister::queue_sel, 0);
    write_register(transport, MmioRegister::queue_num, queue_size);
    write_register(transport, MmioRegister::queue_desc_low, descriptors_at);
    write_register(transport, MmioRegister::queue_driver_low, available_at);
    write_register(transport, MmioRegister::queue_device_low, used_at);
    write_register(transport, MmioRegister::queue_ready, 1);
    write_register(transport, MmioRegister::status, 15);
}

void publish(Ram& ram, std::uint16_t head) {
    std::uint16_t index = 0;
    std::memcpy(&index, ram.at(available_at + 2, 2).data(), 2);
    std::memcpy(ram.at(available_at + 4 + 2ULL * (index % queue_size), 2).data(), &head, 2);
    ++index;
    std::memcpy(ram.at(available_at + 2, 2).data(), &index, 2);
}

void describe(Ram& ram, Input& input) {
    const std::uint64_t table = input.take<std::uint8_t>() % 2 == 0 ? descriptors_at : 0x200;
    const std::uint64_t at = table + 16 * (input.take<std::uint8_t>() % queue_size);
    const std::uint64_t address = input.take<std::uint16_t>();
    const std::uint32_t length = input.take<std::uint16_t>();
    const std::uint16_t flags = input.take<std::uint8_t>() % 8;
    const std::uint16_t next = input.take<std::uint8_t>();
    std::memcpy(ram.at(at, 8).data(), &address, 8);
    std::memcpy(ram.at(at + 8, 4).data(), &length, 4);
    std::memcpy(ram.at(at + 12, 2).data(), &flags, 2);
    std::memcpy(ram.at(at + 14, 2).data(), &next, 2);
}

// A request whose parts are where they should be, about a sector and of a type that may be wrong.
void make_request(Ram& ram, Input& input) {
    const std::uint32_t type = input.take<std::uint8_t>() % 16;
    const std::uint64_t sector = input.take<std::uint8_t>() % 20;
    const std::uint64_t data = input.take<std::uint16_t>();
    const std::uint32_t length = input.take<std::uint8_t>() * 256U;
    std::memcpy(ram.at(0x300, 4).data(), &type, 4);
    std::memcpy(ram.at(0x308, 8).data(), &sector, 8);
    struct Part {
        std::uint64_t address;
        std::uint32_t length;
        std::uint16_t flags;
        std::uint16_t next;
    };
    const std::uint16_t direction = type == 0 || type == 8 ? 2 : 0;
    const Part parts[] = {
        {0x300, 16, 1, 1}, {data, length, static_cast<std::uint16_t>(direction | 1), 2}, {0x320, 1, 2, 0}};
    std::memcpy(ram.at(descriptors_at, sizeof parts).data(), parts, sizeof parts);
    publish(ram, 0);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    spdlog::set_level(spdlog::level::off);
    Input input{data, size};
    const auto kind = input.take<std::uint8_t>();
    const auto disk_kind = input.take<std::uint8_t>();
    const auto features = input.take<std::uint32_t>();

    Ram ram;
    Line line;
    DiskFacts facts;
    facts.sectors = MemoryDisk::bytes / sector_bytes;
    facts.read_only = kind % 4 == 1;
    const auto limit = kind % 8 >= 6 ? RateLimit{100, 10'000} : RateLimit{{}, {}};
    SteppedBlock block{facts, std::make_unique<MemoryDisk>(ram, disk_kind), limit};
    Random random;
    const bool is_block = kind % 4 != 3;
    Device& device = is_block ? static_cast<Device&>(block) : random;
    MmioTransport transport{
        base, device, [&ram](std::uint64_t address, std::uint64_t bytes) { return ram.at(address, bytes); },
        line};
    bring_up(transport, features & static_cast<std::uint32_t>(device.features()));
    while (!input.empty()) {
        switch (input.take<std::uint8_t>() % 9) {
        case 0: {
            const auto offset = input.take<std::uint8_t>() * std::uint64_t{4};
            write_register(transport, offset % MmioTransport::window_bytes, input.take<std::uint32_t>());
            break;
        }
        case 1: {
            const auto address = input.take<std::uint16_t>();
            const auto some = input.take_some(input.take<std::uint8_t>());
            const auto part = ram.at(address, some.size());
            std::copy_n(std::as_bytes(some).begin(), part.size(), part.begin());
            break;
        }
        case 2:
            describe(ram, input);
            break;
        case 3:
            publish(ram, input.take<std::uint8_t>() % 16);
            break;
        case 4:
            make_request(ram, input);
            break;
        case 5:
            write_register(transport, MmioRegister::queue_notify, 0);
            break;
        case 6:
            block.pass(input.take<std::uint8_t>());
            block.step();
            break;
        case 7: {
            std::uint64_t value = 0;
            const auto width = std::size_t{1} << input.take<std::uint8_t>() % 4;
            const auto offset = input.take<std::uint16_t>() % (MmioTransport::window_bytes - 8);
            transport.access({.vcpu = 0,
                              .address = base + offset,
                              .write = input.take<std::uint8_t>() % 2 != 0,
                              .data = std::as_writable_bytes(std::span{&value, 1}).first(width)});
            break;
        }
        default:
            bring_up(transport, features & static_cast<std::uint32_t>(device.features()));
            break;
        }
    }
    return 0;
}
