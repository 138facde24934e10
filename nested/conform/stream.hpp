// How a run of the suite inside an emulated machine tells the outside what happens: one JSON object per line.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "report/run_result.hpp"

namespace nestbed::conform {

[[nodiscard]] std::string started_line(std::string_view test);
[[nodiscard]] std::string result_line(const report::CheckResult& result);

// One of the two.
struct StreamEvent {
    std::string started; // name of a test; empty where it is a result
    std::optional<report::CheckResult> result;
};

// Puts lines together from bytes as they come. What is no event is passed over: the emulated machine is the
// thing under test, and its words are not trusted.
class StreamReader {
public:
    explicit StreamReader(std::function<void(StreamEvent)> on_event) : _on_event{std::move(on_event)} {}
    void feed(std::string_view bytes);

private:
    std::function<void(StreamEvent)> _on_event;
    std::string _line;
    bool _too_long = false;
};

} // namespace nestbed::conform
