// Which files go into the emulated machine and which may come out of it, from the arguments alone.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace nestbed::lab {

using Path = std::filesystem::path;

// The files that the arguments name, absolute and normal: an argument, or a part of one as in
// "--option=FILE", "traffic:FILE" and "file=FILE,ro", for which `is_file` holds; values of options that name
// results are not among them.
[[nodiscard]] std::vector<Path> input_files(const std::vector<std::string>& arguments,
                                            const Path& working_directory,
                                            const std::function<bool(const Path&)>& is_file);

// Whether the command boots a machine of its own with Linux in it, for which the kernel that it runs on goes
// in as well.
[[nodiscard]] bool takes_kernel_along(const std::vector<std::string>& arguments);

// Files and folders that the command may leave results in, absolute and normal: the values of the options
// that name such (-o, --output, --tap, --junit, --html, --trace, --svg, --write), and "results" in the
// working directory.
[[nodiscard]] std::vector<Path> output_roots(const std::vector<std::string>& arguments,
                                             const Path& working_directory);

// The root that `path` is or lies beneath, by its text alone; nullptr where it is none, is relative, or has a
// "..".
[[nodiscard]] const Path* root_of(const Path& path, const std::vector<Path>& roots);

} // namespace nestbed::lab
