#include "lab/initramfs.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>

#include "base/units.hpp"
#include "lab/libraries.hpp"
#include "lab/process.hpp"

namespace nestbed::lab {

namespace fs = std::filesystem;

namespace {

// Part of the keys: what an older version wrote is another thing.
constexpr const char* format_version = "2\n";

// The program without what only a debugger reads, most of its bytes, each of which emulated code would copy;
// the program itself where there is no strip(1).
fs::path without_debug_information(const fs::path& program, const fs::path& target,
                                   supervise::Supervisor& supervisor) {
    constexpr std::chrono::minutes patience{1};
    const auto stripped =
        run_to_end({.arguments = {"strip", "--strip-debug", "-o", target.string(), program.string()},
                    .folder = {},
                    .environment = {},
                    .descriptors = {}},
                   supervisor, supervise::Clock::now() + patience);
    std::error_code error;
    return stripped && stripped->exit_code == 0 && fs::exists(target, error) ? target : program;
}

} // namespace

std::string module_path(const Module& module) {
    return "/lab/" + module.name + ".ko";
}

Result<fs::path> program_part(const Cache& cache, const fs::path& program,
                              supervise::Supervisor& supervisor) {
    const auto libraries = libraries_of(program, supervisor);
    if (!libraries)
        return tl::unexpected{libraries.error()};
    std::vector<ArchiveFile> files{
        {.path = program_path, .bytes = {}, .source = program, .executable = true}};
    for (const auto& library : *libraries)
        files.push_back({.path = library.lexically_normal().string(),
                         .bytes = {},
                         .source = library,
                         .executable = true});
    std::string key = format_version;
    for (const auto& file : files) {
        const auto identity = file_identity(file.source);
        if (!identity)
            return tl::unexpected{identity.error()};
        key += *identity;
    }
    return cache.get("program", key, [&](const fs::path& target) {
        files[0].source = without_debug_information(program, target.string() + ".stripped", supervisor);
        return write_initramfs(target, files);
    });
}

Result<fs::path> modules_part(const Cache& cache, const Kernel& kernel) {
    std::vector<ArchiveFile> files;
    std::string key = format_version;
    for (const auto& module : kernel.modules) {
        files.push_back(
            {.path = module_path(module), .bytes = module.bytes, .source = {}, .executable = false});
        const auto identity = file_identity(module.file);
        if (!identity)
            return tl::unexpected{identity.error()};
        key += *identity;
    }
    return cache.get("modules", key, [&](const fs::path& target) { return write_initramfs(target, files); });
}

std::vector<ArchiveFile> installed_kernel(const Kernel& kernel, Silicon silicon) {
    const auto modules = "/lib/modules/" + kernel.release;
    std::vector<ArchiveFile> files{{.path = "/boot/vmlinuz-" + kernel.release,
                                    .bytes = {},
                                    .source = kernel.image,
                                    .executable = false}};
    for (const auto& module : kernel.modules)
        files.push_back({.path = modules + "/" + module.name + ".ko",
                         .bytes = module.bytes,
                         .source = {},
                         .executable = false});
    const std::string vendor_module = emulator_of(silicon).vendor_module;
    const bool built_in =
        std::ranges::find(kernel.modules, vendor_module, &Module::name) == kernel.modules.end();
    files.push_back({.path = modules + "/modules.builtin",
                     .bytes = built_in ? vendor_module + ".ko\n" : "",
                     .source = {},
                     .executable = false});
    return files;
}

Status write_run_part(const fs::path& target, const Job& job, const std::vector<fs::path>& inputs,
                      const std::vector<ArchiveFile>& more) {
    std::vector<ArchiveFile> files{
        {.path = job_path, .bytes = to_text(job), .source = {}, .executable = false}};
    for (const auto& input : inputs)
        files.push_back({.path = input.string(), .bytes = {}, .source = input, .executable = false});
    files.insert(files.end(), more.begin(), more.end());
    return write_initramfs(target, files);
}

Status join_parts(const fs::path& target, const std::vector<fs::path>& parts) {
    std::ofstream out{target, std::ios::binary};
    for (const auto& part : parts) {
        std::ifstream in{part, std::ios::binary};
        if (!in)
            return fail(ErrorKind::host_lacks, "read " + part.string(), "it cannot be opened", "start again");
        out << in.rdbuf();
    }
    out.close();
    if (!out)
        return fail(ErrorKind::host_lacks, "write " + target.string(),
                    "it cannot be written; is the disk full?", "name another place with XDG_CACHE_HOME");
    return {};
}

} // namespace nestbed::lab
