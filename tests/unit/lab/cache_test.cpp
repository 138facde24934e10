#include "lab/cache.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/lab/scratch.hpp"

namespace nestbed::lab {
namespace {

class CacheTest : public test::InScratch {
protected:
    [[nodiscard]] Result<std::filesystem::path> get(const std::string& key, const std::string& bytes) {
        return Cache::open(folder())->get("kind", key, [&](const std::filesystem::path& target) -> Status {
            ++made;
            std::ofstream{target} << bytes;
            return {};
        });
    }
    [[nodiscard]] std::size_t entries() const {
        return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder()},
                                                      std::filesystem::directory_iterator{}));
    }
    int made = 0;
};

TEST_F(CacheTest, MakesAThingOnce) {
    const auto first = get("a", "content");
    ASSERT_TRUE(first);
    EXPECT_EQ(*get("a", "other"), *first);
    EXPECT_EQ(made, 1);
    EXPECT_EQ(read(*first), "content");
    EXPECT_NE(*get("b", "another"), *first);
    EXPECT_EQ(made, 2);
    EXPECT_EQ(entries(), 2U) << "what is made beside them is gone";
}

TEST_F(CacheTest, KeepsNothingOfAFailure) {
    const auto failed =
        Cache::open(folder())->get("kind", "a", [](const std::filesystem::path& target) -> Status {
            std::ofstream{target} << "half";
            return fail(ErrorKind::host_lacks, "make it", "no");
        });
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().found, "no");
    EXPECT_EQ(entries(), 0U);
}

TEST_F(CacheTest, ForgetsTheOldest) {
    for (int i = 0; i < 10; ++i) {
        const auto path = get(std::to_string(i), "x");
        ASSERT_TRUE(path);
        EXPECT_TRUE(std::filesystem::exists(*path)) << i;
    }
    EXPECT_EQ(entries(), 4U);
}

TEST_F(CacheTest, KeepsTheLastFilesForPeople) {
    const auto cache = Cache::open(folder() / "cache");
    ASSERT_TRUE(cache) << cache.error().message();
    std::vector<std::filesystem::path> kept;
    for (int i = 0; i < 6; ++i) {
        kept.push_back(cache->keep("console", write("log", std::to_string(i))));
        EXPECT_EQ(read(kept.back()), std::to_string(i));
        std::filesystem::last_write_time(kept.back(), std::filesystem::file_time_type::clock::now() -
                                                          std::chrono::minutes{10 - i});
    }
    EXPECT_FALSE(std::filesystem::exists(folder() / "log")) << "it is moved";
    EXPECT_FALSE(std::filesystem::exists(kept[1]));
    EXPECT_TRUE(std::filesystem::exists(kept[2]));
    EXPECT_EQ(cache->keep("console", folder() / "nothing"), "");
}

TEST_F(CacheTest, AFolderIsFilled) {
    const auto filled =
        Cache::open(folder())->get_folder("kernel", "k", [](const std::filesystem::path& target) -> Status {
            std::ofstream{target / "file"} << "x";
            return {};
        });
    ASSERT_TRUE(filled);
    EXPECT_EQ(read(*filled / "file"), "x");
}

TEST_F(CacheTest, AChangedFileHasAnotherIdentity) {
    const auto file = write("program", "one");
    const auto before = file_identity(file);
    EXPECT_EQ(*file_identity(file), *before);
    write("program", "longer");
    EXPECT_NE(*file_identity(file), *before);
    EXPECT_FALSE(file_identity(folder() / "nothing"));
}

TEST_F(CacheTest, ATemporaryFolderGoesWithItsContent) {
    std::filesystem::path path;
    {
        const auto made_here = TemporaryFolder::make(folder());
        ASSERT_TRUE(made_here);
        path = made_here->path();
        std::ofstream{path / "file"} << "x";
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(TemporaryFolder::make("/nonexistent").error().kind, ErrorKind::bad_input);
}

TEST_F(CacheTest, FoldersOfRunsThatWereKilledAreRemovedAndOthersAreNot) {
    const auto held = TemporaryFolder::make(folder());
    ASSERT_TRUE(held);
    std::filesystem::create_directory(folder() / "run.killed");
    std::filesystem::create_directory(folder() / "run.justnow");
    const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours{1};
    std::filesystem::last_write_time(folder() / "run.killed", long_ago);
    std::filesystem::last_write_time(held->path(), long_ago);
    ASSERT_TRUE(Cache::open(folder()));
    EXPECT_FALSE(std::filesystem::exists(folder() / "run.killed"));
    EXPECT_TRUE(std::filesystem::exists(folder() / "run.justnow"));
    EXPECT_TRUE(std::filesystem::exists(held->path()));
}

} // namespace
} // namespace nestbed::lab
