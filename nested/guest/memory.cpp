#include "nested/guest/memory.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/check.hpp"

namespace nestbed::conform {

namespace {
std::uint64_t pages_taken; // shared by all vCPUs
} // namespace

void* allocate_pages(std::uint64_t count) {
    const auto& header = guest::header();
    const auto first =
        guest::job_argument(nested::wire::reports) + header.vcpus * sizeof(nested::wire::Report);
    const auto room = (header.scratch + header.scratch_bytes - first) / wire::page_bytes;
    const auto taken = guest::add(pages_taken, count);
    if (taken + count > room) {
        expect(false, Text{"the test finds memory: ", room, " pages are all there is"});
        guest::halt_for_ever(); // found by the deadline, with the failure above as its reason
    }
    return guest::pointer_to<void>(first + taken * wire::page_bytes);
}

std::uint64_t memory_end() {
    const auto& header = guest::header();
    return header.scratch + header.scratch_bytes;
}

} // namespace nestbed::conform
