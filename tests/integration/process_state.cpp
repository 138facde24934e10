#include "process_state.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

namespace nestbed::test {

namespace {

constexpr int most_looks = 500;
constexpr std::chrono::milliseconds between_looks{10};

std::size_t own_threads() {
    std::size_t count = 0;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
        std::string name;
        std::getline(std::ifstream{task.path() / "comm"}, name);
        // Since Linux 6.12 "kvm-nx-lpage-recovery" is a thread of the process that made the VM.
        count += name.starts_with("kvm-") ? 0U : 1U;
    }
    return count;
}

std::size_t open_descriptors() {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{"/proc/self/fd"},
                                                  std::filesystem::directory_iterator{}));
}

} // namespace

ProcessState process_state() {
    return {.threads = own_threads(), .descriptors = open_descriptors()};
}

ProcessState settled(const ProcessState& expected) {
    auto state = process_state();
    for (int i = 0; i < most_looks && state != expected; ++i) {
        std::this_thread::sleep_for(between_looks);
        state = process_state();
    }
    return state;
}

std::size_t settled_threads(std::size_t expected) {
    auto threads = own_threads();
    for (int i = 0; i < most_looks && threads != expected; ++i) {
        std::this_thread::sleep_for(between_looks);
        threads = own_threads();
    }
    return threads;
}

std::ostream& operator<<(std::ostream& out, const ProcessState& state) {
    return out << state.threads << " threads, " << state.descriptors << " descriptors";
}

} // namespace nestbed::test
