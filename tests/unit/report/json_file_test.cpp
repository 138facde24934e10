#include "report/json_file.hpp"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "report/json.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string content(const fs::path& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

class WriteJsonFile : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "nestbed-json-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
    }
    void TearDown() override { fs::remove_all(_folder); }

    [[nodiscard]] const fs::path& folder() const { return _folder; }
    [[nodiscard]] std::ptrdiff_t entries() const {
        return std::distance(fs::directory_iterator{_folder}, fs::directory_iterator{});
    }

private:
    fs::path _folder;
};

TEST(Dump, LaysOutValues) {
    struct Case {
        std::string json;
        std::string expected;
    };
    const std::string sentence(33, 'x');
    const std::string word(32, 'x');
    const std::vector<Case> cases{
        {"1", "1\n"},
        {"null", "null\n"},
        {"{}", "{}\n"},
        {"[]", "[]\n"},
        {"[1,-2,3.5,true,null]", "[1, -2, 3.5, true, null]\n"},
        {R"({"b":1,"a":[1,2]})", "{\n  \"b\": 1,\n  \"a\": [1, 2]\n}\n"},
        {"[[1,2],[3]]", "[\n  [1, 2],\n  [3]\n]\n"},
        {R"({"a":{"b":{}},"c":[{"d":[]}]})",
         "{\n  \"a\": {\n    \"b\": {}\n  },\n  \"c\": [\n    {\n      \"d\": []\n    }\n  ]\n}\n"},
        {"[\"" + word + "\",1]", "[\"" + word + "\", 1]\n"},
        {"[\"" + sentence + "\",1]", "[\n  \"" + sentence + "\",\n  1\n]\n"},
        {R"([{"b":1,"a":"x"},{"b":2,"a":[]}])",
         "[\n  {\"b\": 1, \"a\": \"x\"},\n  {\n    \"b\": 2,\n    \"a\": []\n  }\n]\n"},
        {"[{\"a\":\"" + std::string(94, 'x') + "\"}]",
         "[\n  {\n    \"a\": \"" + std::string(94, 'x') + "\"\n  }\n]\n"},
        {"[{\"a\":\"" + std::string(91, 'x') + "\"}]", "[\n  {\"a\": \"" + std::string(91, 'x') + "\"}\n]\n"},
        {R"({"\"\n":"\u0001[,"})", "{\n  \"\\\"\\n\": \"\\u0001[,\"\n}\n"},
    };
    for (const auto& [json, expected] : cases)
        EXPECT_EQ(dump(Json::parse(json)), expected);
}

TEST(Dump, ReadsBackAsTheSameValue) {
    for (const std::uint32_t vcpus : {1U, 288U, 1024U}) {
        const auto json = to_json(test::full_result(vcpus));
        EXPECT_EQ(Json::parse(dump(json)), json) << vcpus;
    }
}

TEST(Dump, NeedsNoMoreLinesForMoreVcpus) {
    const auto lines = [](std::uint32_t vcpus) {
        const auto text = dump(to_json(test::full_result(vcpus)));
        return std::count(text.begin(), text.end(), '\n');
    };
    EXPECT_EQ(lines(1024), lines(8));
}

TEST(Dump, ReplacesBytesThatAreNoUtf8) {
    const std::vector<std::pair<std::string, std::string>> cases{
        {"\xff", "\xef\xbf\xbd"},
        {"ok\xc3", "ok\xef\xbf\xbd"},
        {"\xed\xa0\x80z", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"}, // a surrogate
    };
    for (const auto& [garbage, expected] : cases) {
        const auto text = dump(Json{{"value", garbage}, {"row", Json::array({1, garbage})}, {garbage, true}});
        const auto back = Json::parse(text);
        EXPECT_EQ(back["value"], expected);
        EXPECT_EQ(back["row"][1], expected);
        EXPECT_TRUE(back.contains(expected));
    }
    auto result = test::full_result();
    result.checks[0].details = {"guest said \x80\x81"};
    result.checks[0].facts["\xfe"] = "\xfe";
    EXPECT_TRUE(Json::accept(dump(to_json(result))));
}

TEST(Dump, HasNullForNanAndInfinity) {
    const auto infinity = std::numeric_limits<double>::infinity();
    EXPECT_EQ(dump(Json::array({std::nan(""), infinity, -infinity})), "[null, null, null]\n");
}

TEST_F(WriteJsonFile, MakesMissingFoldersAndLeavesNothingBeside) {
    const auto path = folder() / "a" / "b" / "run.json";
    const Json json{{"x", 1}};
    ASSERT_TRUE(write_json_file(path, json));
    EXPECT_EQ(content(path), dump(json));
    EXPECT_EQ(std::distance(fs::directory_iterator{path.parent_path()}, fs::directory_iterator{}), 1);
}

TEST_F(WriteJsonFile, ReplacesTheFileRatherThanWritingIntoIt) {
    const auto path = folder() / "run.json";
    ASSERT_TRUE(write_json_file(path, Json("old")));
    std::ifstream reader{path}; // holds the old file
    ASSERT_TRUE(write_json_file(path, Json("new")));
    EXPECT_EQ(content(path), "\"new\"\n");
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>{reader}, {}), "\"old\"\n");
    EXPECT_EQ(entries(), 1);
}

TEST_F(WriteJsonFile, WritesIntoWhatIsNoFile) {
    const auto path = folder() / "pipe";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    std::string read;
    std::jthread reader{[&] { read = content(path); }};
    EXPECT_TRUE(write_json_file(path, Json("new")));
    reader.join();
    EXPECT_EQ(read, "\"new\"\n");
    EXPECT_TRUE(fs::is_fifo(path));
    EXPECT_EQ(entries(), 1);
    const auto full = write_json_file("/dev/full", Json("new"));
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().kind, ErrorKind::host_lacks);
    EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(WriteJsonFile, FollowsALink) {
    ASSERT_TRUE(write_json_file(folder() / "run.json", Json("old")));
    fs::create_symlink("run.json", folder() / "link.json");
    ASSERT_TRUE(write_json_file(folder() / "link.json", Json("new")));
    EXPECT_EQ(content(folder() / "run.json"), "\"new\"\n");
    EXPECT_TRUE(fs::is_symlink(folder() / "link.json"));
}

TEST_F(WriteJsonFile, LeavesThePermissionsToTheUmask) {
    const auto path = folder() / "run.json";
    const auto before = ::umask(027);
    const auto status = write_json_file(path, Json(1));
    ::umask(before);
    ASSERT_TRUE(status);
    EXPECT_EQ(static_cast<unsigned>(fs::status(path).permissions()), 0640U);
}

TEST_F(WriteJsonFile, NamesThePathAndTheErrorOfWhatCannotBeWritten) {
    std::ofstream{folder() / "file"} << "x";
    fs::create_directory(folder() / "taken");
    std::ofstream{folder() / "taken" / "inside"} << "x";
    struct Case {
        fs::path path;
        std::string errno_name;
    };
    const std::vector<Case> cases{
        {folder() / "file" / "run.json", "ENOTDIR"},
        {folder() / "taken", "EISDIR"},
        {folder() / "", "EISDIR"},
        {folder() / std::string(300, 'x'), "ENAMETOOLONG"},
        {"/proc/nestbed/run.json", "ENOENT"},
    };
    for (const auto& [path, errno_name] : cases) {
        const auto status = write_json_file(path, Json(1));
        ASSERT_FALSE(status) << path;
        EXPECT_EQ(status.error().kind, ErrorKind::bad_input) << path;
        EXPECT_NE(status.error().asked.find(path.string()), std::string::npos) << status.error().message();
        EXPECT_NE(status.error().found.find(errno_name), std::string::npos) << status.error().message();
        EXPECT_FALSE(status.error().remedy.empty());
    }
    EXPECT_EQ(entries(), 2);
}

// The one way to a failing disk that needs no privilege: no descriptor is left to open the file with.
TEST_F(WriteJsonFile, BlamesTheHostWhereThePathIsNotAtFault) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto status = write_json_file(folder() / "run.json", Json(1));
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::host_lacks);
    EXPECT_NE(status.error().found.find("EMFILE"), std::string::npos) << status.error().message();
    EXPECT_EQ(entries(), 0);
}

// RLIMIT_FSIZE stands for a disk that fills up in the middle of the file.
TEST_F(WriteJsonFile, KeepsTheOldFileWhereTheNewOneDoesNotFit) {
    const auto path = folder() / "run.json";
    ASSERT_TRUE(write_json_file(path, Json("old")));
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto status = write_json_file(path, Json(std::string(10'000, 'x')));
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    std::signal(SIGXFSZ, ignored);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::host_lacks);
    EXPECT_EQ(content(path), "\"old\"\n");
    EXPECT_EQ(entries(), 1);
}

} // namespace
} // namespace nestbed::report
