// SVM's features by name: what a test needs, what KVM offers, what a profile takes away.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpu/table.hpp"

namespace nestbed::svm {

// A bit of CPUID Fn8000_000A EDX (APM volume 3, appendix E.4.9).
struct Feature {
    std::string_view name; // as Linux spells it in /proc/cpuinfo, where it does
    unsigned bit;
    std::string_view title;
};

[[nodiscard]] std::span<const Feature> features();
// Null where no feature has that name.
[[nodiscard]] const Feature* find_feature(std::string_view name);

// What leaf 0x8000000A says besides features. Zeros where the table shows no SVM.
struct Numbers {
    std::uint32_t revision = 0;
    std::uint32_t asids = 0;
};
[[nodiscard]] Numbers shown_numbers(const core::cpu::Table& table);

// What a CPUID table shows; "svm" itself first. Empty where it shows no SVM.
[[nodiscard]] std::vector<std::string_view> shown_features(const core::cpu::Table& table);

} // namespace nestbed::svm
