#include "lab/result_files.hpp"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/lab/scratch.hpp"

namespace nestbed::lab {
namespace {

namespace fs = std::filesystem;

class ResultFiles : public test::InScratch {};

TEST_F(ResultFiles, AreWrittenWithTheirFolders) {
    const auto root = folder() / "results";
    ASSERT_TRUE(store_result(root / "a/b/run.json", "one", {root}));
    ASSERT_TRUE(store_result(root / "a/b/run.json", "two", {root}));
    EXPECT_EQ(read(root / "a/b/run.json"), "two");
    EXPECT_EQ(std::distance(fs::directory_iterator{root / "a/b"}, fs::directory_iterator{}), 1);
    ASSERT_TRUE(store_result(folder() / "out.tap", "tap", {folder() / "out.tap"}));
    EXPECT_EQ(read(folder() / "out.tap"), "tap");
}

TEST_F(ResultFiles, GoNowhereElse) {
    const auto root = folder() / "results";
    for (const auto& path :
         {folder() / "elsewhere", root / "../elsewhere", fs::path{"elsewhere"}, fs::path{}}) {
        const auto stored = store_result(path, "x", {root});
        ASSERT_FALSE(stored) << path;
        EXPECT_EQ(stored.error().kind, ErrorKind::check_failed);
    }
    EXPECT_FALSE(store_result(root, "x", {fs::path{root / "x"}}));
    EXPECT_FALSE(fs::exists(folder() / "elsewhere"));
}

TEST_F(ResultFiles, FollowNoLinkBelowTheRoot) {
    const auto root = folder() / "results";
    fs::create_directories(root);
    fs::create_directories(folder() / "secret");
    write("secret/file", "untouched");
    fs::create_directory_symlink(folder() / "secret", root / "link");
    fs::create_symlink(folder() / "secret/file", root / "file");
    EXPECT_FALSE(store_result(root / "link/file", "x", {root}));
    // A link in the place of the file itself is replaced and not followed.
    EXPECT_TRUE(store_result(root / "file", "x", {root}));
    EXPECT_FALSE(fs::is_symlink(root / "file"));
    EXPECT_EQ(read(folder() / "secret/file"), "untouched");
}

TEST_F(ResultFiles, SayWhereTheyCannotGo) {
    const auto root = folder() / "results";
    fs::create_directories(root / "run.json");
    const auto stored = store_result(root / "run.json", "x", {root});
    ASSERT_FALSE(stored);
    EXPECT_EQ(stored.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(std::distance(fs::directory_iterator{root}, fs::directory_iterator{}), 1)
        << "nothing half is left";
}

} // namespace
} // namespace nestbed::lab
