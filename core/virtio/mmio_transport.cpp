#include "core/virtio/mmio_transport.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace nestbed::virtio {

namespace {

constexpr std::uint64_t config_at = static_cast<std::uint64_t>(MmioRegister::config);
constexpr std::uint32_t vendor_id = 0x5453'454e; // "NEST"; any number will do
constexpr std::uint32_t bits_of_driver =
    status_acknowledge | status_driver | status_driver_ok | status_features_ok | status_failed;

std::uint32_t half(std::uint64_t value, std::uint32_t which) {
    return which == 0   ? static_cast<std::uint32_t>(value)
           : which == 1 ? static_cast<std::uint32_t>(value >> 32)
                        : 0;
}

void set_low(std::uint64_t& value, std::uint32_t low) {
    value = (value & ~std::uint64_t{UINT32_MAX}) | low;
}

void set_high(std::uint64_t& value, std::uint32_t high) {
    value = (value & UINT32_MAX) | std::uint64_t{high} << 32;
}

} // namespace

MmioTransport::MmioTransport(std::uint64_t base, Device& device, GuestRam ram, device::InterruptLine& line)
    : _base{base}, _device{device}, _ram{std::move(ram)}, _line{line}, _queues(device.queue_sizes().size()) {}

MmioTransport::~MmioTransport() {
    const std::lock_guard lock{_mutex};
    if (!_device.stop())
        spdlog::error("virtio device {} does not come to rest", _device.id());
}

void MmioTransport::access(const device::MmioAccess& access) {
    const auto offset = access.address - _base;
    if (offset >= config_at) {
        // No field of any configuration space here is the driver's to write.
        if (!access.write)
            read_configuration(offset - config_at, access.data);
        return;
    }
    // Section 4.2.2.2: registers are 32 bits wide and only accessed as such.
    std::uint32_t value = 0;
    if (access.data.size() != sizeof value || offset % sizeof value != 0) {
        if (!access.write)
            std::ranges::fill(access.data, std::byte{0});
        return;
    }
    const auto which = static_cast<MmioRegister>(offset);
    if (access.write) {
        std::memcpy(&value, access.data.data(), sizeof value);
        write(which, value);
    } else {
        value = read(which);
        std::memcpy(access.data.data(), &value, sizeof value);
    }
}

void MmioTransport::read_configuration(std::uint64_t offset, std::span<std::byte> data) const {
    const auto space = _device.configuration();
    std::ranges::fill(data, std::byte{0});
    if (offset < space.size())
        std::ranges::copy(space.subspan(offset, std::min<std::uint64_t>(data.size(), space.size() - offset)),
                          data.begin());
}

std::uint32_t MmioTransport::read(MmioRegister which) {
    // Of each interrupt: not behind a reset that waits for a disk.
    if (which == MmioRegister::interrupt_status) {
        const std::lock_guard lock{_interrupt_mutex};
        return _interrupt_status;
    }
    const std::lock_guard lock{_mutex};
    const auto* const queue = selected_queue();
    switch (which) {
    case MmioRegister::magic_value:
        return mmio_magic;
    case MmioRegister::version:
        return mmio_version;
    case MmioRegister::device_id:
        return _device.id();
    case MmioRegister::vendor_id:
        return vendor_id;
    case MmioRegister::device_features:
        return half(offered(), _device_features_sel);
    case MmioRegister::queue_num_max:
        return queue == nullptr ? 0 : _device.queue_sizes()[_queue_sel];
    case MmioRegister::queue_ready:
        return queue != nullptr && queue->ready ? 1 : 0;
    case MmioRegister::status:
        return _status;
    // Section 4.2.2: what a shared memory region reads as that does not exist. No device here has one.
    case MmioRegister::shm_len_low:
    case MmioRegister::shm_len_high:
    case MmioRegister::shm_base_low:
    case MmioRegister::shm_base_high:
        return UINT32_MAX;
    case MmioRegister::config_generation:
        return _config_generation;
    default: // write-only or reserved
        return 0;
    }
}

void MmioTransport::write(MmioRegister which, std::uint32_t value) {
    if (which == MmioRegister::interrupt_ack)
        return acknowledge(value);
    const std::lock_guard lock{_mutex};
    switch (which) {
    case MmioRegister::device_features_sel:
        _device_features_sel = value;
        break;
    case MmioRegister::driver_features_sel:
        _driver_features_sel = value;
        break;
    case MmioRegister::driver_features:
        if ((_status & status_features_ok) != 0)
            break; // section 3.1.1: settled
        if (_driver_features_sel == 0)
            set_low(_driver_features, value);
        else if (_driver_features_sel == 1)
            set_high(_driver_features, value);
        else
            _accepted_unknown_features |= value != 0;
        break;
    case MmioRegister::queue_sel:
        _queue_sel = value;
        break;
    case MmioRegister::queue_ready:
        write_queue_ready(value);
        break;
    case MmioRegister::queue_notify:
        // Without VIRTIO_F_NOTIFICATION_DATA the value is the queue's index.
        if (_running && value < _queues.size() && _queues[value].ready && (_status & status_needs_reset) == 0)
            _device.notify(static_cast<std::uint16_t>(value));
        break;
    case MmioRegister::status:
        write_status(value);
        break;
    default:
        write_queue(which, value);
    }
}

MmioTransport::QueueRegisters* MmioTransport::selected_queue() {
    return _queue_sel < _queues.size() ? &_queues[_queue_sel] : nullptr;
}

void MmioTransport::write_queue(MmioRegister which, std::uint32_t value) {
    auto* const queue = selected_queue();
    if (queue == nullptr || queue->ready)
        return; // section 4.2.2.2: only while QueueReady is zero
    switch (which) {
    case MmioRegister::queue_num:
        // What does not fit is refused when the queue becomes ready.
        queue->setup.size = static_cast<std::uint16_t>(std::min<std::uint32_t>(value, UINT16_MAX));
        break;
    case MmioRegister::queue_desc_low:
        set_low(queue->setup.descriptors, value);
        break;
    case MmioRegister::queue_desc_high:
        set_high(queue->setup.descriptors, value);
        break;
    case MmioRegister::queue_driver_low:
        set_low(queue->setup.available, value);
        break;
    case MmioRegister::queue_driver_high:
        set_high(queue->setup.available, value);
        break;
    case MmioRegister::queue_device_low:
        set_low(queue->setup.used, value);
        break;
    case MmioRegister::queue_device_high:
        set_high(queue->setup.used, value);
        break;
    default: // read-only or reserved
        break;
    }
}

void MmioTransport::write_queue_ready(std::uint32_t value) {
    auto* const queue = selected_queue();
    if (queue == nullptr)
        return;
    if (value == 0) {
        // Section 4.2.2.2: the driver reads zero back once the queue is its own again. A device that runs
        // stops as a whole, until its reset: without VIRTIO_F_RING_RESET there is no way back for one queue.
        if (!queue->ready)
            return;
        if (_running && !_device.stop())
            return needs_reset("it does not come to rest");
        _running = false;
        queue->ready = false;
        return;
    }
    constexpr auto settled = status_driver_ok | status_needs_reset | status_failed;
    if (value != 1 || queue->ready || (_status & settled) != 0)
        return;
    if (queue->setup.size > _device.queue_sizes()[_queue_sel])
        return needs_reset(fmt::format("queue {} of {} descriptors, {} at most", _queue_sel,
                                       queue->setup.size, _device.queue_sizes()[_queue_sel]));
    queue->setup.longest_chain = _device.queue_sizes()[_queue_sel];
    if (const auto made = make_queue(*queue); !made)
        return needs_reset(made.error());
    queue->ready = true;
}

Checked<Queue> MmioTransport::make_queue(const QueueRegisters& registers) const {
    auto setup = registers.setup;
    setup.indirect = (_driver_features & feature_indirect_desc) != 0;
    setup.event_index = (_driver_features & feature_event_idx) != 0;
    return Queue::create(setup, _ram);
}

bool MmioTransport::features_are_sound() const {
    return !_accepted_unknown_features && (_driver_features & ~offered()) == 0 &&
           (_driver_features & feature_version_1) != 0;
}

void MmioTransport::write_status(std::uint32_t value) {
    if (value == 0)
        return reset();
    const std::uint32_t before = _status;
    if ((before & status_needs_reset) != 0)
        return;
    // Section 2.1.1: a driver sets bits, and clears none but all.
    auto after = before | (value & bits_of_driver);
    constexpr auto driver_is_there = status_acknowledge | status_driver;
    if ((before & status_features_ok) == 0 &&
        ((after & driver_is_there) != driver_is_there || !features_are_sound()))
        after &= ~status_features_ok; // which the driver reads back to learn of the refusal
    if ((after & status_features_ok) == 0)
        after &= ~status_driver_ok;
    // An OR, since the device may say at the same time that it needs a reset.
    _status |= after;
    const auto added = after & ~before;
    if ((added & status_failed) != 0 && _running) {
        _running = !_device.stop();
        return;
    }
    if ((added & status_driver_ok) != 0 && (after & status_failed) == 0)
        start();
}

void MmioTransport::start() {
    std::vector<std::optional<Queue>> queues(_queues.size());
    for (std::size_t i = 0; i < _queues.size(); ++i) {
        if (!_queues[i].ready)
            continue;
        auto queue = make_queue(_queues[i]);
        if (!queue)
            return needs_reset(queue.error());
        queues[i] = *std::move(queue);
    }
    _running = true;
    _device.start(_driver_features, std::move(queues), *this);
}

void MmioTransport::reset() {
    // Also where it does not run: an earlier stop may have been given up.
    if (!_device.stop()) {
        // The driver sees that the status is not zero: buffers may still be written to.
        needs_reset("it does not come to rest, so that it cannot be reset");
        return;
    }
    _running = false;
    _device_features_sel = 0;
    _driver_features_sel = 0;
    _driver_features = 0;
    _accepted_unknown_features = false;
    _queue_sel = 0;
    std::ranges::fill(_queues, QueueRegisters{});
    const std::lock_guard lock{_interrupt_mutex};
    _interrupt_status = 0;
    _status = 0;
}

void MmioTransport::interrupt() {
    raise(interrupt_used_buffer);
}

void MmioTransport::configuration_changed() {
    ++_config_generation;
    raise(interrupt_configuration);
}

void MmioTransport::needs_reset(std::string_view why) {
    const auto before = _status.fetch_or(status_needs_reset);
    if ((before & status_needs_reset) != 0)
        return;
    {
        const std::lock_guard lock{_interrupt_mutex};
        spdlog::log(std::exchange(_complained, true) ? spdlog::level::debug : spdlog::level::warn,
                    "virtio device {} at {:#x} needs a reset: {}", _device.id(), _base, why);
    }
    if ((before & status_driver_ok) != 0) // section 2.1.2
        raise(interrupt_configuration);
}

// The line is an edge's. Every event makes one, also where its bit is set already: the driver may have read
// the bits just before, and then clears the old ones only. And no two edges overlap, since that would be one
// edge.
void MmioTransport::raise(std::uint32_t bits) {
    const std::lock_guard lock{_interrupt_mutex};
    _interrupt_status |= bits;
    _line.set(true);
    _line.set(false);
}

void MmioTransport::acknowledge(std::uint32_t bits) {
    const std::lock_guard lock{_interrupt_mutex};
    const bool had = (_interrupt_status & bits) != 0;
    _interrupt_status &= ~bits;
    // A driver that handles one cause an interrupt hears of the other.
    if (had && _interrupt_status != 0) {
        _line.set(true);
        _line.set(false);
    }
}

} // namespace nestbed::virtio
