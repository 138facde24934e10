#include "core/virtio/queue.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace nestbed::virtio {

namespace {

// Virtio 1.2, section 2.7.5.
constexpr std::uint16_t descriptor_next = 1;
constexpr std::uint16_t descriptor_write = 2;
constexpr std::uint16_t descriptor_indirect = 4;
constexpr std::uint64_t descriptor_bytes = 16;

// Sections 2.7.6 and 2.7.8: flags, index, ring, and the event index of the other side behind the ring.
constexpr std::uint16_t available_no_interrupt = 1;
constexpr std::uint16_t used_no_notify = 1;
constexpr std::uint64_t flags_at = 0;
constexpr std::uint64_t index_at = 2;
constexpr std::uint64_t ring_at = 4;
constexpr std::uint64_t available_entry_bytes = 2;
constexpr std::uint64_t used_entry_bytes = 8;
constexpr std::uint64_t event_bytes = 2;

struct Descriptor {
    std::uint64_t address = 0;
    std::uint32_t length = 0;
    std::uint16_t flags = 0;
    std::uint16_t next = 0;
};

template<typename... T>
tl::unexpected<std::string> malformed(fmt::format_string<T...> text, T&&... values) {
    return tl::unexpected{fmt::format(text, std::forward<T>(values)...)};
}

// Tables of indirect descriptors need no alignment. Volatile: what the guest changes later is not seen.
template<typename T>
T read_once(const std::byte* at) {
    using Anywhere [[gnu::aligned(1), gnu::may_alias]] = T;
    return *reinterpret_cast<const volatile Anywhere*>(at);
}

Descriptor read_descriptor(const std::byte* at) {
    return {read_once<std::uint64_t>(at), read_once<std::uint32_t>(at + 8), read_once<std::uint16_t>(at + 12),
            read_once<std::uint16_t>(at + 14)};
}

std::uint16_t load(const std::byte* at, int order) {
    return __atomic_load_n(reinterpret_cast<const std::uint16_t*>(at), order);
}

template<typename T>
void store(std::byte* at, T value, int order) {
    __atomic_store_n(reinterpret_cast<T*>(at), value, order);
}

// The longest run of RAM in one range from `address` on, at most `bytes`. Ranges are far apart or few, so
// this is rare.
std::span<std::byte> longest_run(const GuestRam& ram, std::uint64_t address, std::uint64_t bytes) {
    std::uint64_t fits = 0;
    for (auto beyond = bytes; beyond - fits > 1;) {
        const auto middle = fits + (beyond - fits) / 2;
        (ram(address, middle).empty() ? beyond : fits) = middle;
    }
    return fits == 0 ? std::span<std::byte>{} : ram(address, fits);
}

Checked<void> add_buffer(Buffers& buffers, const GuestRam& ram, const Descriptor& descriptor) {
    const auto not_ram = [&] {
        return malformed("a buffer of {} bytes at {:#x}, which is not all RAM", descriptor.length,
                         descriptor.address);
    };
    auto address = descriptor.address;
    std::uint64_t left = descriptor.length;
    if (left == 0)
        return malformed("a buffer of no bytes");
    if (address > UINT64_MAX - left)
        return not_ram();
    while (left > 0) {
        auto part = ram(address, left);
        if (part.empty())
            part = longest_run(ram, address, left);
        if (part.empty())
            return not_ram();
        if (buffers.size() == most_descriptors)
            return malformed("more than {} buffers in one chain", most_descriptors);
        buffers.push_back(part);
        address += part.size();
        left -= part.size();
    }
    return {};
}

} // namespace

Checked<Queue> Queue::create(const QueueSetup& setup, GuestRam ram) {
    if (!std::has_single_bit(setup.size) || setup.size > most_descriptors)
        return tl::unexpected{fmt::format("a queue of {} descriptors", setup.size)};
    const auto part = [&](std::string_view name, std::uint64_t address, std::uint64_t bytes,
                          std::uint64_t alignment) -> Checked<std::byte*> {
        const auto view = ram(address, bytes);
        if (address % alignment != 0 || view.empty())
            return tl::unexpected{
                fmt::format("{} at {:#x}, which is {}", name, address,
                            view.empty() ? "not in RAM, or not in one range" : "misaligned")};
        return view.data();
    };
    const auto descriptors = part("a descriptor table", setup.descriptors, descriptor_bytes * setup.size, 16);
    const auto available = part("an available ring", setup.available,
                                ring_at + available_entry_bytes * setup.size + event_bytes, 2);
    const auto used =
        part("a used ring", setup.used, ring_at + used_entry_bytes * setup.size + event_bytes, 4);
    for (const auto* one : {&descriptors, &available, &used})
        if (!*one)
            return tl::unexpected{one->error()};
    Queue queue;
    queue._ram = std::move(ram);
    queue._size = setup.size;
    queue._indirect = setup.indirect;
    queue._event_index = setup.event_index;
    queue._longest_chain = std::min(setup.longest_chain, most_descriptors);
    queue._descriptors = *descriptors;
    queue._available = *available;
    queue._used = *used;
    return queue;
}

Checked<std::uint16_t> Queue::waiting() const {
    // Acquire: the ring's entries and the descriptors were written before the index.
    const auto index = load(_available + index_at, __ATOMIC_ACQUIRE);
    const auto count = static_cast<std::uint16_t>(index - _next);
    if (count > _size)
        return tl::unexpected{
            fmt::format("an available index that went from {} to {} in a queue of {}", _next, index, _size)};
    return count;
}

Checked<std::optional<Chain>> Queue::pop() {
    const auto count = waiting();
    if (!count)
        return tl::unexpected{count.error()};
    if (*count == 0)
        return std::nullopt;
    const auto slot = static_cast<std::uint64_t>(_next % _size);
    const auto head = load(_available + ring_at + available_entry_bytes * slot, __ATOMIC_RELAXED);
    auto chain = read_chain(head);
    if (!chain)
        return tl::unexpected{fmt::format("chain {}: {}", head, chain.error())};
    ++_next;
    return *std::move(chain);
}

Checked<Chain> Queue::read_chain(std::uint16_t head) const {
    Chain chain{.head = head, .readable = {}, .writable = {}};

    const std::byte* table = _descriptors;
    std::uint64_t entries = _size;
    std::uint64_t left = entries; // longer than its table is a loop
    std::uint64_t bytes = 0;
    bool in_indirect = false;
    std::uint64_t index = head;
    for (;;) {
        if (index >= entries)
            return malformed("descriptor {} of {}", index, entries);
        if (left-- == 0)
            return malformed("a loop");
        const auto descriptor = read_descriptor(table + index * descriptor_bytes);
        if ((descriptor.flags & descriptor_indirect) != 0) {
            // Section 2.7.5.3: at the end of a chain, once, and only where it was agreed upon.
            if (!_indirect || in_indirect || (descriptor.flags & descriptor_next) != 0)
                return malformed("an indirect descriptor where none may be");
            entries = descriptor.length / descriptor_bytes;
            if (entries == 0 || descriptor.length % descriptor_bytes != 0 || entries > _longest_chain)
                return malformed("an indirect table of {} bytes", descriptor.length);
            const auto view = _ram(descriptor.address, descriptor.length);
            if (view.empty())
                return malformed("an indirect table of {} bytes at {:#x}, which is not all in one RAM range",
                                 descriptor.length, descriptor.address);
            table = view.data();
            left = entries;
            index = 0;
            in_indirect = true;
            continue;
        }
        const bool write = (descriptor.flags & descriptor_write) != 0;
        if (!write && !chain.writable.empty())
            return malformed("a buffer to read behind one to fill"); // section 2.7.4.2
        if (auto added = add_buffer(write ? chain.writable : chain.readable, _ram, descriptor); !added)
            return tl::unexpected{added.error()};
        bytes += descriptor.length;
        if (bytes > UINT32_MAX) // section 2.7.5.2 allows one more, which a used length could not tell
            return malformed("buffers of 4 GiB or more");
        if ((descriptor.flags & descriptor_next) == 0)
            return chain;
        index = descriptor.next;
    }
}

void Queue::push(std::uint16_t head, std::uint32_t written) {
    auto* const entry = _used + ring_at + used_entry_bytes * static_cast<std::uint64_t>(_used_index % _size);
    store(entry, std::uint32_t{head}, __ATOMIC_RELAXED);
    store(entry + 4, written, __ATOMIC_RELAXED);
    ++_used_index;
    // Release: the entry and what is in the buffers come before the index.
    store(_used + index_at, _used_index, __ATOMIC_RELEASE);
}

bool Queue::wants_interrupt() {
    const auto before = std::exchange(_signalled_used, _used_index);
    if (before == _used_index)
        return false;
    // The driver writes its event index (or flags), then looks at the used index; here the other way about.
    // Without a full fence on both sides both could see the old value (section 2.7.7.2).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!_event_index)
        return (load(_available + flags_at, __ATOMIC_RELAXED) & available_no_interrupt) == 0;
    const auto event = load(_available + ring_at + available_entry_bytes * _size, __ATOMIC_RELAXED);
    // Whether the entry that the driver waits for is among those pushed, all modulo 65536.
    return static_cast<std::uint16_t>(_used_index - event - 1) <
           static_cast<std::uint16_t>(_used_index - before);
}

void Queue::disable_notifications() {
    // With event indices the last one simply stays behind.
    if (!_event_index)
        store(_used + flags_at, used_no_notify, __ATOMIC_RELAXED);
}

bool Queue::enable_notifications() {
    if (_event_index)
        store(_used + ring_at + used_entry_bytes * _size, _next, __ATOMIC_RELAXED);
    else
        store(_used + flags_at, std::uint16_t{0}, __ATOMIC_RELAXED);
    std::atomic_thread_fence(std::memory_order_seq_cst); // as in wants_interrupt()
    return load(_available + index_at, __ATOMIC_RELAXED) != _next;
}

} // namespace nestbed::virtio
