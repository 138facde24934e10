// The little of HTTP that a scraper needs (RFC 9112).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace nestbed::report {

inline constexpr std::size_t most_request_bytes = 8192;

enum class Request {
    metrics,    // GET /metrics, with or without a query
    other_path, // GET of anything else
    other_verb, // POST, ...
    bad,        // no HTTP/1.x
};

// What a client asks for, once its whole header is there; empty while more has to come. More than
// most_request_bytes is bad.
[[nodiscard]] std::optional<Request> parse_request(std::string_view received);

// The whole answer; `metrics` is for Request::metrics alone. The connection is closed behind it.
[[nodiscard]] std::string answer_to(Request request, std::string_view metrics);

} // namespace nestbed::report
