// What KVM_GET_SUPPORTED_CPUID answers on hosts of several kinds, cut down to the leaves that matter here.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "core/cpu/table.hpp"

namespace nestbed::core::cpu::test {

struct HostTable {
    std::string name;
    Vendor vendor = Vendor::other;
    Table table;
};

// NOLINTNEXTLINE(readability-identifier-naming): GoogleTest looks for this name.
inline void PrintTo(const HostTable& host, std::ostream* out) {
    *out << host.name;
}

// Every table whose `vendor` is one of the AMD family's has SVM, every other one has VMX.
[[nodiscard]] const std::vector<HostTable>& all_hosts();

// The one with this name.
[[nodiscard]] const HostTable& host_named(const std::string& name);

} // namespace nestbed::core::cpu::test
