#include "cli/typing.hpp"

#include <array>
#include <string>
#include <string_view>

#include <boost/fiber/operations.hpp>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/fd.hpp"

namespace nestbed::cli {
namespace {

std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

EscapeKeys::Typed type(EscapeKeys& keys, std::string_view text) {
    return keys.take(std::as_bytes(std::span{text.data(), text.size()}));
}

TEST(EscapeKeys, AreOursAndAllElseIsTheGuests) {
    struct Case {
        std::string_view typed;
        std::string_view for_guest;
        bool end;
    };
    for (const auto& [typed, for_guest, end] :
         {Case{"ls\r", "ls\r", false}, Case{"\x03", "\x03", false}, Case{"a\x01x", "a", true},
          Case{"\x01\x01", "\x01", false}, Case{"\x01y", "", false}, Case{"x", "x", false},
          Case{"\x01\x01x", "\x01x", false}}) {
        EscapeKeys keys;
        const auto got = type(keys, typed);
        EXPECT_EQ(text_of(got.for_guest), for_guest) << typed;
        EXPECT_EQ(got.end, end) << typed;
    }
}

TEST(EscapeKeys, MayComeInTwoParts) {
    EscapeKeys keys;
    EXPECT_EQ(text_of(type(keys, "a\x01").for_guest), "a");
    EXPECT_TRUE(type(keys, "x").end);
    EXPECT_FALSE(type(keys, "x").end);
}

// The reader takes 3 bytes at a time, as a full queue does.
TEST(Typing, APipeIsPassedOnToItsEndAndInOrder) {
    auto supervisor = supervise::Supervisor::create();
    ASSERT_TRUE(supervisor) << supervisor.error().message();
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const Fd out{ends[0]};
    Fd in{ends[1]};
    std::string heard;
    const auto typing = Typing::start(out.get(), **supervisor, [&](std::span<const std::byte> bytes) {
        const auto taken = std::min<std::size_t>(bytes.size(), 3);
        heard.append(reinterpret_cast<const char*>(bytes.data()), taken);
        (*supervisor)->change();
        return taken;
    });
    ASSERT_TRUE(typing);
    ASSERT_EQ(::write(in.get(), "0123456789", 10), 10);
    EXPECT_TRUE((*supervisor)
                    ->await([&] { return heard == "0123456789"; },
                            supervise::Clock::now() + std::chrono::seconds{20}, "hear it"));
    ASSERT_EQ(::write(in.get(), "ab\x01x", 4), 4);
    const auto ended =
        (*supervisor)->await([] { return false; }, supervise::Clock::now() + std::chrono::seconds{20}, "end");
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().kind, ErrorKind::cancelled);
    EXPECT_EQ(heard, "0123456789ab");
}

TEST(Typing, NothingIsReadFromWhatNobodyTypesInto) {
    auto supervisor = supervise::Supervisor::create();
    ASSERT_TRUE(supervisor) << supervisor.error().message();
    const Fd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    EXPECT_FALSE(Typing::start(null.get(), **supervisor, [](auto bytes) { return bytes.size(); }));
    EXPECT_FALSE(Typing::start(-1, **supervisor, [](auto bytes) { return bytes.size(); }));
}

} // namespace
} // namespace nestbed::cli
