#include "lab/distribution.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lab/archive.hpp"
#include "lab/cache.hpp"
#include "lab/process.hpp"

namespace nestbed::lab {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes patience{10}; // a slow line; the largest package has about 70 MiB
// Debian's, then Ubuntu's: the one for machines that are emulated comes first.
constexpr std::array<const char*, 3> kernel_packages{"linux-image-amd64", "linux-image-virtual",
                                                     "linux-image-generic"};
constexpr std::array<std::string_view, 2> wanted_dependencies{"linux-image-", "linux-modules-"};
constexpr const char* otherwise = "give --kernel BZIMAGE and --modules DIR, or install a kernel with kvm-amd";

tl::unexpected<Error> cannot_fetch(std::string found) {
    return fail(ErrorKind::host_lacks, "fetch the distribution's kernel for the emulated machine",
                std::move(found), otherwise);
}

std::string last_line(std::string_view text) {
    while (text.ends_with('\n'))
        text.remove_suffix(1);
    return std::string{text.substr(text.rfind('\n') + 1)};
}

// apt with lists and caches of its own where `own_state` is set, so that no root is needed to bring them up
// to date.
class Apt {
public:
    Apt(fs::path state, supervise::Supervisor& supervisor)
        : _state{std::move(state)}, _supervisor{supervisor} {}

    Result<Finished> run(std::vector<std::string> arguments, const fs::path& folder) {
        if (_own_state)
            for (const auto& option : {fmt::format("Dir::State::Lists={}", (_state / "lists").string()),
                                       fmt::format("Dir::Cache={}", (_state / "cache").string()),
                                       std::string{"Debug::NoLocking=true"}})
                arguments.insert(arguments.begin() + 1, {"-o", option});
        return run_to_end({.arguments = std::move(arguments),
                           .folder = folder.string(),
                           .environment = {{"LC_ALL", "C"}},
                           .descriptors = {}},
                          _supervisor, supervise::Clock::now() + patience);
    }

    // What apt-cache shows of a package; empty where it knows none.
    Result<std::string> show(const std::string& package) {
        return run({"apt-cache", "--no-all-versions", "show", package}, {}).map([](const Finished& finished) {
            return finished.exit_code == 0 ? finished.out : std::string{};
        });
    }

    // Where the system's lists are empty, as in fresh containers.
    Status update() {
        _own_state = true;
        std::error_code error;
        fs::create_directories(_state / "lists/partial", error);
        fs::create_directories(_state / "cache/archives/partial", error);
        const auto updated = run({"apt-get", "update"}, {});
        if (!updated)
            return tl::unexpected{updated.error()};
        if (updated->exit_code != 0)
            return cannot_fetch("apt-get update: " + last_line(updated->err));
        return {};
    }

private:
    fs::path _state;
    supervise::Supervisor& _supervisor;
    bool _own_state = false;
};

// The packages with files in them behind one of the default kernel's names; empty where apt knows none of
// those.
Result<std::vector<std::string>> packages_of_kernel(Apt& apt) {
    for (const auto* const name : kernel_packages) {
        auto shown = apt.show(name);
        if (!shown)
            return tl::unexpected{shown.error()};
        auto packages = kernel_dependencies(*shown);
        for (std::size_t i = 0; i < packages.size() && i < 8;
             ++i) { // modules are a dependency of the image's
            shown = apt.show(packages[i]);
            if (!shown)
                return tl::unexpected{shown.error()};
            for (auto& dependency : kernel_dependencies(*shown))
                if (std::ranges::find(packages, dependency) == packages.end())
                    packages.push_back(std::move(dependency));
        }
        if (!packages.empty())
            return packages;
    }
    return std::vector<std::string>{};
}

} // namespace

std::vector<std::string> kernel_dependencies(std::string_view shown) {
    std::vector<std::string> names;
    constexpr std::string_view field = "Depends: ";
    for (bool done = false; !shown.empty() && !done;) {
        const auto end = std::min(shown.find('\n'), shown.size());
        auto line = shown.substr(0, end);
        shown.remove_prefix(std::min(end + 1, shown.size()));
        done = line.empty(); // the stanza's end
        if (!line.starts_with(field))
            continue;
        line.remove_prefix(field.size());
        while (!line.empty()) {
            const auto comma = std::min(line.find(','), line.size());
            auto name = line.substr(0, comma);
            line.remove_prefix(std::min(comma + 1, line.size()));
            name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
            name = name.substr(0, name.find_first_of(" (|:"));
            if (std::ranges::any_of(wanted_dependencies, [&](auto start) { return name.starts_with(start); }))
                names.emplace_back(name);
        }
    }
    return names;
}

bool belongs_to_kernel(std::string_view path) {
    if (path.starts_with("usr/"))
        path.remove_prefix(4);
    if (path.starts_with("boot/vmlinuz-"))
        return true;
    constexpr std::string_view modules = "lib/modules/";
    if (!path.starts_with(modules))
        return false;
    path.remove_prefix(modules.size());
    path.remove_prefix(std::min(path.find('/') + 1, path.size()));
    if (path == "modules.builtin")
        return true;
    // The last two are for guests of the emulated machine, which may run the same kernel.
    constexpr std::array<std::string_view, 7> folders{"kernel/arch/x86/",
                                                      "kernel/virt/",
                                                      "kernel/drivers/crypto/",
                                                      "kernel/drivers/char/",
                                                      "kernel/lib/",
                                                      "kernel/drivers/virtio/",
                                                      "kernel/drivers/block/virtio_blk"};
    return std::ranges::any_of(folders, [&](auto folder) { return path.starts_with(folder); });
}

Status fetch_kernel(const fs::path& folder, supervise::Supervisor& supervisor) {
    if (!find_program("apt-get") || !find_program("apt-cache"))
        return cannot_fetch("this system has no apt");
    const auto workplace = TemporaryFolder::make(folder);
    if (!workplace)
        return tl::unexpected{workplace.error()};
    Apt apt{workplace->path(), supervisor};
    auto packages = packages_of_kernel(apt);
    if (packages && packages->empty()) {
        if (auto updated = apt.update(); !updated)
            return updated;
        packages = packages_of_kernel(apt);
    }
    if (!packages)
        return tl::unexpected{packages.error()};
    if (packages->empty())
        return cannot_fetch(fmt::format("apt knows none of {}", fmt::join(kernel_packages, ", ")));

    std::vector<std::string> download{"apt-get", "download"};
    download.insert(download.end(), packages->begin(), packages->end());
    const auto downloaded = apt.run(download, workplace->path());
    if (!downloaded)
        return tl::unexpected{downloaded.error()};
    if (downloaded->exit_code != 0)
        return cannot_fetch(fmt::format("{}: {}", fmt::join(download, " "), last_line(downloaded->err)));
    std::error_code error;
    for (const auto& file : fs::directory_iterator{workplace->path(), error})
        if (file.path().extension() == ".deb")
            if (auto unpacked = unpack_package(file.path(), folder, belongs_to_kernel); !unpacked)
                return unpacked;
    return {};
}

} // namespace nestbed::lab
