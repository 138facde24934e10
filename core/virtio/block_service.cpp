#include "core/virtio/block_service.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include <spdlog/spdlog.h>

namespace nestbed::virtio {

namespace {

using namespace std::chrono_literals;
using Kind = IoOperation::Kind;

// What the kernel could not take is tried again so soon.
constexpr auto retry = 1ms;
// Of one operation that the kernel puts off.
constexpr std::uint32_t most_repetitions = 16;

bool moves_data(const IoOperation& operation) {
    return operation.kind == Kind::read || operation.kind == Kind::write;
}

// What is left of the buffers behind their first `bytes`.
void skip(std::vector<iovec>& buffers, std::uint64_t bytes) {
    auto first = buffers.begin();
    while (first != buffers.end() && bytes >= first->iov_len)
        bytes -= (first++)->iov_len;
    if (first != buffers.end()) {
        first->iov_base = static_cast<std::byte*>(first->iov_base) + bytes;
        first->iov_len -= bytes;
    }
    buffers.erase(buffers.begin(), first);
}

} // namespace

BlockService::BlockService(DiskFacts disk, std::unique_ptr<IoEngine> engine, RateLimit limit)
    : _disk{disk}, _limit{limit}, _engine{std::move(engine)}, _slots(IoEngine::depth),
      _free(IoEngine::depth) {
    std::iota(_free.rbegin(), _free.rend(), 0U);
}

void BlockService::start(Queue queue, bool write_back, Transport& transport) {
    const std::lock_guard lock{_mutex};
    ++_sessions;
    _session.emplace(Session{std::move(queue), write_back, &transport, {}, false});
}

void BlockService::begin_stop() {
    const std::lock_guard lock{_mutex};
    _session.reset();
}

bool BlockService::wait_until_idle(Clock::time_point deadline) {
    std::unique_lock lock{_mutex};
    return _became_idle.wait_until(lock, deadline, [&] { return _in_flight == 0; });
}

bool BlockService::idle() const {
    const std::lock_guard lock{_mutex};
    return _in_flight == 0;
}

std::optional<Clock::duration> BlockService::step(Clock::time_point now) {
    const auto completions = _engine->reap();
    std::optional<Clock::duration> due;
    std::vector<std::uint32_t> to_cancel;
    {
        const std::lock_guard lock{_mutex};
        complete(completions);
        if (_session && !_session->broken)
            due = take(now);
        for (std::uint32_t i = 0; i < _slots.size(); ++i)
            if (auto& slot = _slots[i];
                slot.busy && (!_session || slot.session != _sessions) && !std::exchange(slot.cancelled, true))
                to_cancel.push_back(i);
    }
    // A slot that is in flight changes only here, so no lock for the disk's part.
    const bool news = !_to_start.empty();
    for (const auto index : std::exchange(_to_start, {}))
        _engine->start(index, _slots[index].request.operation);
    for (const auto index : to_cancel)
        _engine->cancel(index);
    if (!_engine->submit())
        return std::min<Clock::duration>(due.value_or(retry), retry);
    if (news && _engine->completion_fd() < 0)
        return Clock::duration{0};
    return due;
}

void BlockService::complete(std::span<const IoCompletion> completions) {
    for (const auto& [index, result] : completions) {
        auto& slot = _slots[index];
        const bool wanted = _session && slot.session == _sessions;
        if (wanted && goes_on(slot, result)) {
            _to_start.push_back(index);
            continue;
        }
        if (wanted)
            finish(slot.request, outcome(slot, result));
        slot = {};
        _free.push_back(index);
        if (--_in_flight == 0)
            _became_idle.notify_all();
    }
    if (_session && _session->queue.wants_interrupt())
        _session->transport->interrupt();
}

bool BlockService::goes_on(Slot& slot, std::int64_t result) {
    auto& operation = slot.request.operation;
    if ((result == -EINTR || result == -EAGAIN) && slot.repetitions < most_repetitions) {
        ++slot.repetitions;
        return true;
    }
    if (!moves_data(operation) || result <= 0 || static_cast<std::uint64_t>(result) >= operation.bytes)
        return false;
    // Fewer bytes than asked for say nothing about the others.
    const auto bytes = static_cast<std::uint64_t>(result);
    skip(operation.buffers, bytes);
    operation.offset += bytes;
    operation.bytes -= bytes;
    return true;
}

BlockStatus BlockService::outcome(const Slot& slot, std::int64_t result) {
    const auto& operation = slot.request.operation;
    const bool whole = !moves_data(operation) || static_cast<std::uint64_t>(result) == operation.bytes;
    if (result >= 0 && whole)
        return BlockStatus::ok;
    // A file system that cannot make holes: the driver does without.
    if (result == -EOPNOTSUPP && !moves_data(operation) && operation.kind != Kind::flush)
        return BlockStatus::unsupported;
    spdlog::log(std::exchange(_complained, true) ? spdlog::level::debug : spdlog::level::warn,
                "disk {}: {} bytes at {:#x}: {}", _disk.name(), operation.bytes, operation.offset,
                result < 0 ? errno_text(static_cast<int>(-result)) : "the file has become shorter");
    return BlockStatus::io_error;
}

void BlockService::finish(const BlockRequest& request, BlockStatus status) {
    if (request.identify) {
        std::span<const std::byte> serial = std::as_bytes(std::span{_disk.serial});
        for (const auto& buffer : request.data) {
            const auto count = std::min(serial.size(), buffer.size());
            std::memcpy(buffer.data(), serial.data(), count);
            serial = serial.subspan(count);
        }
    }
    *request.status = static_cast<std::byte>(status);
    _session->queue.push(request.head, request.filled(status));
}

// Until the driver has nothing more, the disk's slots are full, or the limit is reached; or so much was done
// that a stop should be looked for.
std::optional<Clock::duration> BlockService::take(Clock::time_point now) {
    auto& session = *_session;
    std::optional<Clock::duration> due;
    session.queue.disable_notifications();
    for (std::uint32_t taken = 0;; ++taken) {
        if (taken == most_descriptors) {
            due = Clock::duration{0};
            break;
        }
        if (_free.empty())
            break; // a completion comes
        if (!next_request()) {
            if (session.broken)
                break;
            if (session.queue.enable_notifications())
                continue;
            break;
        }
        auto& request = *session.waiting;
        if (request.decided) {
            finish(request, *request.decided);
            session.waiting.reset();
            continue;
        }
        if (const auto wait = _limit.wait(request.transferred(), now); wait > Clock::duration{0}) {
            due = wait;
            break;
        }
        _limit.take(request.transferred(), now);
        const auto index = _free.back();
        _free.pop_back();
        _slots[index] = {.busy = true,
                         .cancelled = false,
                         .session = _sessions,
                         .repetitions = 0,
                         .request = std::move(request)};
        session.waiting.reset();
        ++_in_flight;
        _to_start.push_back(index);
    }
    if (session.queue.wants_interrupt())
        session.transport->interrupt();
    return due;
}

// Into `waiting`. False: none there, or the driver's is none.
bool BlockService::next_request() {
    auto& session = *_session;
    if (session.waiting)
        return true;
    auto chain = session.queue.pop();
    if (!chain) {
        give_up(chain.error());
        return false;
    }
    if (!*chain)
        return false;
    auto request = read_block_request(**chain, _disk, session.write_back);
    if (!request) {
        give_up(request.error());
        return false;
    }
    session.waiting = *std::move(request);
    return true;
}

void BlockService::give_up(std::string_view why) {
    _session->broken = true;
    _session->transport->needs_reset(why);
}

} // namespace nestbed::virtio
