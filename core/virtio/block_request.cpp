#include "core/virtio/block_request.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <linux/virtio_blk.h>

namespace nestbed::virtio {

namespace {

using Kind = IoOperation::Kind;

// Copies and drops the first bytes, wherever the driver has split them (section 2.7.4). None where there are
// not as many.
template<typename T>
std::optional<T> take_front(Buffers& buffers) {
    T value{};
    auto room = std::as_writable_bytes(std::span{&value, 1});
    std::size_t used = 0;
    while (!room.empty()) {
        if (used == buffers.size())
            return std::nullopt;
        auto& buffer = buffers[used];
        const auto count = std::min(room.size(), buffer.size());
        std::memcpy(room.data(), buffer.data(), count);
        room = room.subspan(count);
        buffer = buffer.subspan(count);
        if (buffer.empty())
            ++used;
    }
    buffers.erase(buffers.begin(), buffers.begin() + static_cast<std::ptrdiff_t>(used));
    return value;
}

bool is_on_disk(std::uint64_t sector, std::uint64_t bytes, const DiskFacts& disk) {
    const auto sectors = bytes / sector_bytes;
    return bytes % sector_bytes == 0 && sector <= disk.sectors && sectors <= disk.sectors - sector;
}

BlockRequest decide(BlockRequest request, BlockStatus status) {
    request.decided = status;
    return request;
}

BlockRequest transfer(BlockRequest request, Kind kind, std::uint64_t sector, const DiskFacts& disk,
                      bool durable) {
    const auto bytes = total_bytes(request.data);
    if (!is_on_disk(sector, bytes, disk) || (kind == Kind::write && disk.read_only))
        return decide(std::move(request), BlockStatus::io_error);
    if (bytes == 0)
        return decide(std::move(request), BlockStatus::ok);
    auto& operation = request.operation;
    operation.kind = kind;
    operation.offset = sector * sector_bytes;
    operation.bytes = bytes;
    operation.durable = durable;
    for (const auto& buffer : request.data)
        operation.buffers.push_back({buffer.data(), buffer.size()});
    return request;
}

// Discard and write zeroes: their data names a range. The configuration space says that it be one.
BlockRequest change_range(BlockRequest request, Kind kind, const DiskFacts& disk) {
    const auto range = take_front<virtio_blk_discard_write_zeroes>(request.data);
    if (!range || !request.data.empty() || disk.read_only)
        return decide(std::move(request), BlockStatus::io_error);
    const bool unmap = (range->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
    // Section 5.2.6.2: flags that are unknown, and this one where it has no meaning.
    if ((range->flags & ~std::uint32_t{VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}) != 0 ||
        (unmap && kind == Kind::discard))
        return decide(std::move(request), BlockStatus::unsupported);
    const auto bytes = std::uint64_t{range->num_sectors} * sector_bytes;
    if (!is_on_disk(range->sector, bytes, disk))
        return decide(std::move(request), BlockStatus::io_error);
    if (bytes == 0)
        return decide(std::move(request), BlockStatus::ok);
    request.operation = {.kind = kind,
                         .offset = range->sector * sector_bytes,
                         .bytes = bytes,
                         .buffers = {},
                         .durable = false,
                         .may_unmap = unmap};
    return request;
}

} // namespace

std::uint64_t BlockRequest::transferred() const {
    const bool moves = operation.kind == Kind::read || operation.kind == Kind::write;
    return !decided && !identify && moves ? operation.bytes : 0;
}

std::uint32_t BlockRequest::filled(BlockStatus outcome) const {
    // The status lies behind what was to be filled, so it counts only where that was.
    std::uint64_t data_bytes = 0;
    if (identify)
        data_bytes = std::min<std::uint64_t>(writable, sizeof(DiskFacts::serial));
    else if (outcome == BlockStatus::ok && !decided && operation.kind == Kind::read)
        data_bytes = writable;
    return static_cast<std::uint32_t>(data_bytes == writable ? data_bytes + 1 : data_bytes);
}

Checked<BlockRequest> read_block_request(const Chain& chain, const DiskFacts& disk, bool write_back) {
    auto readable = chain.readable;
    auto writable = chain.writable;
    const auto header = take_front<virtio_blk_outhdr>(readable);
    if (!header)
        return tl::unexpected{std::string{"a block request without a header"}};
    if (writable.empty())
        return tl::unexpected{std::string{"a block request without room for its status"}};

    BlockRequest request;
    request.head = chain.head;
    request.status = &writable.back().back();
    writable.back() = writable.back().first(writable.back().size() - 1);
    if (writable.back().empty())
        writable.pop_back();
    request.writable = total_bytes(writable);

    switch (header->type) {
    case VIRTIO_BLK_T_IN:
        request.data = std::move(writable);
        return transfer(std::move(request), Kind::read, header->sector, disk, false);
    case VIRTIO_BLK_T_OUT:
        request.data = std::move(readable);
        return transfer(std::move(request), Kind::write, header->sector, disk, !write_back);
    case VIRTIO_BLK_T_FLUSH:
        if (disk.read_only)
            return decide(std::move(request), BlockStatus::ok);
        request.operation.kind = Kind::flush;
        return request;
    case VIRTIO_BLK_T_GET_ID:
        request.data = std::move(writable);
        request.identify = true;
        return decide(std::move(request), BlockStatus::ok);
    case VIRTIO_BLK_T_DISCARD:
        request.data = std::move(readable);
        return change_range(std::move(request), Kind::discard, disk);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        request.data = std::move(readable);
        return change_range(std::move(request), Kind::write_zeroes, disk);
    default:
        return decide(std::move(request), BlockStatus::unsupported);
    }
}

} // namespace nestbed::virtio
