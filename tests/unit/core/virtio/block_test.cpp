#include "core/virtio/block.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/virtio/mmio_transport.hpp"
#include "guest.hpp"

namespace nestbed::virtio {
namespace {

using namespace std::chrono_literals;
using namespace test;

constexpr std::uint64_t flush_feature = 1U << VIRTIO_BLK_F_FLUSH;
constexpr std::uint64_t disk_sectors = 64;

class TemporaryFile {
public:
    explicit TemporaryFile(std::uint64_t bytes) {
        _path = (std::filesystem::temp_directory_path() / "nestbed-disk-XXXXXX").string();
        const Fd made{::mkstemp(_path.data())};
        EXPECT_TRUE(made);
        std::string content;
        for (std::uint64_t i = 0; i < bytes; ++i)
            content += static_cast<char>('a' + i / sector_bytes % 26);
        EXPECT_EQ(::write(made.get(), content.data(), content.size()), static_cast<ssize_t>(bytes));
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    TemporaryFile(TemporaryFile&&) = delete;
    TemporaryFile& operator=(TemporaryFile&&) = delete;
    ~TemporaryFile() { std::filesystem::remove(_path); }

    [[nodiscard]] const std::string& path() const { return _path; }
    [[nodiscard]] std::string content() const {
        std::ifstream file{_path, std::ios::binary};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

private:
    std::string _path;
};

// What one request comes to.
struct Outcome {
    int status = -1;
    std::uint32_t used_bytes = 0;
    bool operator==(const Outcome&) const = default;
};
const Outcome done{VIRTIO_BLK_S_OK, 1};
const Outcome failed{VIRTIO_BLK_S_IOERR, 1};
const Outcome unsupported{VIRTIO_BLK_S_UNSUPP, 1};

// A machine with one disk, and its driver.
struct Machine {
    static constexpr std::uint64_t header_at = Ram::start + 0x8000;
    static constexpr std::uint64_t status_at = Ram::start + 0x8100;
    static constexpr std::uint64_t data_at = Ram::start + 0x10000;
    static constexpr std::uint64_t table_at = Ram::start + 0x9004; // indirect tables need no alignment

    explicit Machine(std::unique_ptr<Block> made) : block{std::move(made)} {}

    bool bring_up(std::uint64_t features = feature_version_1 | flush_feature) {
        return registers.bring_up(features, queue.setup());
    }
    void write_header(std::uint32_t type, std::uint64_t sector) {
        ram.set(header_at, virtio_blk_outhdr{.type = type, .ioprio = 0, .sector = sector});
        ram.set(status_at, std::uint8_t{0xee});
    }
    Outcome publish_and_wait(std::uint16_t head) {
        const auto before = queue.used_index();
        queue.publish(head);
        registers.kick();
        if (!soon([&] {
                return queue.used_index() != before || (registers.status() & status_needs_reset) != 0;
            }))
            return {-2, 0};
        const auto used = queue.take_used();
        if (used.size() != 1 || used[0].id != head)
            return {-3, 0};
        return {ram.get<std::uint8_t>(status_at), used[0].bytes};
    }
    Outcome request(std::uint32_t type, std::uint64_t sector, std::vector<Buffer> data = {}) {
        write_header(type, sector);
        data.insert(data.begin(), {header_at, 16, false});
        data.push_back({status_at, 1, true});
        return publish_and_wait(queue.write_chain(data));
    }
    Outcome change_range(std::uint32_t type, std::uint64_t sector, std::uint32_t sectors,
                         std::uint32_t flags = 0) {
        ram.set(data_at, virtio_blk_discard_write_zeroes{sector, sectors, flags});
        return request(type, 0, {{data_at, 16, false}});
    }

    Ram ram;
    DriverQueue queue{ram, 16};
    CountingLine line;
    std::unique_ptr<Block> block;
    MmioTransport transport{Registers::base, *block, ram.callable(), line};
    Registers registers{transport};
};

using MakeEngine = std::function<std::unique_ptr<IoEngine>(int)>;

struct EngineCase {
    const char* name;
    MakeEngine make;
};

std::unique_ptr<IoEngine> uring(int file) {
    auto engine = make_uring_engine(file);
    return engine ? *std::move(engine) : nullptr;
}

class BlockTest : public testing::TestWithParam<EngineCase> {
protected:
    void SetUp() override {
        if (GetParam().make(-1) == nullptr)
            GTEST_SKIP() << "io_uring is not permitted here";
    }
    std::unique_ptr<Machine> machine(bool read_only = false, RateLimit limit = {{}, {}}) {
        auto disk = open_disk({file.path(), read_only, {}, {}});
        EXPECT_TRUE(disk) << disk.error().message();
        const int fd = disk->file.get();
        auto block = Block::create(*std::move(disk), GetParam().make(fd), limit);
        EXPECT_TRUE(block);
        return std::make_unique<Machine>(*std::move(block));
    }

    TemporaryFile file{disk_sectors * sector_bytes};
};

INSTANTIATE_TEST_SUITE_P(Engines, BlockTest,
                         testing::Values(EngineCase{"io_uring", uring},
                                         EngineCase{"preadv2", make_synchronous_engine}),
                         [](const auto& test_case) { return std::string{test_case.param.name}; });

TEST_P(BlockTest, ReadsWhatIsThere) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    EXPECT_EQ(m->request(VIRTIO_BLK_T_IN, 3, {{Machine::data_at, 1024, true}}), (Outcome{0, 1025}));
    EXPECT_EQ(m->ram.text(Machine::data_at, 1024), std::string(512, 'd') + std::string(512, 'e'));
    EXPECT_EQ(m->line.edges(), 1);
    EXPECT_FALSE(m->line.level());
    EXPECT_EQ(m->registers.read(MmioRegister::interrupt_status), interrupt_used_buffer);
}

TEST_P(BlockTest, WritesToTheFileAndFlushes) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    m->ram.fill(Machine::data_at, std::string(512, 'X') + std::string(512, 'Y'));
    EXPECT_EQ(m->request(VIRTIO_BLK_T_OUT, 62, {{Machine::data_at, 1024, false}}), done);
    EXPECT_EQ(m->request(VIRTIO_BLK_T_FLUSH, 0), done);
    const auto content = file.content();
    ASSERT_EQ(content.size(), disk_sectors * sector_bytes);
    EXPECT_EQ(content.substr(61 * 512),
              std::string(512, 'a' + 61 % 26) + std::string(512, 'X') + std::string(512, 'Y'));
}

TEST_P(BlockTest, WithoutFlushEachWriteLasts) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up(feature_version_1));
    m->ram.fill(Machine::data_at, std::string(512, 'X'));
    EXPECT_EQ(m->request(VIRTIO_BLK_T_OUT, 0, {{Machine::data_at, 512, false}}), done);
    EXPECT_EQ(file.content().substr(0, 513), std::string(512, 'X') + "b");
}

TEST_P(BlockTest, TakesSegmentsHoweverTheyAreCut) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    // The header in two, the data in three, one of them across the border of two RAM ranges, and the status
    // in one piece with the last.
    m->write_header(VIRTIO_BLK_T_IN, 0);
    const auto last = Machine::data_at;
    const auto head = m->queue.write_chain({{Machine::header_at, 5, false},
                                            {Machine::header_at + 5, 11, false},
                                            {Machine::data_at + 4096, 100, true},
                                            {Ram::border - 300, 900, true},
                                            {last, 25, true}});
    m->queue.publish(head);
    m->registers.kick();
    ASSERT_TRUE(soon([&] { return m->queue.used_index() == 1; }));
    EXPECT_THAT(m->queue.take_used(), testing::ElementsAre(Used{head, 1025}));
    EXPECT_EQ(m->ram.text(Machine::data_at + 4096, 100), std::string(100, 'a'));
    EXPECT_EQ(m->ram.text(Ram::border - 300, 900), std::string(412, 'a') + std::string(488, 'b'));
    EXPECT_EQ(m->ram.text(last, 25), std::string(24, 'b') + '\0');
}

TEST_P(BlockTest, TakesIndirectTables) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up(feature_version_1 | flush_feature | feature_indirect_desc));
    m->write_header(VIRTIO_BLK_T_IN, 1);
    // More than the queue has descriptors.
    std::vector<Buffer> buffers{{Machine::header_at, 16, false}};
    for (std::uint64_t i = 0; i < 128; ++i)
        buffers.push_back({Machine::data_at + 8 * i, 4, true});
    buffers.push_back({Machine::status_at, 1, true});
    EXPECT_EQ(m->publish_and_wait(m->queue.write_indirect(buffers, Machine::table_at)), (Outcome{0, 513}));
    EXPECT_EQ(m->ram.text(Machine::data_at + 8 * 127, 8), std::string(4, 'b') + std::string(4, '\0'));
}

TEST_P(BlockTest, SaysWhoItIs) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    EXPECT_EQ(m->request(VIRTIO_BLK_T_GET_ID, 0, {{Machine::data_at, 20, true}}), (Outcome{0, 21}));
    const auto name = std::filesystem::path{file.path()}.filename().string();
    EXPECT_EQ(m->ram.text(Machine::data_at, 19), name);
    EXPECT_EQ(name.size(), 19U);
}

TEST_P(BlockTest, DiscardAndWriteZeroesLeaveZeros) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    const auto discarded = m->change_range(VIRTIO_BLK_T_DISCARD, 1, 2);
    const auto zeroed = m->change_range(VIRTIO_BLK_T_WRITE_ZEROES, 5, 1);
    const auto unmapped =
        m->change_range(VIRTIO_BLK_T_WRITE_ZEROES, 7, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
    auto expected = std::string(512, 'a') + std::string(512, 'b') + std::string(512, 'c') +
                    std::string(512, 'd') + std::string(512, 'e') + std::string(512, 'f') +
                    std::string(512, 'g') + std::string(512, 'h') + std::string(512, 'i');
    // A file system may not know of holes, which the driver has to learn then.
    const auto expect = [&](const Outcome& outcome, std::size_t sector, std::size_t sectors) {
        if (outcome == done)
            expected.replace(sector * 512, sectors * 512, sectors * 512, '\0');
        else
            EXPECT_EQ(outcome, unsupported);
    };
    expect(discarded, 1, 2);
    expect(zeroed, 5, 1);
    expect(unmapped, 7, 1);
    EXPECT_EQ(file.content().substr(0, expected.size()), expected);
    EXPECT_EQ(file.content().size(), disk_sectors * sector_bytes);
}

struct RefusedCase {
    const char* name;
    std::uint32_t type;
    std::uint64_t sector;
    std::uint32_t bytes; // of data
    Outcome outcome;
};

TEST_P(BlockTest, RefusesWhatIsNotOnTheDisk) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    const auto before = file.content();
    for (const auto& [name, type, sector, bytes, outcome] :
         {RefusedCase{"behind the end", VIRTIO_BLK_T_OUT, 64, 512, failed},
          RefusedCase{"across the end", VIRTIO_BLK_T_OUT, 63, 1024, failed},
          RefusedCase{"far away", VIRTIO_BLK_T_OUT, UINT64_MAX, 512, failed},
          RefusedCase{"wraps in bytes", VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 1, 512, failed},
          RefusedCase{"half a sector", VIRTIO_BLK_T_OUT, 0, 256, failed},
          RefusedCase{"read behind the end", VIRTIO_BLK_T_IN, 64, 512, {VIRTIO_BLK_S_IOERR, 0}},
          RefusedCase{"unknown type", 77, 0, 512, unsupported},
          RefusedCase{"nothing at the very end", VIRTIO_BLK_T_OUT, 64, 0, done},
          RefusedCase{"SCSI", 2, 0, 0, unsupported}}) {
        const bool read = type == VIRTIO_BLK_T_IN;
        const auto data =
            bytes == 0 ? std::vector<Buffer>{} : std::vector<Buffer>{{Machine::data_at, bytes, read}};
        EXPECT_EQ(m->request(type, sector, data), outcome) << name;
    }
    EXPECT_EQ(m->change_range(VIRTIO_BLK_T_DISCARD, 63, 2), failed);
    EXPECT_EQ(m->change_range(VIRTIO_BLK_T_DISCARD, UINT64_MAX, 2), failed);
    EXPECT_EQ(m->change_range(VIRTIO_BLK_T_DISCARD, 0, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP), unsupported);
    EXPECT_EQ(m->change_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2), unsupported);
    EXPECT_EQ(m->request(VIRTIO_BLK_T_DISCARD, 0, {{Machine::data_at, 32, false}}), failed) << "two ranges";
    EXPECT_EQ(m->request(VIRTIO_BLK_T_DISCARD, 0, {{Machine::data_at, 8, false}}), failed) << "half a range";
    EXPECT_EQ(file.content(), before);
    EXPECT_EQ(m->registers.status() & status_needs_reset, 0U);
}

TEST_P(BlockTest, AReadOnlyDiskIsOnlyRead) {
    const auto m = machine(true);
    EXPECT_EQ(m->registers.offered() & (1U << VIRTIO_BLK_F_RO), 1U << VIRTIO_BLK_F_RO);
    ASSERT_TRUE(m->bring_up());
    const auto before = file.content();
    EXPECT_EQ(m->request(VIRTIO_BLK_T_OUT, 0, {{Machine::data_at, 512, false}}), failed);
    EXPECT_EQ(m->change_range(VIRTIO_BLK_T_DISCARD, 0, 1), failed);
    EXPECT_EQ(m->change_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1), failed);
    EXPECT_EQ(m->request(VIRTIO_BLK_T_FLUSH, 0), done);
    EXPECT_EQ(m->request(VIRTIO_BLK_T_IN, 0, {{Machine::data_at, 512, true}}), (Outcome{0, 513}));
    EXPECT_EQ(file.content(), before);
}

TEST_P(BlockTest, AFileThatBecomesShorterIsAnError) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    ASSERT_EQ(::truncate(file.path().c_str(), 10 * 512), 0);
    EXPECT_EQ(m->request(VIRTIO_BLK_T_IN, 8, {{Machine::data_at, 2048, true}}), (Outcome{1, 0}));
    EXPECT_EQ(m->request(VIRTIO_BLK_T_IN, 40, {{Machine::data_at, 512, true}}), (Outcome{1, 0}));
    EXPECT_EQ(m->request(VIRTIO_BLK_T_OUT, 9, {{Machine::data_at, 1024, false}}), failed);
    EXPECT_EQ(m->request(VIRTIO_BLK_T_OUT, 9, {{Machine::data_at, 512, false}}), done);
    EXPECT_EQ(file.content().size(), 10U * 512);
}

TEST_P(BlockTest, DoesAllOfManyAtOnce) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up(feature_version_1 | flush_feature | feature_event_idx));
    m->ram.set(Machine::header_at, virtio_blk_outhdr{VIRTIO_BLK_T_IN, 0, 5});
    std::uint32_t finished = 0;
    for (int round = 0; round < 200; ++round) {
        m->queue.set_used_event(static_cast<std::uint16_t>(m->queue.used_index() + 4)); // of five
        for (std::uint64_t i = 0; i < 5; ++i)
            m->queue.add({{Machine::header_at, 16, false},
                          {Machine::data_at + 1024 * i, 512, true},
                          {Machine::status_at + i, 1, true}});
        m->registers.kick();
        ASSERT_TRUE(soon([&] {
            finished += static_cast<std::uint32_t>(m->queue.take_used().size());
            return finished == 5U * (static_cast<std::uint32_t>(round) + 1);
        })) << round;
        ASSERT_TRUE(soon([&] { return m->line.edges() == round + 1; })) << "one interrupt a round";
    }

    EXPECT_EQ(m->ram.text(Machine::data_at + 4096, 512), std::string(512, 'f'));
}

TEST_P(BlockTest, TheEventfdIsANotification) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    m->write_header(VIRTIO_BLK_T_IN, 0);
    m->queue.add(
        {{Machine::header_at, 16, false}, {Machine::data_at, 512, true}, {Machine::status_at, 1, true}});
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(m->block->notify_fd(), &one, sizeof one), 8);
    EXPECT_TRUE(soon([&] { return m->queue.used_index() == 1; }));
}

TEST_P(BlockTest, WhatWasThereBeforeTheStartIsDone) {
    const auto m = machine();
    m->write_header(VIRTIO_BLK_T_IN, 0);
    m->queue.add(
        {{Machine::header_at, 16, false}, {Machine::data_at, 512, true}, {Machine::status_at, 1, true}});
    ASSERT_TRUE(m->bring_up());
    EXPECT_TRUE(soon([&] { return m->queue.used_index() == 1; }));
}

TEST_P(BlockTest, AMalformedChainNeedsAResetAndThenAllIsWell) {
    const auto m = machine();
    ASSERT_TRUE(m->bring_up());
    m->queue.add({{Machine::header_at, 15, false}, {Machine::status_at, 1, true}});
    m->registers.kick();
    ASSERT_TRUE(soon([&] { return (m->registers.status() & status_needs_reset) != 0; }));
    EXPECT_TRUE(
        soon([&] { return m->registers.read(MmioRegister::interrupt_status) == interrupt_configuration; }));
    EXPECT_EQ(m->queue.used_index(), 0);
    m->registers.reset();
    EXPECT_EQ(m->registers.status(), 0U);
    m->queue.restart();
    ASSERT_TRUE(m->bring_up());
    EXPECT_EQ(m->request(VIRTIO_BLK_T_IN, 0, {{Machine::data_at, 512, true}}), (Outcome{0, 513}));
}

TEST_P(BlockTest, ResetsInTheMiddle) {
    const auto m = machine();
    for (int round = 0; round < 100; ++round) {
        m->queue.restart();
        ASSERT_TRUE(m->bring_up()) << round;
        m->ram.set(Machine::header_at, virtio_blk_outhdr{VIRTIO_BLK_T_IN, 0, 5});
        for (std::uint64_t i = 0; i < 5; ++i)
            m->queue.add({{Machine::header_at, 16, false},
                          {Machine::data_at, 4096, true},
                          {Machine::status_at + i, 1, true}});
        m->registers.kick();
        if (round % 3 == 0)
            std::this_thread::sleep_for(100us);
        m->registers.reset();
        ASSERT_EQ(m->registers.status(), 0U);
        // Its own again: nothing changes any more.
        m->ram.fill(Machine::data_at, std::string(4096, '-'));
        const auto used = m->queue.used_index();
        if (round % 10 == 0)
            std::this_thread::sleep_for(1ms);
        ASSERT_EQ(m->ram.text(Machine::data_at, 4096), std::string(4096, '-')) << round;
        ASSERT_EQ(m->queue.used_index(), used);
    }
}

TEST_P(BlockTest, TheLimitHolds) {
    const auto m = machine(false, RateLimit{100, {}});
    ASSERT_TRUE(m->bring_up());
    const auto before = Clock::now();
    for (int i = 0; i < 30; ++i) // a burst of 10, then one each 10 ms
        ASSERT_EQ(m->request(VIRTIO_BLK_T_IN, 0, {{Machine::data_at, 512, true}}), (Outcome{0, 513}));
    EXPECT_GE(Clock::now() - before, 200ms);
}

// A disk that does nothing until it is told to.
class HeldEngine final : public IoEngine {
public:
    struct Log {
        std::mutex mutex;
        std::vector<std::pair<std::uint32_t, IoOperation>> started;
        std::vector<IoCompletion> done;
        std::vector<std::uint32_t> cancelled;
        bool cancels = false;
    };
    explicit HeldEngine(std::shared_ptr<Log> log) : _log{std::move(log)} {}
    void start(std::uint32_t slot, const IoOperation& operation) override {
        const std::lock_guard lock{_log->mutex};
        _log->started.emplace_back(slot, operation);
    }
    void cancel(std::uint32_t slot) override {
        const std::lock_guard lock{_log->mutex};
        _log->cancelled.push_back(slot);
        if (_log->cancels)
            _log->done.push_back({slot, -ECANCELED});
    }
    bool submit() override { return false; } // to be asked again soon
    std::vector<IoCompletion> reap() override {
        const std::lock_guard lock{_log->mutex};
        return std::exchange(_log->done, {});
    }
    [[nodiscard]] int completion_fd() const override { return -1; }
    [[nodiscard]] std::string_view name() const override { return "held"; }

private:
    std::shared_ptr<Log> _log;
};

class HeldDisk : public testing::Test {
protected:
    std::unique_ptr<Machine> machine(Clock::duration stop_within) {
        Disk disk;
        disk.facts.sectors = 64;
        auto block =
            Block::create(std::move(disk), std::make_unique<HeldEngine>(log), RateLimit{{}, {}}, stop_within);
        EXPECT_TRUE(block);
        return std::make_unique<Machine>(*std::move(block));
    }
    std::uint32_t start_read(Machine& m) {
        m.write_header(VIRTIO_BLK_T_IN, 0);
        m.queue.add(
            {{Machine::header_at, 16, false}, {Machine::data_at, 1024, true}, {Machine::status_at, 1, true}});
        m.registers.kick();
        EXPECT_TRUE(soon([&] { return started() == 1; }));
        return log->started.at(0).first;
    }
    std::size_t started() const {
        const std::lock_guard lock{log->mutex};
        return log->started.size();
    }
    void complete(std::uint32_t slot, std::int64_t result) const {
        const std::lock_guard lock{log->mutex};
        log->done.push_back({slot, result});
    }
    std::shared_ptr<HeldEngine::Log> log = std::make_shared<HeldEngine::Log>();
};

TEST_F(HeldDisk, AResetAwaitsWhatCannotBeCancelled) {
    const auto m = machine(20s);
    ASSERT_TRUE(m->bring_up());
    const auto slot = start_read(*m);
    std::atomic<bool> was_reset{false};
    std::thread vcpu{[&] {
        m->registers.reset();
        was_reset = true;
    }};
    EXPECT_TRUE(soon([&] {
        const std::lock_guard lock{log->mutex};
        return log->cancelled == std::vector{slot};
    }));
    EXPECT_FALSE(was_reset);
    complete(slot, 1024);
    vcpu.join();
    EXPECT_EQ(m->registers.status(), 0U);
    EXPECT_EQ(m->queue.used_index(), 0) << "the queue is the driver's again";
    EXPECT_EQ(m->ram.get<std::uint8_t>(Machine::status_at), 0xee);
    EXPECT_EQ(m->line.edges(), 0);
}

TEST_F(HeldDisk, WhatIsCancelledIsGone) {
    const auto m = machine(20s);
    log->cancels = true;
    ASSERT_TRUE(m->bring_up());
    start_read(*m);
    m->registers.reset();
    EXPECT_EQ(m->registers.status(), 0U);
    EXPECT_EQ(m->queue.used_index(), 0);
}

TEST_F(HeldDisk, AResetThatTakesTooLongIsNone) {
    const auto m = machine(30ms);
    ASSERT_TRUE(m->bring_up());
    const auto slot = start_read(*m);
    m->registers.reset();
    EXPECT_EQ(m->registers.status() & status_needs_reset, status_needs_reset);
    complete(slot, 1024);
    EXPECT_TRUE(soon([&] {
        m->registers.reset();
        return m->registers.status() == 0;
    }));
    EXPECT_EQ(m->queue.used_index(), 0);
}

TEST_F(HeldDisk, TheEndWaitsNoLongerThanItSays) {
    auto m = machine(30ms);
    ASSERT_TRUE(m->bring_up());
    const auto slot = start_read(*m);
    m.reset();
    complete(slot, 1024); // or the thread would stay
    EXPECT_TRUE(soon([&] {
        const std::lock_guard lock{log->mutex};
        return log.use_count() == 1;
    }));
}

TEST_F(HeldDisk, AFewBytesAreFollowedByTheOthers) {
    const auto m = machine(20s);
    ASSERT_TRUE(m->bring_up());
    const auto slot = start_read(*m);
    complete(slot, 700);
    ASSERT_TRUE(soon([&] { return started() == 2; }));
    const auto& rest = log->started.at(1).second;
    EXPECT_EQ(rest.offset, 700U);
    EXPECT_EQ(rest.bytes, 324U);
    ASSERT_EQ(rest.buffers.size(), 1U);
    EXPECT_EQ(rest.buffers[0].iov_base, m->ram.at(Machine::data_at + 700, 1).data());
    EXPECT_EQ(rest.buffers[0].iov_len, 324U);
    EXPECT_EQ(m->queue.used_index(), 0);
    complete(slot, 324);
    ASSERT_TRUE(soon([&] { return m->queue.used_index() == 1; }));
    EXPECT_THAT(m->queue.take_used(), testing::ElementsAre(Used{0, 1025}));
}

TEST_F(HeldDisk, AnErrorOfTheDiskIsOneOfTheRequest) {
    const auto m = machine(20s);
    ASSERT_TRUE(m->bring_up());
    complete(start_read(*m), -EIO);
    ASSERT_TRUE(soon([&] { return m->queue.used_index() == 1; }));
    EXPECT_THAT(m->queue.take_used(), testing::ElementsAre(Used{0, 0}));
    EXPECT_EQ(m->ram.get<std::uint8_t>(Machine::status_at), VIRTIO_BLK_S_IOERR);
}

} // namespace
} // namespace nestbed::virtio
