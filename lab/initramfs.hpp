// The initramfs of one run: parts that are kept (the program, the modules) and a small one that is not.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "core/supervise/supervisor.hpp"
#include "lab/archive.hpp"
#include "lab/cache.hpp"
#include "lab/job.hpp"
#include "lab/kernel.hpp"

namespace nestbed::lab {

// Where a module lies inside.
[[nodiscard]] std::string module_path(const Module& module);

// The program with the libraries that it needs, kept. Errors: host_lacks, bad_input.
[[nodiscard]] Result<std::filesystem::path>
program_part(const Cache& cache, const std::filesystem::path& program, supervise::Supervisor& supervisor);

[[nodiscard]] Result<std::filesystem::path> modules_part(const Cache& cache, const Kernel& kernel);

// The kernel and its modules where find_kernel() looks for an installed one.
[[nodiscard]] std::vector<ArchiveFile> installed_kernel(const Kernel& kernel, Silicon silicon);

// The job and the files that it is given, each at the path that it has outside; `more` as they are.
[[nodiscard]] Status write_run_part(const std::filesystem::path& target, const Job& job,
                                    const std::vector<std::filesystem::path>& inputs,
                                    const std::vector<ArchiveFile>& more = {});

// One after the other, as the kernel takes them. Errors: host_lacks.
[[nodiscard]] Status join_parts(const std::filesystem::path& target,
                                const std::vector<std::filesystem::path>& parts);

} // namespace nestbed::lab
