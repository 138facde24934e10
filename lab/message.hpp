// What the inside of the emulated machine tells the outside, and how it becomes frames.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.hpp"
#include "lab/frame.hpp"

namespace nestbed::lab {

struct Hello {
    std::string kernel; // its release
};
struct Heartbeat {};
struct Output {
    bool is_stderr = false;
    std::string bytes;
};
struct ResultFile {
    std::string path; // as the inside says; not to be believed
    std::string bytes;
};
struct Failed {
    Error error;
};
struct Exited {
    int code = 0;
};
using Message = std::variant<Hello, Heartbeat, Output, ResultFile, Failed, Exited>;

// Numbers the frames of one sender.
class Sender {
public:
    // The frames of a message, to be written one after the other.
    [[nodiscard]] std::string encode(const Message& message);
    [[nodiscard]] std::string encode_interrupt() { return frame(FrameType::interrupt, {}); }

private:
    [[nodiscard]] std::string frame(FrameType type, std::string_view payload);
    [[nodiscard]] std::string pieces(FrameType type, std::string_view bytes);

    std::uint32_t _sequence = 0;
};

inline constexpr std::size_t max_result_file_bytes = std::size_t{256} << 20U;
inline constexpr std::size_t max_result_bytes = std::size_t{512} << 20U; // all files of a run

// Puts messages together from bytes that anybody may have written. Files that are larger than the limits, or
// of which a frame is missing, are dropped and counted.
class Receiver {
public:
    [[nodiscard]] std::vector<Message> take(std::string_view bytes);

    [[nodiscard]] std::uint64_t gaps() const noexcept { return _frames.gaps(); }
    [[nodiscard]] std::uint64_t dropped_files() const noexcept { return _dropped_files; }

private:
    [[nodiscard]] std::optional<Message> accept(Frame frame);
    void begin_file(std::string path);
    void add_to_file(std::string_view bytes);
    [[nodiscard]] std::optional<Message> end_file(std::string_view size);

    FrameReader _frames;
    std::optional<ResultFile> _file;
    std::size_t _result_bytes = 0;
    std::uint64_t _dropped_files = 0;
};

} // namespace nestbed::lab
