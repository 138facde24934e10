#include "report/kvm_module.hpp"

#include <algorithm>
#include <set>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "base/units.hpp"
#include "report/cpuinfo.hpp"
#include "topology/text_file.hpp"

namespace nestbed::report {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "kvm_";

std::vector<std::string> names_in(const fs::path& directory) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry{directory, error}, end; !error && entry != end; entry.increment(error))
        names.push_back(entry->path().filename().string());
    std::ranges::sort(names);
    return names;
}

std::vector<std::string> vendor_modules_in(const fs::path& directory) {
    auto names = names_in(directory);
    std::erase_if(names, [](const std::string& name) { return !name.starts_with(prefix); });
    return names;
}

// A module that is built in has set up its parameters even where its initialization found no use for it.
bool can_serve(const std::string& module, const std::set<std::string>& cpu_flags) {
    if (module == "kvm_intel")
        return cpu_flags.contains("vmx");
    if (module == "kvm_amd")
        return cpu_flags.contains("svm");
    return true;
}

std::string without_newline(std::string text) {
    while (text.ends_with('\n'))
        text.pop_back();
    return text;
}

} // namespace

std::string find_kvm_module(const std::filesystem::path& sysroot) {
    const auto modules = sysroot / "sys/module";
    // Who holds kvm.ko; the folder is not there where kvm is built in.
    if (const auto holders = vendor_modules_in(modules / "kvm/holders"); !holders.empty())
        return holders.front();
    // Only one may serve at a time: a second one fails to load, so a loaded one beats those built in.
    const auto candidates = vendor_modules_in(modules);
    std::error_code error;
    for (const auto& name : candidates)
        if (fs::exists(modules / name / "initstate", error))
            return name;
    const auto flags = read_cpuinfo(sysroot).flags;
    const auto serving =
        std::ranges::find_if(candidates, [&](const std::string& name) { return can_serve(name, flags); });
    return serving == candidates.end() ? std::string{} : *serving;
}

std::map<std::string, std::string> read_module_parameters(const std::filesystem::path& sysroot,
                                                          const std::string& module) {
    const auto directory = sysroot / "sys/module" / module / "parameters";
    std::map<std::string, std::string> parameters;
    for (const auto& name : names_in(directory))
        if (auto value = topology::read_text_file(directory / name, 64 * KiB))
            parameters.emplace(fmt::format("{}.{}", module, name), without_newline(std::move(*value)));
    return parameters;
}

} // namespace nestbed::report
