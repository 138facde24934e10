#include "lab/frame.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

std::vector<std::string> payloads(const std::vector<Frame>& frames) {
    std::vector<std::string> all;
    for (const auto& frame : frames)
        all.push_back(frame.payload);
    return all;
}

TEST(Frame, SaysWhatItWasGiven) {
    const std::string payload{"a\0nB\xff", 5};
    FrameReader reader;
    const auto frames = reader.take(encode_frame(FrameType::err, 0, payload));
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].type, FrameType::err);
    EXPECT_EQ(frames[0].sequence, 0U);
    EXPECT_EQ(frames[0].payload, payload);
    EXPECT_EQ(reader.stray_bytes(), 0U);
    EXPECT_EQ(reader.gaps(), 0U);
}

TEST(Frame, ArrivesInPiecesOfAnySize) {
    const auto line = encode_frame(FrameType::out, 0, "one") + encode_frame(FrameType::heartbeat, 1, "") +
                      encode_frame(FrameType::out, 2, std::string(max_frame_payload, 'x'));
    for (const std::size_t size : {1U, 2U, 7U, 13U, 14U, 1000U}) {
        FrameReader reader;
        std::vector<std::string> got;
        for (std::size_t at = 0; at < line.size(); at += size)
            for (auto& text : payloads(reader.take(std::string_view{line}.substr(at, size))))
                got.push_back(text);
        EXPECT_EQ(got, (std::vector<std::string>{"one", "", std::string(max_frame_payload, 'x')})) << size;
        EXPECT_EQ(reader.stray_bytes(), 0U);
    }
}

TEST(Frame, IsFoundAmongStrayBytes) {
    const auto one = encode_frame(FrameType::out, 0, "one");
    const auto two = encode_frame(FrameType::out, 1, "two");
    for (const std::string stray : {"x", "n", "nB", "nnB", "nB\x03", "[ 1.0] kernel: nB is no frame\n"}) {
        FrameReader reader;
        auto line = stray;
        line += one;
        line += stray;
        line += two;
        // What looks like a beginning may wait for its end, which the next frames bring.
        line += encode_frame(FrameType::heartbeat, 2, std::string(max_frame_payload, 'y'));
        EXPECT_EQ(payloads(reader.take(line)).size(), 3U) << stray;
        EXPECT_EQ(reader.stray_bytes(), 2 * stray.size()) << stray;
        EXPECT_EQ(reader.gaps(), 0U);
    }
}

TEST(Frame, IsNotBelievedWithAnyBitWrong) {
    const auto good = encode_frame(FrameType::file, 0, "path");
    for (std::size_t byte = 0; byte < good.size(); ++byte)
        for (unsigned bit = 0; bit < 8; ++bit) {
            auto bad = good;
            bad[byte] = static_cast<char>(static_cast<unsigned char>(bad[byte]) ^ (1U << bit));
            FrameReader reader;
            EXPECT_TRUE(reader.take(bad).empty()) << byte << '.' << bit;
        }
}

TEST(Frame, CountsGaps) {
    struct Case {
        std::vector<std::uint32_t> numbers;
        std::uint64_t gaps;
    };
    for (const auto& [numbers, gaps] : {Case{{0, 1, 2}, 0}, Case{{1}, 1}, Case{{0, 2, 3}, 1}, Case{{0, 0}, 1},
                                        Case{{0, 5, 9}, 2}, Case{{0xffffffffU, 0}, 1}}) {
        FrameReader reader;
        for (const auto number : numbers)
            EXPECT_EQ(reader.take(encode_frame(FrameType::heartbeat, number, "")).size(), 1U);
        EXPECT_EQ(reader.gaps(), gaps);
    }
}

TEST(Frame, TakesNoMoreThanItsMost) {
    FrameReader reader;
    const auto frames = reader.take(encode_frame(FrameType::out, 0, std::string(max_frame_payload + 1, 'x')));
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].payload.size(), max_frame_payload);
}

} // namespace
} // namespace nestbed::lab
