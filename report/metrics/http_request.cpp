#include "report/metrics/http_request.hpp"

#include <fmt/format.h>

#include "report/openmetrics.hpp"

namespace nestbed::report {

namespace {

std::string answer(std::string_view status, std::string_view type, std::string_view body,
                   std::string_view more = {}) {
    return fmt::format(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{}", status,
        type, body.size(), more, body);
}

} // namespace

std::optional<Request> parse_request(std::string_view received) {
    if (received.size() > most_request_bytes)
        return Request::bad;
    if (received.find("\r\n\r\n") == std::string_view::npos)
        return std::nullopt;
    const auto line = received.substr(0, received.find("\r\n"));
    const auto first = line.find(' ');
    const auto second = first == std::string_view::npos ? first : line.find(' ', first + 1);
    if (second == std::string_view::npos)
        return Request::bad;
    const auto verb = line.substr(0, first), version = line.substr(second + 1);
    auto path = line.substr(first + 1, second - first - 1);
    if (version != "HTTP/1.1" && version != "HTTP/1.0")
        return Request::bad;
    if (verb != "GET")
        return Request::other_verb;
    path = path.substr(0, path.find('?'));
    return path == "/metrics" ? Request::metrics : Request::other_path;
}

std::string answer_to(Request request, std::string_view metrics) {
    constexpr std::string_view text = "text/plain; charset=utf-8";
    switch (request) {
    case Request::metrics:
        return answer("200 OK", openmetrics_content_type, metrics);
    case Request::other_path:
        return answer("404 Not Found", text, "There is /metrics alone.\n");
    case Request::other_verb:
        return answer("405 Method Not Allowed", text, "GET alone.\n", "Allow: GET\r\n");
    case Request::bad:
        break;
    }
    return answer("400 Bad Request", text, "No HTTP/1.1.\n");
}

} // namespace nestbed::report
