#include "nested/conform/builtin_baseline.hpp"

#include <cstdlib>
#include <cstring>
#include <string_view>

#include <cpuid.h>

#include "lab/lab.hpp"

// Written by nestbed_embed() in cmake/Nestbed.cmake.
extern "C" const char tcg_baseline_text[];
extern "C" const char tcg_baseline_text_end[];

extern "C" const char bochs_baseline_text[];
extern "C" const char bochs_baseline_text_end[];

namespace nestbed::conform {

Result<Baseline> tcg_baseline(const std::vector<std::string>& names) {
    const std::string_view text{&tcg_baseline_text[0],
                                static_cast<std::size_t>(&tcg_baseline_text_end[0] - &tcg_baseline_text[0])};
    return parse_baseline(text, names);
}

Result<Baseline> bochs_baseline(const std::vector<std::string>& names) {
    const std::string_view text{
        &bochs_baseline_text[0],
        static_cast<std::size_t>(&bochs_baseline_text_end[0] - &bochs_baseline_text[0])};
    return parse_baseline(text, names);
}

bool runs_on_bochs() {
    const char* const silicon = std::getenv(lab::silicon_variable);
    return silicon != nullptr && silicon == std::string_view{"intel"};
}

bool runs_on_tcg() {
    constexpr unsigned hypervisor_leaf = 0x4000'0000;
    unsigned eax = 0;
    unsigned signature[3]{};
    __cpuid(hypervisor_leaf, eax, signature[0], signature[1], signature[2]);
    return std::memcmp(&signature[0], "TCGTCGTCGTCG", sizeof signature) == 0;
}

} // namespace nestbed::conform
