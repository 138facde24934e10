// Disk operations that take their time, by io_uring where the system permits it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include <sys/uio.h>

#include "base/error.hpp"

namespace nestbed::virtio {

struct IoOperation {
    enum class Kind { read, write, flush, discard, write_zeroes };
    Kind kind = Kind::read;
    std::uint64_t offset = 0; // bytes, from the start of the file
    std::uint64_t bytes = 0;
    std::vector<iovec> buffers; // of read and write, `bytes` in all
    bool durable = false;       // a write that is on the disk when it is done (RWF_DSYNC)
    bool may_unmap = false;     // write_zeroes may make a hole
};

struct IoCompletion {
    std::uint32_t slot = 0;
    // Bytes, which may be fewer than were asked for, 0 at the end of the file; or -errno.
    std::int64_t result = 0;
};

// Used by one thread.
class IoEngine {
public:
    virtual ~IoEngine() = default;

    // Operations at a time that an engine has to have room for.
    static constexpr std::uint32_t depth = 128;

    // `slot` is below depth and not in use. The operation, and what its buffers name, stay as they are until
    // its completion was reaped.
    virtual void start(std::uint32_t slot, const IoOperation& operation) = 0;
    // Asks that it end soon. Its completion comes nevertheless.
    virtual void cancel(std::uint32_t slot) = 0;
    // Hands to the kernel what was started and cancelled. False: not all, so call again soon.
    [[nodiscard]] virtual bool submit() = 0;
    // What is done, without waiting for more.
    [[nodiscard]] virtual std::vector<IoCompletion> reap() = 0;
    // Readable (an eventfd) when there may be something to reap; -1: everything is done once it was
    // submitted.
    [[nodiscard]] virtual int completion_fd() const = 0;
    [[nodiscard]] virtual std::string_view name() const = 0;
};

// Both on a descriptor that outlives them. Errors: host_lacks where the kernel is too old or io_uring is not
// permitted, as in many containers.
[[nodiscard]] Result<std::unique_ptr<IoEngine>> make_uring_engine(int file);
// preadv2(), pwritev2(), one after the other in submit().
[[nodiscard]] std::unique_ptr<IoEngine> make_synchronous_engine(int file);

// The first of them that this system permits; the log says why it is not io_uring.
[[nodiscard]] std::unique_ptr<IoEngine> make_engine(int file);

// Whether a write would make a file longer, which then has become shorter than the disk was: its result is 0.
[[nodiscard]] bool lies_behind_end(int file, const IoOperation& operation);

// fallocate()'s mode for discard and write_zeroes.
[[nodiscard]] int fallocate_mode(const IoOperation& operation);

} // namespace nestbed::virtio
