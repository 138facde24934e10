// Random numbers that are the same everywhere: the standard library's distributions and std::shuffle() differ
// between implementations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace nestbed::topology {

// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014.
class SplitMix64 {
public:
    explicit SplitMix64(std::uint64_t seed) : _state{seed} {}

    [[nodiscard]] std::uint64_t next() {
        _state += 0x9e37'79b9'7f4a'7c15;
        auto mixed = _state;
        mixed = (mixed ^ mixed >> 30) * 0xbf58'476d'1ce4'e5b9;
        mixed = (mixed ^ mixed >> 27) * 0x94d0'49bb'1331'11eb;
        return mixed ^ mixed >> 31;
    }

    // From 0 to bound - 1. `bound` is small against 2^64, so that no number is visibly favoured.
    [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return next() % bound; }

private:
    std::uint64_t _state;
};

template<typename T>
void shuffle(std::vector<T>& items, SplitMix64& numbers) {
    for (auto left = items.size(); left > 1; --left)
        std::swap(items[left - 1], items[static_cast<std::size_t>(numbers.below(left))]);
}

} // namespace nestbed::topology
