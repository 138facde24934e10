#include "report/cpuinfo.hpp"

#include <fstream>
#include <sstream>
#include <string_view>

namespace nestbed::report {

namespace {

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blanks = " \t\r";
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(blanks) + 1 - first);
}

} // namespace

CpuInfo read_cpuinfo(const std::filesystem::path& sysroot) {
    CpuInfo info;
    std::ifstream file{sysroot / "proc/cpuinfo"};
    // An empty line ends a CPU, and the file has some kilobytes for each.
    for (std::string line; std::getline(file, line) && !line.empty();) {
        const auto colon = line.find(':');
        if (colon == std::string::npos)
            continue;
        const auto key = trimmed(std::string_view{line}.substr(0, colon));
        const std::string value{trimmed(std::string_view{line}.substr(colon + 1))};
        if (key == "model name") {
            info.model = value;
        } else if (key == "microcode") {
            info.microcode = value;
        } else if (key == "flags") {
            std::istringstream words{value};
            for (std::string flag; words >> flag;)
                info.flags.insert(flag);
        }
    }
    return info;
}

} // namespace nestbed::report
