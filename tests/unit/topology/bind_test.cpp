#include "topology/bind.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "topology/host.hpp"
#include "topology/kernel_numa.hpp"
#include "topology/verify.hpp"

namespace nestbed::topology {
namespace {

// In a thread of its own, so that the test's thread stays where it is.
template<typename Body>
void in_thread(Body body) {
    std::thread{body}.join();
}

TEST(PinThisThread, IsSeenByTheKernel) {
    const auto allowed = read_affinity(0);
    ASSERT_TRUE(allowed);
    for (const auto pu : *allowed)
        in_thread([pu] {
            const std::vector<std::uint32_t> pus{pu};
            const auto pinned = pin_this_thread(pus);
            ASSERT_TRUE(pinned) << pinned.error().message();
            EXPECT_EQ(read_affinity(0), pus);
        });
    EXPECT_EQ(read_affinity(0), allowed) << "other threads stay where they were";
}

TEST(PinThisThread, NoPusLeaveItAsItIs) {
    in_thread([] {
        const auto before = read_affinity(0);
        EXPECT_TRUE(pin_this_thread({}));
        EXPECT_EQ(read_affinity(0), before);
    });
}

TEST(PinThisThread, RefusesPusThatAreNotThere) {
    for (const std::uint32_t pu : {5000U, max_pu_index, max_pu_index + 1, ~0U})
        in_thread([pu] {
            const std::vector<std::uint32_t> pus{pu};
            const auto pinned = pin_this_thread(pus);
            ASSERT_FALSE(pinned) << pu;
            EXPECT_EQ(pinned.error().kind, ErrorKind::host_lacks);
            EXPECT_THAT(pinned.error().asked, testing::HasSubstr(std::to_string(pu)));
        });
}

class MappedMemory : public testing::Test {
protected:
    static constexpr std::size_t page = 4096;
    static constexpr std::size_t bytes = 64 * page;

    void SetUp() override {
        void* const mapped =
            ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(mapped, MAP_FAILED);
        // Or one huge page would make neighbours present.
        ASSERT_EQ(::madvise(mapped, bytes, MADV_NOHUGEPAGE), 0);
        start = static_cast<std::byte*>(mapped);
    }
    void TearDown() override { ::munmap(start, bytes); }

    std::byte* start = nullptr;
};

TEST_F(MappedMemory, BoundAndPrefaultedPagesAreOnTheirNode) {
    const auto host = discover("auto");
    ASSERT_TRUE(host);
    for (const auto& node : host->nodes) {
        if (!node.allowed || node.memory_bytes == 0)
            continue;
        const auto bound = bind_memory(start, bytes, node.os_index);
        ASSERT_TRUE(bound) << bound.error().message();
        ASSERT_TRUE(prefault(start, bytes, page));
        const auto seen = observe_memory(0, start, bytes, page);
        ASSERT_TRUE(seen) << seen.error().message();
        EXPECT_EQ(seen->pages,
                  (std::map<int, std::uint64_t>{{static_cast<int>(node.os_index), bytes / page}}));
        ASSERT_EQ(::madvise(start, bytes, MADV_DONTNEED), 0);
    }
}

TEST_F(MappedMemory, BindRefusesNodesThatAreNotThere) {
    for (const std::uint32_t node : {1023U, 4096U, ~0U}) {
        const auto bound = bind_memory(start, bytes, node);
        ASSERT_FALSE(bound) << node;
        EXPECT_EQ(bound.error().kind, ErrorKind::host_lacks);
        EXPECT_THAT(bound.error().asked, testing::HasSubstr(std::to_string(node)));
    }
}

TEST_F(MappedMemory, PrefaultKeepsWhatIsThere) {
    start[page] = std::byte{42};
    ASSERT_TRUE(prefault(start, bytes, page));
    EXPECT_EQ(start[page], std::byte{42});
    EXPECT_TRUE(prefault(start, 0, page));
}

TEST_F(MappedMemory, PrefaultTellsOfMemoryThatCannotBeHad) {
    ASSERT_EQ(::mprotect(start, bytes, PROT_NONE), 0);
    const auto status = prefault(start, bytes, page);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::host_lacks);
    ASSERT_EQ(::mprotect(start, bytes, PROT_READ | PROT_WRITE), 0);
}

} // namespace
} // namespace nestbed::topology
