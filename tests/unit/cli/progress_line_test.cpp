#include "cli/progress_line.hpp"

#include <array>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/fd.hpp"

namespace nestbed::cli {
namespace {

TEST(ProgressText, EstimatesOnceThereIsSomethingToGoBy) {
    EXPECT_EQ(progress_text(0, 0), "0 %, 0 s");
    EXPECT_EQ(progress_text(0.5, 0.5), "50 %, 0 s") << "too early";
    EXPECT_EQ(progress_text(0.01, 50), "1 %, 50 s") << "too little";
    EXPECT_EQ(progress_text(0.25, 10), "25 %, 10 s, about 30 s left");
    EXPECT_EQ(progress_text(1, 40), "100 %, 40 s, about 0 s left");
}

TEST(ProgressText, StaysWithinTheWhole) {
    EXPECT_EQ(progress_text(-1, 0), "0 %, 0 s");
    EXPECT_EQ(progress_text(7, 0), "100 %, 0 s");
}

TEST(ProgressLine, SaysNothingAtFirstInAPipeNorEverWhenQuiet) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const Fd in{ends[0]};
    {
        const Fd out{ends[1]};
        for (const bool quiet : {false, true}) {
            ProgressLine line{out.get(), quiet};
            line.show("ipi.unicast", 0.5); // in a pipe a line comes every five seconds
            line.clear();
        }
    }
    char byte = 0;
    EXPECT_EQ(::read(in.get(), &byte, 1), 0);
}

} // namespace
} // namespace nestbed::cli
