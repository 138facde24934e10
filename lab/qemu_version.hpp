// What is to be known of the QEMU that is here, by its version.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace nestbed::lab {

struct QemuVersion {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned micro = 0;

    auto operator<=>(const QemuVersion&) const = default;
};

[[nodiscard]] std::string to_string(const QemuVersion& version); // "8.2.2"

// From what `qemu-system-x86_64 --version` prints; nothing where that is something else.
[[nodiscard]] std::optional<QemuVersion> parse_qemu_version(std::string_view text);

// Whether TCG walks the nested page tables of an SVM guest while that guest's own paging is off, as every
// processor does while it starts (APM volume 2, 15.25.5). QEMU 7.2.0 lost that; 9.2.0 has it again, as have
// 7.2.15, 8.2.8, 9.0.4 and 9.1.1. Where it does not, no vCPU of a guest comes up by INIT and SIPI.
[[nodiscard]] bool walks_nested_tables_without_paging(const QemuVersion& version);

} // namespace nestbed::lab
