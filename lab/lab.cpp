#include "lab/lab.hpp"

#include <cstdlib>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "lab/attempt.hpp"
#include "lab/cache.hpp"
#include "lab/ending.hpp"
#include "lab/initramfs.hpp"
#include "lab/job.hpp"
#include "lab/paths.hpp"
#include "lab/process.hpp"
#include "lab/result_files.hpp"

namespace nestbed::lab {

namespace {

namespace fs = std::filesystem;
using supervise::Clock;

constexpr const char* emulator = "qemu-system-x86_64";

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// All that is settled before the emulator starts.
struct Prepared {
    fs::path qemu;
    Kernel kernel;
    fs::path bootable; // of the kernel
    std::vector<fs::path> roots;
    std::string command_line;
};

Result<fs::path> find_qemu(const LabRequest& request) {
    if (!request.qemu.empty())
        return request.qemu;
    if (const auto found = find_program(emulator))
        return *found;
    return fail(ErrorKind::host_lacks, "emulate a machine", fmt::format("there is no {} in PATH", emulator),
                "apt-get install qemu-system-x86");
}

// The program asks for little; what is not named here is not the same inside anyway.
std::map<std::string, std::string> environment_inside() {
    std::map<std::string, std::string> variables{{"PATH", "/usr/bin"}, {"HOME", "/"}, {"TERM", "dumb"}};
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const auto equals = text.find('=');
        const auto name = text.substr(0, equals);
        if (equals != std::string_view::npos &&
            (name.starts_with("NESTBED_") || name.ends_with("SAN_OPTIONS") || name == "LD_LIBRARY_PATH"))
            variables.emplace(name, text.substr(equals + 1));
    }
    return variables;
}

std::string kernel_command_line(const LabRequest& request) {
    // "panic=-1" resets at once, which ends QEMU. The TSC is steady in emulation, and reading another clock
    // is slow, as are the self-tests of ciphers. To make and end a machine is to wait for grace periods of
    // RCU: a third of a short test's time.
    auto text = fmt::format("console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable "
                            "rcupdate.rcu_expedited=1 cryptomgr.notests=1 kvm_amd.nested=1 rdinit={} {}=1",
                            program_path, init_variable);
    // The kernel gives what it does not know to the first process, as its environment.
    if (const char* const path = std::getenv("LD_LIBRARY_PATH"); path != nullptr && *path != '\0')
        text += fmt::format(" LD_LIBRARY_PATH={}", path);
    if (!request.append.empty())
        text += " " + request.append;
    return text;
}

// Of what a machine is made, as far as it is the same for many.
struct Parts {
    Kernel kernel;
    fs::path bootable; // of the kernel
    fs::path program_image;
    fs::path modules_image;
};

// A program that has been replaced since it was started, by the next build for one, is still there to be
// read.
fs::path running_program() {
    std::error_code error;
    const auto program = fs::read_symlink("/proc/self/exe", error);
    return fs::exists(program, error) ? program : fs::path{fmt::format("/proc/{}/exe", ::getpid())};
}

Result<Parts> find_parts(const LabRequest& request, const Cache& cache,
                         const std::function<void(const std::string&)>& progress,
                         supervise::Supervisor& supervisor) {
    auto kernel = request.kernel ? read_kernel(*request.kernel) : find_kernel(cache, progress, supervisor);
    if (!kernel)
        return tl::unexpected{kernel.error()};
    auto bootable = bootable_image(cache, kernel->image);
    if (!bootable)
        return tl::unexpected{bootable.error()};
    auto program_image =
        program_part(cache, request.program.empty() ? running_program() : request.program, supervisor);
    if (!program_image)
        return tl::unexpected{program_image.error()};
    auto modules_image = modules_part(cache, *kernel);
    if (!modules_image)
        return tl::unexpected{modules_image.error()};
    return Parts{std::move(*kernel), std::move(*bootable), std::move(*program_image),
                 std::move(*modules_image)};
}

Result<Cache> cache_of(const LabRequest& request) {
    return request.cache.empty() ? Cache::open_default() : Cache::open(request.cache);
}

// Writes the initramfs to `target`.
Result<Prepared> prepare(const LabRequest& request, const fs::path& target, const fs::path& workplace,
                         const Cache& cache, const LabObserver& observer, supervise::Supervisor& supervisor) {
    auto qemu = find_qemu(request);
    if (!qemu)
        return tl::unexpected{qemu.error()};
    auto parts = find_parts(request, cache, observer.progress, supervisor);
    if (!parts)
        return tl::unexpected{parts.error()};

    std::error_code error;
    const auto here = request.working_directory.empty() ? fs::current_path(error) : request.working_directory;
    auto roots = output_roots(request.arguments, here);
    Job job{.arguments = request.arguments,
            .environment = environment_inside(),
            .working_directory = here.string(),
            .result_roots = {},
            .modules = {}};
    for (const auto& root : roots)
        job.result_roots.push_back(root.string());
    for (const auto& module : parts->kernel.modules)
        job.modules.push_back(module_path(module));
    const auto inputs = input_files(request.arguments, here, [](const Path& path) {
        std::error_code unknown;
        return fs::is_regular_file(path, unknown);
    });
    const auto run_image = workplace / "run.cpio";
    if (auto written = write_run_part(run_image, job, inputs); !written)
        return tl::unexpected{written.error()};
    if (auto joined = join_parts(target, {parts->program_image, parts->modules_image, run_image}); !joined)
        return tl::unexpected{joined.error()};
    return Prepared{.qemu = std::move(*qemu),
                    .kernel = std::move(parts->kernel),
                    .bootable = std::move(parts->bootable),
                    .roots = std::move(roots),
                    .command_line = kernel_command_line(request)};
}

class Run {
public:
    Run(const LabRequest& request, const LabObserver& observer, const Prepared& prepared, fs::path workplace)
        : _request{request}, _observer{observer}, _prepared{prepared}, _workplace{std::move(workplace)} {}

    Result<AttemptResult> start(const fs::path& initramfs, supervise::Deadline deadline,
                                supervise::Supervisor& supervisor) {
        const auto started = Clock::now();
        _observer.progress("booting the emulated machine");
        auto ended = attempt({.command =
                                  [&](int console_fd, int frames_fd) {
                                      return qemu_command(_prepared.qemu, _request.shape,
                                                          {.kernel = _prepared.bootable,
                                                           .initramfs = initramfs,
                                                           .command_line = _prepared.command_line,
                                                           .console_fd = console_fd,
                                                           .frames_fd = frames_fd});
                                  },
                              .console_log = console_log(),
                              .deadline = deadline,
                              .boot_patience = _request.boot_patience,
                              .silence = _request.silence,
                              .grace = _request.grace},
                             {.up = [&](const Hello&) { result.seconds_to_up = seconds_since(started); },
                              .output =
                                  [&](const Output& output) {
                                      (output.is_stderr ? _observer.err : _observer.out)(output.bytes);
                                  },
                              .file = [&](const ResultFile& file) { store(file); }},
                             supervisor);
        if (ended)
            note_losses(*ended);
        return ended;
    }

    [[nodiscard]] fs::path console_log() const { return _workplace / "console.log"; }

    LabResult result;

private:
    void store(const ResultFile& file) {
        if (auto stored = store_result(file.path, file.bytes, _prepared.roots); stored)
            result.files.emplace_back(file.path);
        else {
            auto error = stored.error();
            error.asked = printable(error.asked);
            result.mishaps.push_back(std::move(error));
        }
    }

    void note_losses(const AttemptResult& ended) {
        if (ended.gaps > 0 || ended.dropped_files > 0)
            result.mishaps.push_back(
                {ErrorKind::check_failed, "hear all that the emulated machine says",
                 fmt::format(
                     "{} gaps in what came over its serial line and {} files were incomplete or too large",
                     ended.gaps, ended.dropped_files),
                 "run it again"});
    }

    const LabRequest& _request;
    const LabObserver& _observer;
    const Prepared& _prepared;
    fs::path _workplace;
};

} // namespace

Status fill_cache(const LabRequest& request, const LabObserver& observer, supervise::Supervisor& supervisor) {
    return cache_of(request).and_then([&](const Cache& cache) -> Status {
        if (const auto parts = find_parts(request, cache, observer.progress, supervisor); !parts)
            return tl::unexpected{parts.error()};
        return {};
    });
}

Result<LabResult> run(const LabRequest& request, const LabObserver& observer,
                      supervise::Supervisor& supervisor) {
    const auto started = Clock::now();
    const auto deadline = started + request.timeout;
    if (auto good = check_shape(request.shape); !good)
        return tl::unexpected{good.error()};
    const auto cache = cache_of(request);
    if (!cache)
        return tl::unexpected{cache.error()};
    const auto workplace = TemporaryFolder::make(cache->folder());
    if (!workplace)
        return tl::unexpected{workplace.error()};
    const auto initramfs = workplace->path() / "initramfs.cpio";
    const auto prepared = prepare(request, initramfs, workplace->path(), *cache, observer, supervisor);
    if (!prepared)
        return tl::unexpected{prepared.error()};

    for (unsigned attempts = 1;; ++attempts) {
        Run one{request, observer, *prepared, workplace->path()};
        const auto ended = one.start(initramfs, deadline, supervisor);
        if (!ended)
            return tl::unexpected{ended.error()};
        // So that it can be read after the run's own folder is gone.
        const auto log = cache->keep("console", one.console_log());
        const auto error = error_of(*ended, request, log);
        if (!error) {
            one.result.exit_code = ended->exit_code;
            one.result.kernel = prepared->kernel.release;
            one.result.kernel_image = prepared->kernel.image;
            one.result.console = ended->console;
            one.result.seconds = seconds_since(started);
            one.result.attempts = attempts;
            return std::move(one.result);
        }
        // Emulated kernels hang now and then, through no fault of the command.
        if (ended->ending != Ending::host_died || attempts >= request.attempts)
            return tl::unexpected{*error};
        observer.again(*error);
    }
}

} // namespace nestbed::lab
