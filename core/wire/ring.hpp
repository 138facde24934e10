// Text and records from the guest, many writers and one reader. Compiles freestanding.
//
// A writer takes a ticket from `head` while the reader is less than a whole ring behind; the ticket's slot is
// then its own. Where the reader is too slow the record is dropped and counted: the guest never waits for the
// host.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestbed::wire {

inline constexpr std::size_t record_text_bytes = 240;
inline constexpr std::uint32_t ring_slots = 1024;

enum class RecordKind : std::uint32_t {
    log = 1, // text, UTF-8, not terminated
};

struct alignas(256) Record {
    std::uint64_t ready; // guest, written last: ticket + 1 once the record is complete
    std::uint32_t vcpu : 24;
    std::uint32_t kind : 8; // RecordKind
    std::uint32_t length;   // bytes of text
    char text[record_text_bytes];
};
static_assert(sizeof(Record) == 256);

struct Ring {
    std::uint64_t head; // guest: next ticket
    std::uint64_t dropped;
    alignas(64) std::uint64_t tail; // host: tickets below it have been read
    Record slots[ring_slots];
};

} // namespace nestbed::wire
