#include "lab/frame.hpp"

#include <algorithm>

#include <boost/crc.hpp>

namespace nestbed::lab {

namespace {

constexpr std::string_view magic = "nB";
constexpr std::size_t crc_offset = 10;

void put(std::string& text, std::uint32_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i)
        text += static_cast<char>(value >> (8 * i) & 0xffU);
}

std::uint32_t get(std::string_view text, std::size_t at, std::size_t bytes) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i)
        value |= static_cast<std::uint32_t>(static_cast<unsigned char>(text[at + i])) << (8 * i);
    return value;
}

// Of a whole frame, its own field left out.
std::uint32_t crc_of(std::string_view header, std::string_view payload) {
    boost::crc_32_type crc;
    crc.process_bytes(header.data(), crc_offset);
    crc.process_bytes(payload.data(), payload.size());
    return crc.checksum();
}

bool is_known(std::uint32_t type) {
    return type >= static_cast<std::uint32_t>(FrameType::hello) &&
           type <= static_cast<std::uint32_t>(FrameType::interrupt);
}

} // namespace

std::string encode_frame(FrameType type, std::uint32_t sequence, std::string_view payload) {
    payload = payload.substr(0, max_frame_payload);
    std::string frame{magic};
    put(frame, static_cast<std::uint32_t>(type), 1);
    put(frame, 0, 1);
    put(frame, sequence, 4);
    put(frame, static_cast<std::uint32_t>(payload.size()), 2);
    put(frame, crc_of(frame, payload), 4);
    return frame.append(payload);
}

std::vector<Frame> FrameReader::take(std::string_view bytes) {
    _pending.append(bytes);
    std::vector<Frame> frames;
    std::string_view rest = _pending;
    const auto drop = [&](std::size_t count) {
        _stray += count;
        rest.remove_prefix(count);
    };
    while (true) {
        // All but a first letter of the magic at the very end can be no beginning of a frame.
        const auto start = rest.find(magic);
        if (start == std::string_view::npos) {
            drop(rest.size() - (rest.ends_with(magic[0]) ? 1 : 0));
            break;
        }
        drop(start);
        if (rest.size() < frame_header_bytes)
            break;
        const auto type = get(rest, 2, 1);
        const auto size = get(rest, 8, 2);
        if (!is_known(type) || rest[3] != 0 || size > max_frame_payload) {
            drop(1);
            continue;
        }
        if (rest.size() < frame_header_bytes + size)
            break;
        const auto payload = rest.substr(frame_header_bytes, size);
        if (get(rest, crc_offset, 4) != crc_of(rest, payload)) {
            drop(1);
            continue;
        }
        const auto sequence = get(rest, 4, 4);
        _gaps += sequence == _next_sequence ? 0 : 1;
        _next_sequence = sequence + 1;
        frames.push_back({static_cast<FrameType>(type), sequence, std::string{payload}});
        rest.remove_prefix(frame_header_bytes + size);
    }
    _pending.erase(0, _pending.size() - rest.size());
    return frames;
}

} // namespace nestbed::lab
