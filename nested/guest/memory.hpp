// Memory for control structures and guests: taken, never given back, since every test has a machine of its
// own.
#pragma once

#include <cstdint>

#include "core/wire/layout.hpp"

namespace nestbed::conform {

// Zeroed, page-aligned, identity-mapped. Fails the test where there is no more.
void* allocate_pages(std::uint64_t count);

template<typename T>
T& allocate() {
    return *static_cast<T*>(allocate_pages((sizeof(T) + wire::page_bytes - 1) / wire::page_bytes));
}

// Guest-physical; memory is identity-mapped.
inline std::uint64_t physical(const void* pointer) {
    return reinterpret_cast<std::uint64_t>(pointer);
}

inline void copy_page(void* to, const void* from) {
    std::uint64_t count = wire::page_bytes / 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

// First address past the memory that the guest has.
std::uint64_t memory_end();

} // namespace nestbed::conform
