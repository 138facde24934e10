// Where tests run: on this host, or in the lab.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "core/cpu/table.hpp"

namespace nestbed::conform {

enum class Where { automatic, host, lab };

// Of "auto", "host", "lab". Errors: bad_input.
[[nodiscard]] Result<Where> parse_where(const std::string& text);

// Whether a CPUID table shows VMX (SDM volume 2, CPUID.1:ECX[5]).
[[nodiscard]] bool shows_vmx(const core::cpu::Table& table);

struct Place {
    Where where = Where::host; // host or lab
    std::string why;           // "this host's KVM offers SVM", for people
    std::string extension;     // "svm" or "vmx": what L1 has there; the lab has either
};

// Decides `automatic` by what this host's KVM offers and the tests are about ("svm", "vmx"; empty where that
// is not said); the others stay what they are. Where a host offers neither, "svm" is what its tests will
// miss.
[[nodiscard]] Place choose_place(Where wanted, std::span<const std::string> extensions);

// What the names of the tests that these patterns can match begin with, as far as each pattern says it.
[[nodiscard]] std::vector<std::string> extensions_of(std::span<const std::string> patterns);

} // namespace nestbed::conform
