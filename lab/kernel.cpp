#include "lab/kernel.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <span>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/boot/decompress.hpp"
#include "core/boot/kernel_image.hpp"
#include "core/boot/pvh.hpp"
#include "lab/distribution.hpp"
#include "lab/modules.hpp"

namespace nestbed::lab {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_module_bytes = 256 * MiB;
constexpr std::uint64_t max_vmlinux_bytes = 1024 * MiB;

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span{text.data(), text.size()});
}

Result<std::string> release_of(const fs::path& image) {
    std::ifstream file{image, std::ios::binary};
    std::string start(boot::kernel_header_bytes, '\0');
    file.read(start.data(), static_cast<std::streamsize>(start.size()));
    if (file.gcount() <= 0)
        return fail(ErrorKind::bad_input, "read the kernel image " + image.string(),
                    "it cannot be read or is empty", "name a bzImage with --kernel");
    start.resize(static_cast<std::size_t>(file.gcount()));
    return boot::kernel_release(bytes_of(start)).map_error([&](Error error) {
        error.asked += " " + image.string();
        return error;
    });
}

struct ModuleTree {
    fs::path root;
    std::map<std::string, fs::path> files;
    std::set<std::string> built_in;
};

Result<ModuleTree> read_tree(const fs::path& named, const std::string& release) {
    std::error_code error;
    ModuleTree tree{.root = named, .files = {}, .built_in = {}};
    for (const auto* const below : {"lib/modules", "usr/lib/modules"})
        if (fs::is_directory(named / below, error)) {
            tree.root = named / below / release;
            if (!fs::is_directory(tree.root, error))
                return fail(ErrorKind::bad_input, "find the modules of kernel " + release,
                            fmt::format("{} is not there", tree.root.string()),
                            "give the modules that were built with the kernel");
            break;
        }
    auto at =
        fs::recursive_directory_iterator{tree.root, fs::directory_options::skip_permission_denied, error};
    for (; !error && at != fs::recursive_directory_iterator{}; at.increment(error)) {
        const auto name = at->path().filename().string();
        if (name.starts_with('.') && at->is_directory(error))
            at.disable_recursion_pending(); // .git of a build tree
        else if (is_module_file(name))
            tree.files.emplace(module_name(name), at->path());
    }
    if (error)
        return fail(ErrorKind::bad_input, "look for modules in " + tree.root.string(), error.message(),
                    "name a folder with --modules");
    std::ifstream list{tree.root / "modules.builtin"};
    tree.built_in = parse_built_in(std::string{std::istreambuf_iterator<char>{list}, {}});
    return tree;
}

Result<Module> read_module(const ModuleTree& tree, const std::string& name, const Emulator& emulator) {
    const auto found = tree.files.find(name);
    if (found == tree.files.end())
        return fail(ErrorKind::host_lacks, fmt::format("find the kernel module {}", name),
                    fmt::format("neither a file nor built in, under {}", tree.root.string()),
                    name == emulator.vendor_module
                        ? fmt::format("use a kernel with {}=m or =y", emulator.vendor_option)
                        : "give the folder that modules_install wrote");
    auto bytes = boot::read_decompressed(found->second, max_module_bytes);
    if (!bytes)
        return tl::unexpected{bytes.error()};
    return Module{name, found->second, std::move(*bytes)};
}

Result<std::vector<Module>> modules_for_kvm(const ModuleTree& tree, const std::string& release,
                                            const Emulator& emulator) {
    std::map<std::string, Module> read;
    const auto order = load_order(
        {emulator.vendor_module}, tree.built_in, [&](const std::string& name) -> Result<ModuleInfo> {
            auto module = read_module(tree, name, emulator);
            if (!module)
                return tl::unexpected{module.error()};
            auto info = read_module_info(bytes_of(module->bytes));
            const auto file = module->file.string();
            read.emplace(name, std::move(*module));
            if (!info)
                return tl::unexpected{
                    Error{info.error().kind, "read the kernel module " + file, info.error().found, {}}};
            if (!info->release.empty() && info->release != release)
                return fail(ErrorKind::bad_input, fmt::format("use {} with kernel {}", file, release),
                            fmt::format("it was built for {}", info->release),
                            "give the modules that were built with the kernel");
            return info;
        });
    if (!order)
        return tl::unexpected{order.error()};
    std::vector<Module> modules;
    for (const auto& name : *order)
        modules.push_back(std::move(read.at(name)));
    return modules;
}

// Newest first.
std::vector<fs::path> images_in(const fs::path& folder) {
    std::vector<fs::path> images;
    std::error_code error;
    for (auto at = fs::directory_iterator{folder, error}; !error && at != fs::directory_iterator{};
         at.increment(error))
        if (at->path().filename().string().starts_with("vmlinuz-") && at->is_regular_file(error))
            images.push_back(at->path());
    std::ranges::sort(
        images, [](const fs::path& a, const fs::path& b) { return ::strverscmp(a.c_str(), b.c_str()) > 0; });
    return images;
}

std::string system_name() {
    std::ifstream file{"/etc/os-release"};
    std::string text{std::istreambuf_iterator<char>{file}, {}};
    return text.empty() ? "unknown" : text;
}

} // namespace

Result<Kernel> read_kernel(const KernelFiles& files, Silicon silicon) {
    auto release = release_of(files.image);
    if (!release)
        return tl::unexpected{release.error()};
    Kernel kernel{.image = files.image, .release = std::move(*release), .modules = {}};
    if (!files.modules)
        return kernel;
    const auto tree = read_tree(*files.modules, kernel.release);
    if (!tree)
        return tl::unexpected{tree.error()};
    auto modules = modules_for_kvm(*tree, kernel.release, emulator_of(silicon));
    if (!modules)
        return tl::unexpected{modules.error()};
    kernel.modules = std::move(*modules);
    return kernel;
}

Result<fs::path> bootable_image(const Cache& cache, const fs::path& image) {
    const auto identity = file_identity(image);
    if (!identity)
        return tl::unexpected{identity.error()};
    auto vmlinux = cache.get("vmlinux", *identity, [&](const fs::path& target) -> Status {
        std::ifstream in{image, std::ios::binary};
        const std::string whole{std::istreambuf_iterator<char>{in}, {}};
        auto elf = boot::compressed_vmlinux(bytes_of(whole)).and_then([](std::span<const std::byte> payload) {
            return boot::decompressed(payload, max_vmlinux_bytes);
        });
        std::ofstream out{target, std::ios::binary};
        // An empty file stands for an image that has to start by itself.
        if (elf && boot::pvh_entry(bytes_of(*elf)))
            out << *elf;
        if (!out.flush())
            return fail(ErrorKind::host_lacks, "write " + target.string(),
                        "it cannot be written; is the disk full?", "name another place with XDG_CACHE_HOME");
        return {};
    });
    std::error_code error;
    if (vmlinux && fs::file_size(*vmlinux, error) == 0)
        return image;
    return vmlinux;
}

Result<Kernel> find_kernel(const Cache& cache, Silicon silicon,
                           const std::function<void(const std::string&)>& progress,
                           supervise::Supervisor& supervisor) {
    for (const auto& image : images_in("/boot"))
        if (auto kernel = read_kernel({.image = image, .modules = "/"}, silicon))
            return kernel;
    const auto folder =
        cache.get_folder("kernel", system_name() + " with virtio", [&](const fs::path& target) -> Status {
            progress("fetching the distribution's kernel, once");
            if (auto fetched = fetch_kernel(target, supervisor); !fetched)
                return fetched;
            if (images_in(target / "boot").empty())
                return fail(ErrorKind::host_lacks, "fetch the distribution's kernel",
                            "there is no boot/vmlinuz-* in its packages",
                            "give --kernel BZIMAGE and --modules DIR");
            return {};
        });
    if (!folder)
        return tl::unexpected{folder.error()};
    return read_kernel({.image = images_in(*folder / "boot").at(0), .modules = *folder}, silicon);
}

} // namespace nestbed::lab
