// Frames on a serial line: bytes that may be lost or joined by stray ones still come out as whole messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nestbed::lab {

// What a frame carries. The values are on the line; keep them.
enum class FrameType : std::uint8_t {
    hello = 1,     // the inside is up; the kernel's release
    heartbeat = 2, // once a second, empty
    out = 3,       // of the command's stdout
    err = 4,       // of its stderr
    file = 5,      // a result file begins: its absolute path
    file_data = 6,
    file_end = 7,   // the file's size in decimal
    failed = 8,     // the inside could not start the command: an Error as JSON
    exit = 9,       // the command's exit code in decimal; the last frame
    interrupt = 10, // to the inside: SIGINT for the command
};

struct Frame {
    FrameType type = FrameType::heartbeat;
    std::uint32_t sequence = 0; // of the sender, from 0; a gap means that frames were lost
    std::string payload;        // bytes
};

inline constexpr std::size_t frame_header_bytes = 14;
inline constexpr std::size_t max_frame_payload = 4096;

// Header: "nB", type, 0, sequence (4), payload size (2), CRC-32 of all else (4), little-endian; then the
// payload, of which at most max_frame_payload bytes are taken.
[[nodiscard]] std::string encode_frame(FrameType type, std::uint32_t sequence, std::string_view payload);

// Finds the frames in what arrives. Holds no more than one frame's bytes between two calls.
class FrameReader {
public:
    [[nodiscard]] std::vector<Frame> take(std::string_view bytes);

    // Bytes so far that belonged to no frame.
    [[nodiscard]] std::uint64_t stray_bytes() const noexcept { return _stray; }
    // How often a frame did not have the number after the one before it: something between them was lost.
    [[nodiscard]] std::uint64_t gaps() const noexcept { return _gaps; }

private:
    std::string _pending;
    std::uint64_t _stray = 0;
    std::uint64_t _gaps = 0;
    std::uint32_t _next_sequence = 0;
};

} // namespace nestbed::lab
