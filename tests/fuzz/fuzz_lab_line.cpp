// Any bytes on the serial line from the emulated machine, in pieces of any size.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "lab/console.hpp"
#include "lab/message.hpp"
#include "require.hpp"

using nestbed::fuzz::require;
using namespace nestbed::lab;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const std::size_t piece = data[0] + std::size_t{1};
    const std::string_view line{reinterpret_cast<const char*>(data) + 1, size - 1};
    FrameReader frames;
    Receiver messages;
    Console console;
    std::size_t taken = 0;
    for (std::size_t at = 0; at < line.size(); at += piece) {
        for (const auto& frame : frames.take(line.substr(at, piece))) {
            require(frame.payload.size() <= max_frame_payload);
            taken += frame_header_bytes + frame.payload.size();
            // A frame that was believed is one that could have been sent.
            const auto again = encode_frame(frame.type, frame.sequence, frame.payload);
            require(line.find(again) != std::string_view::npos);
        }
        require(taken + frames.stray_bytes() <= line.size());
        for (const auto& message : messages.take(line.substr(at, piece)))
            if (const auto* const exited = std::get_if<Exited>(&message))
                require(exited->code >= 0 && exited->code <= 255);
        console.take(line.substr(at, piece));
    }
    for (const auto& text : console.last_lines(1000))
        require(std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; }));
    return 0;
}
