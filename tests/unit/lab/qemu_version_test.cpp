#include "lab/qemu_version.hpp"

#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

TEST(QemuVersion, IsReadFromWhatQemuPrints) {
    EXPECT_EQ(parse_qemu_version("QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.10)\nCopyright"),
              (QemuVersion{8, 2, 2}));
    EXPECT_EQ(parse_qemu_version("QEMU emulator version 10.0.2"), (QemuVersion{10, 0, 2}));
    EXPECT_EQ(to_string({10, 0, 2}), "10.0.2");
    for (const auto* const text : {"", "QEMU", "version ", "version 8", "version 8.2", "version 8.2.",
                                   "version x.y.z", "version 99999999999.1.1"})
        EXPECT_FALSE(parse_qemu_version(text)) << text;
}

TEST(QemuVersion, KnowsWhichLoseGuestsWithoutPaging) {
    for (const auto& version :
         {QemuVersion{7, 2, 0}, {7, 2, 14}, {8, 0, 0}, {8, 1, 9}, {8, 2, 2}, {8, 2, 7}, {9, 0, 3}, {9, 1, 0}})
        EXPECT_FALSE(walks_nested_tables_without_paging(version)) << to_string(version);
    for (const auto& version : {QemuVersion{6, 2, 0},
                                {7, 1, 0},
                                {7, 2, 15},
                                {7, 2, 22},
                                {8, 2, 8},
                                {9, 0, 4},
                                {9, 1, 1},
                                {9, 2, 0},
                                {10, 0, 2},
                                {11, 0, 0}})
        EXPECT_TRUE(walks_nested_tables_without_paging(version)) << to_string(version);
}

} // namespace
} // namespace nestbed::lab
