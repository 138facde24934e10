#include "core/virtio/io_engine.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <spdlog/spdlog.h>

namespace nestbed::virtio {

std::unique_ptr<IoEngine> make_engine(int file) {
    auto engine = make_uring_engine(file);
    if (engine)
        return *std::move(engine);
    spdlog::info("{}; disks do one request at a time instead", engine.error().message());
    return make_synchronous_engine(file);
}

bool lies_behind_end(int file, const IoOperation& operation) {
    struct stat status {};
    return operation.kind == IoOperation::Kind::write && ::fstat(file, &status) == 0 &&
           S_ISREG(status.st_mode) &&
           operation.offset + operation.bytes > static_cast<std::uint64_t>(status.st_size);
}

int fallocate_mode(const IoOperation& operation) {
    const bool hole = operation.kind == IoOperation::Kind::discard || operation.may_unmap;
    return FALLOC_FL_KEEP_SIZE | (hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

} // namespace nestbed::virtio
