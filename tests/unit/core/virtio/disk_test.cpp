#include "core/virtio/disk.hpp"

#include <filesystem>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::virtio {
namespace {

class DiskTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_NE(::mkdtemp(_folder.data()), nullptr);
        path = _folder + "/disk.img";
    }
    void TearDown() override { std::filesystem::remove_all(_folder); }

    void make_file(off_t bytes) const {
        const Fd made{::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)};
        ASSERT_TRUE(made);
        ASSERT_EQ(::ftruncate(made.get(), bytes), 0);
    }
    [[nodiscard]] DiskSpec spec(bool read_only = false) const { return {path, read_only, {}, {}}; }
    void expect_refused(const DiskSpec& asked, const char* found) const {
        const auto disk = open_disk(asked);
        ASSERT_FALSE(disk);
        EXPECT_EQ(disk.error().kind, ErrorKind::bad_input);
        EXPECT_EQ(disk.error().asked, "open the disk " + asked.file);
        EXPECT_THAT(disk.error().found, testing::HasSubstr(found));
    }

    std::string path;

private:
    std::string _folder = (std::filesystem::temp_directory_path() / "nestbed-XXXXXX").string();
};

TEST_F(DiskTest, HasAsManySectorsAsAreWhole) {
    for (const auto& [bytes, sectors] :
         {std::pair{off_t{512}, 1U}, {off_t{1023}, 1U}, {off_t{1024}, 2U}, {off_t{1} << 40, 1U << 31}}) {
        make_file(bytes);
        const auto disk = open_disk(spec());
        ASSERT_TRUE(disk) << disk.error().message();
        EXPECT_EQ(disk->facts.sectors, sectors) << bytes;
        EXPECT_EQ(disk->facts.block_bytes, 512U);
        EXPECT_EQ(disk->facts.name(), "disk.img");
        EXPECT_EQ(::fcntl(disk->file.get(), F_GETFL) & O_NONBLOCK, 0);
    }
}

TEST_F(DiskTest, WhatIsNoDiskIsRefused) {
    expect_refused(spec(), "ENOENT");
    make_file(511);
    expect_refused(spec(), "511 bytes, less than one sector");
    std::filesystem::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    expect_refused(spec(), "neither a file nor a block device"); // and does not hang
    expect_refused({"/dev/null", false, {}, {}}, "neither a file nor a block device");
    expect_refused({"/tmp", false, {}, {}}, "EISDIR");
}

TEST_F(DiskTest, OneWriterOrManyReaders) {
    make_file(512);
    {
        const auto writer = open_disk(spec());
        ASSERT_TRUE(writer);
        expect_refused(spec(), "another program uses it");
        expect_refused(spec(true), "another program writes to it");
    }
    const auto reader = open_disk(spec(true));
    ASSERT_TRUE(reader);
    EXPECT_TRUE(open_disk(spec(true)));
    expect_refused(spec(), "another program uses it");
}

TEST_F(DiskTest, ReadOnlyIsReallySo) {
    make_file(512);
    const auto disk = open_disk(spec(true));
    ASSERT_TRUE(disk);
    EXPECT_TRUE(disk->facts.read_only);
    EXPECT_EQ(::fcntl(disk->file.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(DiskTest, ALongNameIsCut) {
    path += "-with-a-name-that-has-no-end";
    make_file(512);
    const auto disk = open_disk(spec());
    ASSERT_TRUE(disk);
    EXPECT_EQ(disk->facts.name(), "disk.img-with-a-name");
}

} // namespace
} // namespace nestbed::virtio
