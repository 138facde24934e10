#include "stress/footprint.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

namespace nestbed::stress {

namespace {

using namespace std::chrono_literals;

Result<std::size_t> entries_of(const std::string& directory) {
    std::error_code error;
    std::size_t count = 0;
    for (std::filesystem::directory_iterator entry{directory, error}, end; !error && entry != end;
         entry.increment(error))
        ++count;
    if (error)
        return fail(ErrorKind::host_lacks, "count the entries of " + directory, error.message());
    return count;
}

} // namespace

Result<Footprint> footprint() {
    const auto threads = entries_of("/proc/self/task");
    if (!threads)
        return tl::unexpected{threads.error()};
    const auto descriptors = entries_of("/proc/self/fd");
    if (!descriptors)
        return tl::unexpected{descriptors.error()};
    return Footprint{.threads = *threads, .descriptors = *descriptors};
}

Result<Footprint> settled_footprint(const Footprint& before) {
    auto now = footprint();
    for (const auto end = std::chrono::steady_clock::now() + 2s;
         now && !now->within(before) && std::chrono::steady_clock::now() < end; now = footprint())
        std::this_thread::sleep_for(10ms);
    return now;
}

} // namespace nestbed::stress
