// Token buckets: how much may pass, as a function of the time that it is told.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace nestbed::virtio {

using Clock = std::chrono::steady_clock;

// At most `per_second` tokens a second in the long run. After idle time a burst passes at once: as much as a
// tenth of a second brings. What costs more than a burst passes when the bucket is full, and the rest is
// owed.
class TokenBucket {
public:
    static constexpr std::chrono::milliseconds burst{100};

    // `per_second` at least 1.
    explicit TokenBucket(std::uint64_t per_second) : _per_second{per_second} {}

    // Zero: `tokens` may pass at `now`. Otherwise how long until they may.
    [[nodiscard]] Clock::duration wait(std::uint64_t tokens, Clock::time_point now) const;
    // Takes them; at most 2^33, and only when they need not wait.
    void take(std::uint64_t tokens, Clock::time_point now);

private:
    [[nodiscard]] std::chrono::nanoseconds worth(std::uint64_t tokens) const;

    std::uint64_t _per_second;
    Clock::time_point _full_at{}; // when the bucket is full if nothing more is taken
    // What integer nanoseconds cannot tell, in units of 1/per_second ns; else small requests at high rates
    // would cost noticeably less than they should.
    std::uint64_t _remainder = 0;
};

// Requests and bytes at once; none where there is no limit.
class RateLimit {
public:
    RateLimit(std::optional<std::uint64_t> requests_per_second,
              std::optional<std::uint64_t> bytes_per_second);

    // For one request of so many bytes.
    [[nodiscard]] Clock::duration wait(std::uint64_t bytes, Clock::time_point now) const;
    void take(std::uint64_t bytes, Clock::time_point now);

private:
    std::optional<TokenBucket> _requests;
    std::optional<TokenBucket> _bytes;
};

} // namespace nestbed::virtio
