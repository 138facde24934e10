#include "core/virtio/disk.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace nestbed::virtio {

Result<Disk> open_disk(const DiskSpec& spec) {
    const auto asked = fmt::format("open the disk {}", spec.file);
    Disk disk;
    disk.facts.read_only = spec.read_only;
    // Without O_NONBLOCK a FIFO would wait for its other end.
    disk.file = Fd{::open(spec.file.c_str(), O_CLOEXEC | O_NONBLOCK | (spec.read_only ? O_RDONLY : O_RDWR))};
    if (!disk.file)
        return fail_errno(ErrorKind::bad_input, asked,
                          errno == EACCES || errno == EROFS ? "add ,ro if the guest need not write to it"
                                                            : "");
    const int fd = disk.file.get();
    struct stat status {};
    if (::fstat(fd, &status) != 0)
        return fail_errno(ErrorKind::host_lacks, asked);
    auto bytes = static_cast<std::uint64_t>(status.st_size);
    if (S_ISBLK(status.st_mode)) {
        int block_bytes = 0;
        if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0 || ::ioctl(fd, BLKSSZGET, &block_bytes) != 0)
            return fail_errno(ErrorKind::host_lacks, asked);
        disk.facts.block_bytes = static_cast<std::uint32_t>(block_bytes);
    } else if (!S_ISREG(status.st_mode)) {
        return fail(ErrorKind::bad_input, asked, "neither a file nor a block device",
                    "name a raw disk image");
    }
    disk.facts.sectors = bytes / sector_bytes;
    if (disk.facts.sectors == 0)
        return fail(ErrorKind::bad_input, asked, fmt::format("{} bytes, less than one sector", bytes),
                    fmt::format("make it larger, such as with truncate -s 1G {}", spec.file));
    if (bytes % sector_bytes != 0)
        spdlog::warn("the last {} bytes of {} are no whole sector, and not shown to the guest",
                     bytes % sector_bytes, spec.file);
    // File systems that know no locks are used without.
    if (::flock(fd, LOCK_NB | (spec.read_only ? LOCK_SH : LOCK_EX)) != 0 && errno == EWOULDBLOCK)
        return fail(ErrorKind::bad_input, asked,
                    spec.read_only ? "another program writes to it" : "another program uses it",
                    "end that one or make a copy");
    // io_uring would take it for a wish to get EAGAIN.
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return fail_errno(ErrorKind::host_lacks, asked);
    const auto name = std::string_view{spec.file}.substr(spec.file.rfind('/') + 1);
    std::copy_n(name.begin(), std::min(name.size(), disk.facts.serial.size()), disk.facts.serial.begin());
    return disk;
}

} // namespace nestbed::virtio
