// Instructions that C++ has no name for. General registers only: on hosts that interpret ring 0, anything
// else is not understood. For the same reason there is no MFENCE, LFENCE or RDTSCP here; locked instructions
// order memory.
#pragma once

#include <cstdint>

namespace nestbed::guest {

inline std::uint64_t rdmsr(std::uint32_t index) {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index) : "memory");
    return std::uint64_t{high} << 32 | low;
}

inline void wrmsr(std::uint32_t index, std::uint64_t value) {
    asm volatile("wrmsr"
                 :
                 : "c"(index), "a"(static_cast<std::uint32_t>(value)),
                   "d"(static_cast<std::uint32_t>(value >> 32))
                 : "memory");
}

inline std::uint64_t rdtsc() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return std::uint64_t{high} << 32 | low;
}

inline void out32(std::uint16_t port, std::uint32_t value) {
    asm volatile("outl %0, %1" : : "a"(value), "d"(port) : "memory");
}

inline std::uint32_t in32(std::uint16_t port) {
    std::uint32_t value = 0;
    asm volatile("inl %1, %0" : "=a"(value) : "d"(port) : "memory");
    return value;
}

struct CpuidRegisters {
    std::uint32_t eax, ebx, ecx, edx;
};

inline CpuidRegisters cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    CpuidRegisters r{};
    asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

inline void disable_interrupts() {
    asm volatile("cli" : : : "memory");
}
inline void enable_interrupts() {
    asm volatile("sti" : : : "memory");
}
// No interrupt is taken between the two; in vectors.S.
extern "C" void enable_interrupts_and_halt();
inline void pause() {
    asm volatile("pause" : : : "memory");
}
[[noreturn]] inline void halt_for_ever() {
    for (;;)
        asm volatile("cli; hlt" : : : "memory");
}

template<int N>
std::uint64_t control_register() {
    std::uint64_t value = 0;
    asm volatile("mov %%cr%c1, %0" : "=r"(value) : "i"(N));
    return value;
}

// Atomics across vCPUs and with the host.
template<typename T>
T load(const T& value) {
    return __atomic_load_n(&value, __ATOMIC_ACQUIRE);
}
template<typename T>
void store(T& to, T value) {
    __atomic_store_n(&to, value, __ATOMIC_RELEASE);
}
// Returns the value before.
template<typename T>
T add(T& to, T value) {
    return __atomic_fetch_add(&to, value, __ATOMIC_SEQ_CST);
}
template<typename T>
T exchange(T& to, T value) {
    return __atomic_exchange_n(&to, value, __ATOMIC_SEQ_CST);
}
// True where `to` was `expected` and now is `desired`.
template<typename T>
bool compare_exchange(T& to, T expected, T desired) {
    return __atomic_compare_exchange_n(&to, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

} // namespace nestbed::guest
