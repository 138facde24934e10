#include "core/virtio/block.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include "core/virtio/mmio_registers.hpp"

namespace nestbed::virtio {

namespace {

constexpr std::array<std::uint16_t, 1> sizes{Block::queue_size};

// 2 GiB a request: more at once only makes others wait.
constexpr std::uint32_t most_range_sectors = std::uint32_t{1} << 22;

void drain(int event) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(event, &count, sizeof count);
}

void signal(int event) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event, &one, sizeof one); // full counts as written
}

constexpr std::uint64_t bit(int number) {
    return std::uint64_t{1} << number;
}

} // namespace

std::uint64_t block_features(const DiskFacts& disk) {
    const auto always = bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_FLUSH) |
                        feature_indirect_desc | feature_event_idx;
    const auto writing = bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
    return always | (disk.read_only ? bit(VIRTIO_BLK_F_RO) : writing);
}

std::vector<std::byte> block_configuration(const DiskFacts& disk) {
    virtio_blk_config config{};
    config.capacity = disk.sectors;
    config.seg_max = Block::queue_size - 2; // a header and a status beside them
    config.blk_size = disk.block_bytes;
    config.num_queues = 1;
    if (!disk.read_only) {
        config.max_discard_sectors = most_range_sectors;
        config.max_discard_seg = 1;
        config.discard_sector_alignment = static_cast<std::uint32_t>(disk.block_bytes / sector_bytes);
        config.max_write_zeroes_sectors = most_range_sectors;
        config.max_write_zeroes_seg = 1;
        config.write_zeroes_may_unmap = 1;
    }
    // What follows is newer than what is offered.
    const auto bytes =
        std::as_bytes(std::span{&config, 1}).first(offsetof(virtio_blk_config, max_secure_erase_sectors));
    return {bytes.begin(), bytes.end()};
}

struct Block::Worker {
    Worker(Disk disk, std::unique_ptr<IoEngine> engine, RateLimit limit)
        : file{std::move(disk.file)}, service{disk.facts, std::move(engine), limit} {}

    void run();

    Fd file; // before the engine that uses it
    BlockService service;
    Fd notified;
    Fd control; // start, stop, quit
    std::atomic<bool> quit{false};
};

void Block::Worker::run() {
    ::prctl(PR_SET_NAME, "virtio-blk");
    std::array<pollfd, 3> sources{{{notified.get(), POLLIN, 0},
                                   {control.get(), POLLIN, 0},
                                   {service.engine().completion_fd(), POLLIN, 0}}}; // -1 is passed over
    while (!quit || !service.idle()) {
        const auto due = service.step(Clock::now());
        if (quit && service.idle())
            return;
        timespec timeout{};
        if (due) {
            const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(*due).count();
            timeout = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
        }
        for (auto& source : sources)
            source.revents = 0;
        ::ppoll(sources.data(), sources.size(), due ? &timeout : nullptr, nullptr);
        for (const auto& source : sources)
            if ((source.revents & POLLIN) != 0)
                drain(source.fd);
    }
}

Result<std::unique_ptr<Block>> Block::open(const DiskSpec& spec) {
    auto disk = open_disk(spec);
    if (!disk)
        return tl::unexpected{disk.error()};
    auto engine = make_engine(disk->file.get());
    spdlog::debug("disk {}: {} sectors, by {}", spec.file, disk->facts.sectors, engine->name());
    return create(*std::move(disk), std::move(engine),
                  RateLimit{spec.requests_per_second, spec.bytes_per_second});
}

Result<std::unique_ptr<Block>> Block::create(Disk disk, std::unique_ptr<IoEngine> engine, RateLimit limit,
                                             Clock::duration stop_within) {
    const auto facts = disk.facts;
    auto worker = std::make_shared<Worker>(std::move(disk), std::move(engine), limit);
    for (auto* const event : {&worker->notified, &worker->control}) {
        *event = Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        if (!*event)
            return fail_errno(ErrorKind::host_lacks, "create an eventfd", "raise `ulimit -n`");
    }
    std::unique_ptr<Block> block{new Block{facts, worker, stop_within}};
    try {
        block->_thread = std::thread{[worker] { worker->run(); }};
    } catch (const std::system_error& error) {
        return fail(ErrorKind::host_lacks, "start the thread of a disk", errno_text(error.code().value()),
                    "raise `ulimit -u`");
    }
    return block;
}

Block::Block(DiskFacts facts, std::shared_ptr<Worker> worker, Clock::duration stop_within)
    : _facts{facts}, _stop_within{stop_within}, _configuration{block_configuration(facts)}, _worker{std::move(
                                                                                                worker)} {}

Block::~Block() {
    const bool idle = stop();
    _worker->quit = true;
    signal(_worker->control.get());
    if (!_thread.joinable())
        return;
    if (idle) {
        _thread.join();
    } else {
        spdlog::error("a disk does not answer; its thread is left behind");
        _thread.detach();
    }
}

int Block::notify_fd() const noexcept {
    return _worker->notified.get();
}

std::uint32_t Block::id() const {
    return VIRTIO_ID_BLOCK;
}

std::uint64_t Block::features() const {
    return block_features(_facts);
}

std::span<const std::uint16_t> Block::queue_sizes() const {
    return sizes;
}

void Block::start(std::uint64_t features, std::vector<std::optional<Queue>> queues, Transport& transport) {
    if (!queues[0])
        return; // nothing can be asked for
    _worker->service.start(*std::move(queues[0]), (features & bit(VIRTIO_BLK_F_FLUSH)) != 0, transport);
    signal(_worker->control.get());
}

void Block::notify(std::uint16_t /*queue*/) {
    signal(_worker->notified.get());
}

bool Block::stop() {
    _worker->service.begin_stop();
    signal(_worker->control.get());
    return _worker->service.wait_until_idle(Clock::now() + _stop_within);
}

} // namespace nestbed::virtio
