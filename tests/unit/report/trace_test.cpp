#include "report/trace.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace nestbed::report {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class Trace : public testing::Test {
protected:
    Trace()
        : path{std::filesystem::temp_directory_path() / ("trace-" + std::to_string(::getpid()) + ".json")} {}
    ~Trace() override { std::filesystem::remove(path); }
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;
    Trace(Trace&&) = delete;
    Trace& operator=(Trace&&) = delete;

    [[nodiscard]] std::string text() const {
        std::ifstream file{path};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

    const std::filesystem::path path;
};

TEST_F(Trace, HasTheMembersThatTheFormatAsksFor) {
    auto trace = TraceWriter::create(path);
    ASSERT_TRUE(trace) << trace.error().message();
    trace->name_machine(0, "ipi.unicast, 4 vCPUs");
    trace->name_track({.machine = 0, .vcpu = 3}, "vCPU 3");
    trace->slice({.machine = 0, .vcpu = -1}, "boot", 1'000, 2'500'007);
    trace->instant({.machine = 0, .vcpu = 3}, "KVM_EXIT_IO", 1'002'003, {{"port", "0x3f8"}});
    trace->counter(1, "interrupts/s", 5'000'000, 12.5);
    ASSERT_TRUE(trace->close());
    EXPECT_EQ(Json::parse(text()), Json::parse(R"([
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "ipi.unicast, 4 vCPUs"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 5, "args": {"name": "vCPU 3"}},
        {"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": 5, "args": {"sort_index": 5}},
        {"ph": "X", "name": "boot", "pid": 1, "tid": 1, "ts": 1.0, "dur": 2500.007},
        {"ph": "i", "s": "t", "name": "KVM_EXIT_IO", "pid": 1, "tid": 5, "ts": 1002.003, "args": {"port": "0x3f8"}},
        {"ph": "C", "name": "interrupts/s", "pid": 2, "ts": 5000.0, "args": {"value": 12.5}}])"));
    EXPECT_EQ(trace->left_out(), 0U);
}

TEST_F(Trace, BindsBothEndsOfAnArrowToTheSlicesAroundThem) {
    auto trace = TraceWriter::create(path);
    trace->arrow_from({.machine = 0, .vcpu = 3}, "IPI", 7, 1'002'003);
    trace->arrow_to({.machine = 0, .vcpu = 0}, "IPI", 7, 1'002'999);
    ASSERT_TRUE(trace->close());
    EXPECT_EQ(Json::parse(text()), Json::parse(R"([
        {"ph": "s", "cat": "arrow", "name": "IPI", "id": 7, "pid": 1, "tid": 5, "ts": 1002.003},
        {"ph": "f", "bp": "e", "cat": "arrow", "name": "IPI", "id": 7, "pid": 1, "tid": 2, "ts": 1002.999}])"));
}

TEST_F(Trace, KeepsEveryNanosecondOfALongRun) {
    auto trace = TraceWriter::create(path);
    trace->instant({}, "late", 123'456'789'012'345'678);
    ASSERT_TRUE(trace->close());
    EXPECT_THAT(text(), HasSubstr("\"ts\":123456789012345.678}"));
}

TEST_F(Trace, EscapesWhatAGuestSaid) {
    auto trace = TraceWriter::create(path);
    const std::string name = "a\"\\\n\xff</script>";
    trace->instant({}, name, 1, {{name, name}});
    ASSERT_TRUE(trace->close());
    const auto json = Json::parse(text());
    EXPECT_EQ(json[0]["name"], "a\"\\\n\xef\xbf\xbd</script>");
    EXPECT_EQ(json[0]["args"].begin().value(), "a\"\\\n\xef\xbf\xbd</script>");
}

TEST_F(Trace, MayBeEmptyAndIsWholeWithoutClose) {
    ASSERT_TRUE(TraceWriter::create(path)->close());
    EXPECT_EQ(Json::parse(text()), Json::array());
    {
        auto trace = TraceWriter::create(path);
        trace->instant({}, "one", 1);
    }
    EXPECT_EQ(Json::parse(text()).size(), 1U);
}

// A thousand vCPUs with ten thousand exits each are a gigabyte; memory is not what they go to.
TEST_F(Trace, GoesToTheFileAsItGrows) {
    auto trace = TraceWriter::create(path);
    for (std::uint64_t i = 0; i < 10'000; ++i)
        trace->instant({.machine = 0, .vcpu = static_cast<std::int64_t>(i % 1024)}, "KVM_EXIT_HLT", i);
    const auto before = std::filesystem::file_size(path);
    ASSERT_TRUE(trace->close());
    const auto after = std::filesystem::file_size(path);
    EXPECT_GT(before, 0U);
    EXPECT_LT(after - before, 70'000U);
    EXPECT_EQ(Json::parse(text()).size(), 10'000U);
}

TEST_F(Trace, IsBounded) {
    auto trace = TraceWriter::create(path, 1'000);
    for (std::uint64_t i = 0; i < 100; ++i)
        trace->instant({}, "event", i);
    trace->name_track({}, "host"); // names go in all the same
    EXPECT_GT(trace->left_out(), 70U);
    const auto left_out = trace->left_out();
    ASSERT_TRUE(trace->close());
    EXPECT_LT(text().size(), 1'500U);
    EXPECT_THAT(text(), HasSubstr(std::to_string(left_out) + " events left out beyond 1000 bytes"));
    EXPECT_THAT(text(), HasSubstr("thread_name"));
    EXPECT_EQ(Json::parse(text()).size(), 100 - left_out + 3);
}

TEST_F(Trace, TellsOfAFullDiskAtTheEnd) {
    auto trace = TraceWriter::create("/dev/full");
    ASSERT_TRUE(trace);
    for (std::uint64_t i = 0; i < 5'000; ++i)
        trace->instant({}, "event", i);
    for (int again = 0; again < 2; ++again) {
        const auto closed = trace->close();
        ASSERT_FALSE(closed);
        EXPECT_EQ(closed.error().kind, ErrorKind::host_lacks);
        EXPECT_THAT(closed.error().message(), HasSubstr("No space left on device"));
    }
}

TEST_F(Trace, NeedsAFileThatCanBeWritten) {
    const auto trace = TraceWriter::create("/nonexistent/trace.json");
    ASSERT_FALSE(trace);
    EXPECT_EQ(trace.error().kind, ErrorKind::bad_input);
}

} // namespace
} // namespace nestbed::report
