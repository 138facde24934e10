#include "core/virtio/disk_spec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::virtio {
namespace {

struct GoodCase {
    const char* text;
    DiskSpec spec;
};

TEST(ParseDisk, TakesItsParts) {
    for (const auto& [text, spec] : {
             GoodCase{"file=a.img", {"a.img", false, {}, {}}},
             GoodCase{"file=/dev/sdb,ro", {"/dev/sdb", true, {}, {}}},
             GoodCase{"iops=100,bps=10M,file=a", {"a", false, 100, 10 << 20}},
             GoodCase{"file=a=b,iops=1,bps=1", {"a=b", false, 1, 1}},
             GoodCase{"file=a,,b,,,ro", {"a,b,", true, {}, {}}},
             GoodCase{"file=ro", {"ro", false, {}, {}}},
             GoodCase{"file=a,iops=1125899906842624", {"a", false, std::uint64_t{1} << 50, {}}},
         }) {
        const auto parsed = parse_disk(text);
        ASSERT_TRUE(parsed) << text << ": " << parsed.error().message();
        EXPECT_EQ(*parsed, spec) << text;
    }
}

struct BadCase {
    const char* text;
    const char* found;
    const char* remedy;
};

TEST(ParseDisk, SaysWhichPartIsWrong) {
    for (const auto& [text, found, remedy] : {
             BadCase{"", "an empty part", "write file="},
             BadCase{"ro", "no file", "write file="},
             BadCase{"file=", "file has no value", "write file="},
             BadCase{"file=a,", "an empty part", "write file="},
             BadCase{"file", "file has no value", "write file="},
             BadCase{"fil=a", "\"fil\" is unknown", "did you mean file?"},
             BadCase{"disk.img", "\"disk.img\" is unknown", "did you mean"},
             BadCase{"file=a,b", "\"b\" is unknown", "written twice"},
             BadCase{"file=a,file=b", "file is there twice", "write file="},
             BadCase{"file=a,ro,ro", "ro is there twice", "write file="},
             BadCase{"file=a,ro=1", "ro takes no value", "write file="},
             BadCase{"file=a,iops=many", "iops: not a number", "whole number"},
             BadCase{"file=a,iops=10k", "iops: not a number", "whole number"},
             BadCase{"file=a,iops=0", "iops of 0", "from 1 to"},
             BadCase{"file=a,bps=0", "bps of 0", "from 1 to"},
             BadCase{"file=a,bps=-1", "bps: not a number", "512M"},
             BadCase{"file=a,bps=2000T", "bps of", "from 1 to"},
             BadCase{"file=a,iops=99999999999999999999", "iops: not a number", "whole number"},
         }) {
        const auto parsed = parse_disk(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input);
        EXPECT_EQ(parsed.error().asked, std::string{"disk \""} + text + "\"");
        EXPECT_THAT(parsed.error().found, testing::HasSubstr(found)) << text;
        EXPECT_THAT(parsed.error().remedy, testing::HasSubstr(remedy)) << text;
    }
}

} // namespace
} // namespace nestbed::virtio
