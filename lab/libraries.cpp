#include "lab/libraries.hpp"

#include <string>

#include "lab/process.hpp"

namespace nestbed::lab {

namespace {

constexpr std::chrono::seconds patience{30};

} // namespace

Result<std::vector<std::filesystem::path>> parse_loaded_objects(std::string_view text) {
    // "\tlibc.so.6 => /lib/libc.so.6 (0x7f...)", "\t/lib64/ld-linux-x86-64.so.2 (0x7f...)",
    // "\tlibx.so => not found", "\tlinux-vdso.so.1 (0x7f...)"
    std::vector<std::filesystem::path> paths;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        auto line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const auto name = line.substr(std::min(line.find_first_not_of(" \t"), line.size()));
        const auto arrow = name.find(" => ");
        auto path = arrow == std::string_view::npos ? name : name.substr(arrow + 4);
        if (arrow != std::string_view::npos && path.starts_with("not found"))
            return fail(ErrorKind::host_lacks,
                        "find the shared library " + std::string{name.substr(0, arrow)},
                        "the loader does not find it", "install it, or name its folder in LD_LIBRARY_PATH");
        path = path.substr(0, path.rfind(" (0x"));
        if (path.starts_with('/'))
            paths.emplace_back(path);
    }
    return paths;
}

Result<std::vector<std::filesystem::path>> libraries_of(const std::filesystem::path& program,
                                                        supervise::Supervisor& supervisor) {
    const auto traced = run_to_end({.arguments = {program.string(), "--version"},
                                    .folder = {},
                                    .environment = {{"LD_TRACE_LOADED_OBJECTS", "1"}},
                                    .descriptors = {}},
                                   supervisor, supervise::Clock::now() + patience);
    if (!traced)
        return tl::unexpected{traced.error()};
    if (traced->exit_code != 0)
        return fail(ErrorKind::host_lacks, "list the shared libraries of " + program.string(),
                    traced->err.empty() ? "the loader failed" : traced->err);
    return parse_loaded_objects(traced->out);
}

} // namespace nestbed::lab
