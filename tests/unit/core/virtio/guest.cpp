#include "guest.hpp"

#include <algorithm>

namespace nestbed::virtio::test {

std::span<std::byte> Ram::at(std::uint64_t address, std::uint64_t bytes) {
    const auto part = [&](std::vector<std::byte>& range, std::uint64_t first) -> std::span<std::byte> {
        const auto offset = address - first;
        return offset < range.size() && bytes <= range.size() - offset
                   ? std::span{range}.subspan(offset, bytes)
                   : std::span<std::byte>{};
    };
    return address < border ? part(_low, start) : part(_high, border);
}

void Ram::fill(std::uint64_t address, std::string_view text) {
    for (const char c : text)
        set(address++, c);
}

std::string Ram::text(std::uint64_t address, std::uint64_t bytes) {
    std::string text;
    for (; bytes > 0; --bytes)
        text += get<char>(address++);
    return text;
}

DriverQueue::DriverQueue(Ram& ram, std::uint16_t size, std::uint64_t at)
    : descriptors{at}, available{at + 16ULL * size}, used{(available + 6 + 2ULL * size + 3) / 4 * 4},
      _ram{ram}, _size{size} {}

QueueSetup DriverQueue::setup() const {
    return {.size = _size, .descriptors = descriptors, .available = available, .used = used};
}

void DriverQueue::set_descriptor(std::uint64_t table, std::uint16_t index, std::uint64_t address,
                                 std::uint32_t bytes, std::uint16_t flags, std::uint16_t next) {
    const auto at = table + 16ULL * index;
    _ram.set(at, address);
    _ram.set(at + 8, bytes);
    _ram.set(at + 12, flags);
    _ram.set(at + 14, next);
}

std::uint16_t DriverQueue::write_chain(const std::vector<Buffer>& buffers) {
    const auto head = _next_descriptor;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        const auto index = _next_descriptor;
        _next_descriptor = static_cast<std::uint16_t>((index + 1) % _size);
        const bool last = i + 1 == buffers.size();
        set_descriptor(
            descriptors, index, buffers[i].address, buffers[i].bytes,
            static_cast<std::uint16_t>((buffers[i].write ? flag_write : 0) | (last ? 0 : flag_next)),
            last ? std::uint16_t{0} : _next_descriptor);
    }
    return head;
}

std::uint16_t DriverQueue::write_indirect(const std::vector<Buffer>& buffers, std::uint64_t table) {
    for (std::uint16_t i = 0; i < buffers.size(); ++i) {
        const bool last = i + 1U == buffers.size();
        set_descriptor(
            table, i, buffers[i].address, buffers[i].bytes,
            static_cast<std::uint16_t>((buffers[i].write ? flag_write : 0) | (last ? 0 : flag_next)),
            static_cast<std::uint16_t>(last ? 0 : i + 1));
    }
    const auto head = _next_descriptor;
    _next_descriptor = static_cast<std::uint16_t>((head + 1) % _size);
    set_descriptor(descriptors, head, table, static_cast<std::uint32_t>(16 * buffers.size()), flag_indirect,
                   0);
    return head;
}

std::uint16_t DriverQueue::publish(std::uint16_t head) {
    _ram.set(available + 4 + 2ULL * (_available_index % _size), head);
    set_available_index(++_available_index);
    return _available_index;
}

void DriverQueue::restart() {
    _next_descriptor = 0;
    _seen = 0;
    set_available_index(0);
    *word(used) = 0;
    *word(used + 2) = 0;
}

std::uint16_t* DriverQueue::word(std::uint64_t address) {
    return reinterpret_cast<std::uint16_t*>(_ram.at(address, 2).data());
}

void DriverQueue::set_available_index(std::uint16_t index) {
    _available_index = index;
    __atomic_store_n(word(available + 2), index, __ATOMIC_SEQ_CST);
}

void DriverQueue::set_available_flags(std::uint16_t flags) {
    __atomic_store_n(word(available), flags, __ATOMIC_SEQ_CST);
}

void DriverQueue::set_used_event(std::uint16_t index) {
    __atomic_store_n(word(available + 4 + 2ULL * _size), index, __ATOMIC_SEQ_CST);
}

std::uint16_t DriverQueue::used_index() {
    return __atomic_load_n(word(used + 2), __ATOMIC_SEQ_CST);
}

std::uint16_t DriverQueue::used_flags() {
    return __atomic_load_n(word(used), __ATOMIC_SEQ_CST);
}

std::uint16_t DriverQueue::available_event() {
    return __atomic_load_n(word(used + 4 + 8ULL * _size), __ATOMIC_SEQ_CST);
}

std::vector<Used> DriverQueue::take_used() {
    std::vector<Used> taken;
    for (const auto index = used_index(); _seen != index; ++_seen) {
        const auto at = used + 4 + 8ULL * (_seen % _size);
        taken.push_back({_ram.get<std::uint32_t>(at), _ram.get<std::uint32_t>(at + 4)});
    }
    return taken;
}

std::uint64_t Registers::offered() const {
    write(MmioRegister::device_features_sel, 1);
    const std::uint64_t high = read(MmioRegister::device_features);
    write(MmioRegister::device_features_sel, 0);
    return high << 32 | read(MmioRegister::device_features);
}

bool Registers::negotiate(std::uint64_t features) const {
    write(MmioRegister::status, status_acknowledge);
    write(MmioRegister::status, status_acknowledge | status_driver);
    write(MmioRegister::driver_features_sel, 0);
    write(MmioRegister::driver_features, static_cast<std::uint32_t>(features));
    write(MmioRegister::driver_features_sel, 1);
    write(MmioRegister::driver_features, static_cast<std::uint32_t>(features >> 32));
    write(MmioRegister::status, status_acknowledge | status_driver | status_features_ok);
    return (status() & status_features_ok) != 0;
}

void Registers::set_up(std::uint16_t index, const QueueSetup& setup) const {
    const auto write_address = [this](MmioRegister low, MmioRegister high, std::uint64_t address) {
        write(low, static_cast<std::uint32_t>(address));
        write(high, static_cast<std::uint32_t>(address >> 32));
    };
    write(MmioRegister::queue_sel, index);
    write(MmioRegister::queue_num, setup.size);
    write_address(MmioRegister::queue_desc_low, MmioRegister::queue_desc_high, setup.descriptors);
    write_address(MmioRegister::queue_driver_low, MmioRegister::queue_driver_high, setup.available);
    write_address(MmioRegister::queue_device_low, MmioRegister::queue_device_high, setup.used);
    write(MmioRegister::queue_ready, 1);
}

bool Registers::bring_up(std::uint64_t features, const QueueSetup& setup) const {
    if (!negotiate(features))
        return false;
    set_up(0, setup);
    if (read(MmioRegister::queue_ready) != 1)
        return false;
    write(MmioRegister::status, status() | status_driver_ok);
    return (status() & status_driver_ok) != 0;
}

} // namespace nestbed::virtio::test
