// EXITINFO1 of an I/O exit (APM volume 2, 15.10.2, figure 15-2). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::svm::ioio {

inline constexpr std::uint64_t in = 1U << 0;
inline constexpr std::uint64_t string = 1U << 2;
inline constexpr std::uint64_t repeated = 1U << 3;
inline constexpr std::uint64_t size8 = 1U << 4;
inline constexpr std::uint64_t size16 = 1U << 5;
inline constexpr std::uint64_t size32 = 1U << 6;
inline constexpr std::uint64_t size = 7U << 4;
inline constexpr std::uint64_t address16 = 1U << 7;
inline constexpr std::uint64_t address32 = 1U << 8;
inline constexpr std::uint64_t address64 = 1U << 9;
inline constexpr std::uint64_t address = 7U << 7;
inline constexpr unsigned segment_shift = 10; // effective segment of OUTS: ES, CS, SS, DS, FS, GS
inline constexpr std::uint64_t segment = 7U << segment_shift;
inline constexpr std::uint64_t port = 0xffff'0000;

} // namespace nestbed::svm::ioio
