// What /proc/cpuinfo says of the first CPU.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace nestbed::report {

struct CpuInfo {
    std::string model;           // "model name"; empty: not told
    std::string microcode;       // "0x2b000603"; empty: not told
    std::set<std::string> flags; // "svm", "x2apic", ...
};

// `sysroot` holds proc/. Empty where there is no such file.
[[nodiscard]] CpuInfo read_cpuinfo(const std::filesystem::path& sysroot);

} // namespace nestbed::report
