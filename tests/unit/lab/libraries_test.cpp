#include "lab/libraries.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

TEST(LoadedObjects, AreThePaths) {
    const auto paths = parse_loaded_objects("\tlinux-vdso.so.1 (0x00007ffd)\n"
                                            "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n"
                                            "\tlibodd.so => /opt/a b/libodd.so (0x1)\n"
                                            "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)");
    ASSERT_TRUE(paths);
    EXPECT_THAT(*paths, testing::ElementsAre("/lib/x86_64-linux-gnu/libc.so.6", "/opt/a b/libodd.so",
                                             "/lib64/ld-linux-x86-64.so.2"));
    EXPECT_TRUE(parse_loaded_objects("usage: whatever\n")->empty());
}

TEST(LoadedObjects, OneThatIsMissingIsSaid) {
    const auto paths = parse_loaded_objects("\tlibx.so.1 => not found\n");
    ASSERT_FALSE(paths);
    EXPECT_EQ(paths.error().kind, ErrorKind::host_lacks);
    EXPECT_NE(paths.error().asked.find("libx.so.1"), std::string::npos);
}

} // namespace
} // namespace nestbed::lab
