// A folder that a test may write in.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace nestbed::test {

class InScratch : public testing::Test {
protected:
    void SetUp() override {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-lab-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(_folder); }

    [[nodiscard]] const std::filesystem::path& folder() const { return _folder; }

    // NOLINTNEXTLINE(modernize-use-nodiscard): who asked for the name knows it
    std::filesystem::path write(const std::filesystem::path& name, std::string_view bytes) const {
        auto path = _folder / name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream{path, std::ios::binary} << bytes;
        return path;
    }
    static std::string read(const std::filesystem::path& path) {
        std::ifstream file{path, std::ios::binary};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

private:
    std::filesystem::path _folder;
};

} // namespace nestbed::test
