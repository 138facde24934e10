#include "stress/footprint.hpp"

#include <atomic>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/fd.hpp"

namespace nestbed::stress {
namespace {

TEST(Footprint, SeesADescriptorAndAThread) {
    const auto before = footprint();
    ASSERT_TRUE(before) << before.error().message();
    std::atomic<bool> enough{false};
    {
        const Fd file{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        std::thread thread{[&] { enough.wait(false); }};
        const auto now = footprint();
        enough = true;
        enough.notify_all();
        thread.join();
        ASSERT_TRUE(now) << now.error().message();
        EXPECT_EQ(now->descriptors, before->descriptors + 1);
        EXPECT_EQ(now->threads, before->threads + 1);
        EXPECT_FALSE(now->within(*before));
        EXPECT_TRUE(before->within(*now));
    }
    const auto after = settled_footprint(*before);
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_TRUE(after->within(*before));
}

TEST(Footprint, DoesNotWaitForeverForWhatStays) {
    const auto before = footprint();
    ASSERT_TRUE(before);
    const Fd file{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    const auto after = settled_footprint(*before);
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_FALSE(after->within(*before));
}

} // namespace
} // namespace nestbed::stress
