#include "core/boot/free_memory.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::boot {
namespace {

using testing::HasSubstr;

// Usable: 0 to 0x9fc00, 1 to 3 MiB over two nodes, 4 GiB to 4 GiB + 1 MiB.
const std::vector<RamRange> ram{{0, 2 * MiB, 0}, {2 * MiB, MiB, 1}, {4 * GiB, MiB, 1}};
constexpr Window everywhere{0, ~std::uint64_t{0}};

FreeMemory memory() {
    return {ram, e820_map(ram, {})};
}

TEST(FreeMemory, LiesInRamThatIsUsable) {
    const auto free = memory();
    struct Case {
        Extent extent;
        bool is_free;
    };
    for (const auto& [extent, is_free] :
         {Case{{0, 0x9fc00}, true}, Case{{0, 0x9fc01}, false}, Case{{0xf0000, 16}, false},
          Case{{MiB - 1, 1}, false}, Case{{MiB, 2 * MiB}, true}, Case{{MiB, 2 * MiB + 1}, false},
          Case{{3 * MiB, 1}, false}, Case{{4 * GiB, MiB}, true}, Case{{4 * GiB, ~std::uint64_t{0}}, false},
          Case{{~std::uint64_t{0}, 1}, false}})
        EXPECT_EQ(free.is_free(extent), is_free) << std::hex << extent.address << '+' << extent.bytes;
    // What a map calls usable is of no use without RAM behind it.
    const std::vector<E820Entry> lie{{0, 8 * GiB, E820Type::usable}};
    EXPECT_FALSE((FreeMemory{ram, lie}.is_free({3 * MiB, 1})));
}

TEST(FreeMemory, IsGivenAwayOnce) {
    auto free = memory();
    ASSERT_TRUE(free.take({MiB + 4096, 4096}, "the kernel"));
    EXPECT_FALSE(free.is_free({MiB + 4096, 1}));
    EXPECT_TRUE(free.is_free({MiB, 4096}));
    EXPECT_TRUE(free.is_free({MiB + 8192, MiB}));
    for (const auto& extent :
         {Extent{MiB + 8191, 1}, Extent{MiB, 4097}, Extent{MiB, MiB}, Extent{MiB + 5000, 10}}) {
        const auto taken = free.take(extent, "another");
        ASSERT_FALSE(taken);
        EXPECT_EQ(taken.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(taken.error().asked, HasSubstr("another"));
        EXPECT_THAT(taken.error().found, HasSubstr("the kernel lies at 0x101000 to 0x101fff"));
    }
    EXPECT_TRUE(free.take({MiB, 4096}, "before"));
    EXPECT_TRUE(free.take({MiB + 8192, 2 * MiB - 8192}, "after"));
    EXPECT_TRUE(free.take({0xa0000, 0}, "nothing"));
    const auto taken = free.taken();
    ASSERT_EQ(taken.size(), 3U) << "ascending";
    EXPECT_EQ(taken[0].address, MiB);
    EXPECT_EQ(taken[1].address, MiB + 4096);
    EXPECT_EQ(taken[2].address, MiB + 8192);
}

TEST(FreeMemory, RefusalsSayWhy) {
    auto free = memory();
    struct Case {
        Extent extent;
        std::string complaint;
    };
    for (const auto& [extent, complaint] :
         {Case{{0x9f000, 0x1000}, "not all of that is usable RAM"},
          Case{{3 * MiB - 1, 2}, "not all of that is usable RAM"},
          Case{{5 * GiB, 1}, "free RAM ends at 0x100100000; use a larger --memory"},
          Case{{4 * GiB, 2 * MiB}, "free RAM ends at 0x100100000"}, Case{{~std::uint64_t{0}, 1}, "wraps"},
          Case{{~std::uint64_t{0} - 1, 3}, "wraps"}, Case{{MiB, ~std::uint64_t{0}}, "wraps"}}) {
        const auto taken = free.take(extent, "it");
        ASSERT_FALSE(taken) << std::hex << extent.address;
        EXPECT_THAT(taken.error().message(), HasSubstr(complaint));
    }
}

TEST(FreeMemory, LowestAndHighestStayInTheWindow) {
    auto free = memory();
    EXPECT_EQ(free.take_lowest(100, 1, {0x1000, 0xa0000}, "a"), 0x1000U);
    EXPECT_EQ(free.take_lowest(100, 4096, {0x1000, 0xa0000}, "b"), 0x2000U);
    EXPECT_EQ(free.take_lowest(100, 1, {0x1000, 0xa0000}, "c"), 0x1064U) << "the gap";
    EXPECT_EQ(free.take_highest(100, 1, {0x1000, 0xa0000}, "d"), 0x9fc00U - 100);
    EXPECT_EQ(free.take_highest(100, 4096, {0x1000, 0xa0000}, "e"), 0x9f000U);
    EXPECT_EQ(free.take_highest(MiB, 4096, everywhere, "f"), 4 * GiB);
    EXPECT_EQ(free.take_highest(MiB, 2 * MiB, everywhere, "g"), 2 * MiB);
    EXPECT_EQ(free.take_lowest(MiB, 2 * MiB, everywhere, "h"), std::nullopt);
    EXPECT_EQ(free.take_lowest(MiB, 1, everywhere, "i"), MiB) << "across no node's border";
    EXPECT_EQ(free.take_highest(1, 1, {MiB, 8 * GiB}, "j"), std::nullopt) << "all gone";
    EXPECT_EQ(free.take_lowest(1, std::uint64_t{1} << 63, {1, ~std::uint64_t{0}}, "k"), std::nullopt);
    EXPECT_EQ(free.take_lowest(1, 1, {5, 5}, "l"), std::nullopt);
}

TEST(FreeMemory, KnowsItsLargestStretch) {
    auto free = memory();
    EXPECT_EQ(free.largest(everywhere), 2 * MiB);
    EXPECT_EQ(free.largest({0, MiB}), 0x9fc00U);
    EXPECT_EQ(free.largest({0x9fc00, MiB}), 0U);
    ASSERT_TRUE(free.take({2 * MiB, 4096}, "it"));
    EXPECT_EQ(free.largest(everywhere), MiB);
}

} // namespace
} // namespace nestbed::boot
