#include "lab/archive.hpp"

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/boot/decompress.hpp"
#include "tests/unit/lab/scratch.hpp"

namespace nestbed::lab {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

// An archive of one format and filter with these files.
using Format = int (*)(archive*);
std::string pack(Format format, int filter, const std::map<std::string, std::string>& files) {
    std::string bytes(1U << 20U, '\0');
    std::size_t used = 0;
    auto* const writer = ::archive_write_new();
    EXPECT_EQ(format(writer), ARCHIVE_OK);
    ::archive_write_add_filter(writer, filter);
    ::archive_write_open_memory(writer, bytes.data(), bytes.size(), &used);
    for (const auto& [name, content] : files) {
        auto* const entry = ::archive_entry_new();
        ::archive_entry_set_pathname(entry, name.c_str());
        ::archive_entry_set_filetype(entry, AE_IFREG);
        ::archive_entry_set_perm(entry, 0644);
        ::archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
        EXPECT_EQ(::archive_write_header(writer, entry), ARCHIVE_OK) << ::archive_error_string(writer);
        ::archive_write_data(writer, content.data(), content.size());
        ::archive_entry_free(entry);
    }
    ::archive_write_close(writer);
    ::archive_write_free(writer);
    bytes.resize(used);
    return bytes;
}

class Archive : public test::InScratch {};

struct Found {
    unsigned type = 0;
    unsigned permissions = 0;
    std::string content;
};

std::vector<std::pair<std::string, Found>> list(const fs::path& archive_file) {
    std::vector<std::pair<std::string, Found>> found;
    auto* const reader = ::archive_read_new();
    ::archive_read_support_format_cpio(reader);
    EXPECT_EQ(::archive_read_open_filename(reader, archive_file.c_str(), 10240), ARCHIVE_OK);
    archive_entry* entry = nullptr;
    while (::archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
        Found one{::archive_entry_filetype(entry), ::archive_entry_perm(entry), {}};
        one.content.resize(static_cast<std::size_t>(::archive_entry_size(entry)));
        ::archive_read_data(reader, one.content.data(), one.content.size());
        found.emplace_back(::archive_entry_pathname(entry), one);
    }
    ::archive_read_free(reader);
    return found;
}

TEST_F(Archive, AnInitramfsHoldsFilesAfterTheirFolders) {
    const auto source = write("source", std::string(100000, 's'));
    const auto target = folder() / "i.cpio";
    const auto written = write_initramfs(
        target, {{.path = "/usr/bin/nestbed", .bytes = {}, .source = source, .executable = true},
                 {.path = "/usr/x", .bytes = "text", .source = {}, .executable = false}});
    ASSERT_TRUE(written) << written.error().message();
    EXPECT_EQ(read(target).substr(0, 6), "070701")
        << "the kernel knows this kind only, and the one with checksums";
    const auto found = list(target);
    std::vector<std::string> names;
    for (const auto& [name, one] : found)
        names.push_back(name);
    EXPECT_THAT(names, ElementsAre("dev", "usr", "usr/bin", "dev/console", "usr/bin/nestbed", "usr/x"));
    EXPECT_EQ(found[1].second.type, static_cast<unsigned>(AE_IFDIR));
    EXPECT_EQ(found[3].second.type, static_cast<unsigned>(AE_IFCHR));
    EXPECT_EQ(found[4].second.permissions, 0755U);
    EXPECT_EQ(found[4].second.content, std::string(100000, 's'));
    EXPECT_EQ(found[5].second.permissions, 0644U);
    EXPECT_EQ(found[5].second.content, "text");
    EXPECT_EQ(read(target).size() % 4, 0U) << "or the next part is not found";
}

TEST_F(Archive, AnInitramfsOfAMissingFileIsRefused) {
    const auto written =
        write_initramfs(folder() / "i.cpio",
                        {{.path = "/x", .bytes = {}, .source = folder() / "nothing", .executable = false}});
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(write_initramfs("/nonexistent/i.cpio", {}).error().kind, ErrorKind::host_lacks);
}

TEST_F(Archive, CompressionIsTakenOff) {
    const std::string content(300000, 'c');
    for (const int filter :
         {ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_XZ, ARCHIVE_FILTER_ZSTD}) {
        const auto file = write("module", pack(::archive_write_set_format_raw, filter, {{"data", content}}));
        const auto bytes = boot::read_decompressed(file, content.size());
        ASSERT_TRUE(bytes) << filter << ' ' << bytes.error().message();
        EXPECT_EQ(*bytes, content) << filter;
        EXPECT_FALSE(boot::read_decompressed(file, content.size() - 1)) << filter;
        const auto packed = read(file);
        EXPECT_EQ(boot::decompressed(std::as_bytes(std::span{packed}), content.size()), content) << filter;
        EXPECT_FALSE(boot::decompressed(std::as_bytes(std::span{packed}), content.size() - 1)) << filter;
    }
    EXPECT_EQ(boot::read_decompressed(write("empty", ""), 10), "");
    EXPECT_FALSE(boot::read_decompressed(folder() / "nothing", 10));
}

TEST_F(Archive, APackageGivesWhatIsWantedAndStaysInItsFolder) {
    const auto tar = pack(::archive_write_set_format_ustar, ARCHIVE_FILTER_XZ,
                          {{"./boot/vmlinuz-1", "kernel"},
                           {"./boot/config-1", "config"},
                           {"../../escaped-vmlinuz", "x"},
                           {"boot/../../vmlinuz-2", "x"},
                           {"/tmp/vmlinuz-nestbed-test", "x"}});
    const auto package = write("p.deb", pack(::archive_write_set_format_ar_bsd, ARCHIVE_FILTER_NONE,
                                             {{"debian-binary", "2.0\n"}, {"data.tar.xz", tar}}));
    const auto target = folder() / "in/side";
    const auto unpacked = unpack_package(
        package, target, [](std::string_view path) { return path.find("vmlinuz") != path.npos; });
    ASSERT_TRUE(unpacked) << unpacked.error().message();
    std::vector<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator{folder()})
        if (entry.is_regular_file())
            all.push_back(entry.path().lexically_relative(folder()).string());
    EXPECT_THAT(all, testing::UnorderedElementsAre("p.deb", "in/side/boot/vmlinuz-1"));
    EXPECT_EQ(read(target / "boot/vmlinuz-1"), "kernel");
    EXPECT_FALSE(fs::exists("/tmp/vmlinuz-nestbed-test"));
}

TEST_F(Archive, WhatIsNoPackageIsRefused) {
    const auto whole = pack(::archive_write_set_format_ar_bsd, ARCHIVE_FILTER_NONE,
                            {{"data.tar.xz", pack(::archive_write_set_format_ustar, ARCHIVE_FILTER_XZ,
                                                  {{"boot/vmlinuz-1", std::string(100000, 'k')}})}});
    for (const auto& bytes :
         {std::string{}, std::string{"no archive"}, whole.substr(0, whole.size() / 2),
          pack(::archive_write_set_format_ar_bsd, ARCHIVE_FILTER_NONE, {{"debian-binary", "2.0\n"}})}) {
        const auto unpacked =
            unpack_package(write("p.deb", bytes), folder() / "out", [](std::string_view) { return true; });
        EXPECT_FALSE(unpacked) << bytes.size();
    }
}

} // namespace
} // namespace nestbed::lab
