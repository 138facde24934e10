#include "core/virtio/rate_limit.hpp"

#include <algorithm>

namespace nestbed::virtio {

namespace {

constexpr std::uint64_t ns_per_second = 1'000'000'000;

} // namespace

std::chrono::nanoseconds TokenBucket::worth(std::uint64_t tokens) const {
    return std::chrono::nanoseconds{tokens * ns_per_second / _per_second};
}

Clock::duration TokenBucket::wait(std::uint64_t tokens, Clock::time_point now) const {
    // The bucket holds what `burst` brings, less what flows in until it is full.
    const auto needed = std::min<std::chrono::nanoseconds>(worth(tokens), burst);
    return std::max(Clock::duration{0}, _full_at - now + needed - burst);
}

void TokenBucket::take(std::uint64_t tokens, Clock::time_point now) {
    if (_full_at < now) {
        _full_at = now;
        _remainder = 0;
    }
    const auto scaled = tokens * ns_per_second + _remainder;
    _full_at += std::chrono::nanoseconds{scaled / _per_second};
    _remainder = scaled % _per_second;
}

RateLimit::RateLimit(std::optional<std::uint64_t> requests_per_second,
                     std::optional<std::uint64_t> bytes_per_second) {
    if (requests_per_second)
        _requests.emplace(*requests_per_second);
    if (bytes_per_second)
        _bytes.emplace(*bytes_per_second);
}

Clock::duration RateLimit::wait(std::uint64_t bytes, Clock::time_point now) const {
    auto longest = Clock::duration{0};
    if (_requests)
        longest = std::max(longest, _requests->wait(1, now));
    if (_bytes)
        longest = std::max(longest, _bytes->wait(bytes, now));
    return longest;
}

void RateLimit::take(std::uint64_t bytes, Clock::time_point now) {
    if (_requests)
        _requests->take(1, now);
    if (_bytes)
        _bytes->take(bytes, now);
}

} // namespace nestbed::virtio
