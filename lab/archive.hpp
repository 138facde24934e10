// Archives, through libarchive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::lab {

// A file in an initramfs, with its bytes or where they are.
struct ArchiveFile {
    std::string path;             // absolute, as it is to be inside
    std::string bytes;            // the content, unless `source` is set
    std::filesystem::path source; // a file that the content is read from
    bool executable = false;
};

// All folders that the files lie in, each before what is in it, without "/".
[[nodiscard]] std::vector<std::string> folders_of(const std::vector<ArchiveFile>& files);

// Writes `files`, their folders and /dev/console to a "newc" cpio archive, the kind that the kernel unpacks.
// Errors: bad_input where a file cannot be read, host_lacks where `target` cannot be written.
[[nodiscard]] Status write_initramfs(const std::filesystem::path& target,
                                     const std::vector<ArchiveFile>& files);

// Unpacks those files of a Debian package for whose path, "boot/vmlinuz-6.1", `wanted` holds, into `folder`.
// Nothing is written outside it, and nothing but regular files. Errors: bad_input, host_lacks where the disk
// is full.
[[nodiscard]] Status unpack_package(const std::filesystem::path& package, const std::filesystem::path& folder,
                                    const std::function<bool(std::string_view path)>& wanted);

} // namespace nestbed::lab
