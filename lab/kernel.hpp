// The kernel that the emulated machine boots, and the modules that make /dev/kvm appear in it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "core/supervise/supervisor.hpp"
#include "lab/cache.hpp"
#include "lab/silicon.hpp"

namespace nestbed::lab {

// A kernel that the user names.
struct KernelFiles {
    std::filesystem::path image;                  // a bzImage
    std::optional<std::filesystem::path> modules; // without it the drivers are taken to be built in
};

struct Module {
    std::string name;
    std::filesystem::path file;
    std::string bytes; // not compressed
};

struct Kernel {
    std::filesystem::path image; // the bzImage
    std::string release;
    std::vector<Module> modules; // in the order to load them in
};

// `files.modules` is /lib/modules/RELEASE, a folder with lib/modules/RELEASE in it, or a kernel's build tree.
// Errors: bad_input where the image is none or the modules are of another kernel; host_lacks where it has no
// kvm-amd or kvm-intel, as the silicon wants.
[[nodiscard]] Result<Kernel> read_kernel(const KernelFiles& files, Silicon silicon);

// Without the user naming one: the newest that is installed and can be read, else the distribution's, which
// is fetched into the cache once. `progress` hears of the download. Errors: host_lacks, cancelled.
[[nodiscard]] Result<Kernel> find_kernel(const Cache& cache, Silicon silicon,
                                         const std::function<void(const std::string&)>& progress,
                                         supervise::Supervisor& supervisor);

// What the emulator is to start: the vmlinux in the bzImage, decompressed once into the cache, for emulated
// code would take five seconds for it at each boot; the bzImage itself where that cannot be started.
[[nodiscard]] Result<std::filesystem::path> bootable_image(const Cache& cache,
                                                           const std::filesystem::path& image);

} // namespace nestbed::lab
