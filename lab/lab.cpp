#include "lab/lab.hpp"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "lab/attempt.hpp"
#include "lab/bochs.hpp"
#include "lab/cache.hpp"
#include "lab/ending.hpp"
#include "lab/initramfs.hpp"
#include "lab/job.hpp"
#include "lab/kvm_machine.hpp"
#include "lab/paths.hpp"
#include "lab/process.hpp"
#include "lab/qemu_version.hpp"
#include "lab/result_files.hpp"

namespace nestbed::lab {

namespace {

namespace fs = std::filesystem;
using supervise::Clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// A program that has been replaced since it was started, by the next build for one, is still there to be
// read.
fs::path running_program() {
    std::error_code error;
    const auto program = fs::read_symlink("/proc/self/exe", error);
    return fs::exists(program, error) ? program : fs::path{fmt::format("/proc/{}/exe", ::getpid())};
}

// All that is settled before the emulator starts.
struct Prepared {
    Command emulator;
    Kernel kernel;
    std::vector<fs::path> roots;
};

Result<fs::path> find_emulator(const LabRequest& request) {
    if (!request.emulator.empty())
        return request.emulator;
    if (request.shape.engine == Engine::kvm)
        return request.program.empty() ? running_program() : request.program;
    const auto& emulator = emulator_of(request.shape.silicon);
    if (const auto found = find_program(emulator.program))
        return *found;
    return fail(ErrorKind::host_lacks, "emulate a machine",
                fmt::format("there is no {} in PATH", emulator.program),
                fmt::format("apt-get install {}", emulator.packages));
}

// The program asks for little; what is not named here is not the same inside anyway.
std::map<std::string, std::string> environment_inside(Silicon silicon) {
    std::map<std::string, std::string> variables{{"PATH", "/usr/bin"}, {"HOME", "/"}, {"TERM", "dumb"}};
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const auto equals = text.find('=');
        const auto name = text.substr(0, equals);
        if (equals != std::string_view::npos &&
            (name.starts_with("NESTBED_") || name.ends_with("SAN_OPTIONS") || name == "LD_LIBRARY_PATH"))
            variables.emplace(name, text.substr(equals + 1));
    }
    variables[silicon_variable] = silicon == Silicon::intel ? "intel" : "amd";
    return variables;
}

std::string kernel_command_line(const LabRequest& request) {
    // "panic=-1" resets at once, which ends the emulator. The TSC is steady in emulation, and reading another
    // clock is slow, as are the self-tests of ciphers. To make and end a machine is to wait for grace periods
    // of RCU: a third of a short test's time.
    auto text =
        fmt::format("console=ttyS0,115200 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable "
                    "rcupdate.rcu_expedited=1 cryptomgr.notests=1 {} rdinit={} {}=1",
                    emulator_of(request.shape.silicon).kernel_words, program_path, init_variable);
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

Result<Parts> find_parts(const LabRequest& request, const Cache& cache,
                         const std::function<void(const std::string&)>& progress,
                         supervise::Supervisor& supervisor) {
    auto kernel = request.kernel ? read_kernel(*request.kernel, request.shape.silicon)
                                 : find_kernel(cache, request.shape.silicon, progress, supervisor);
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

Status write_file(const fs::path& target, std::string_view bytes) {
    std::ofstream file{target, std::ios::binary};
    file << bytes;
    file.close();
    if (!file)
        return fail(ErrorKind::host_lacks, "write " + target.string(),
                    "it cannot be written; is the disk full?", "name another place with XDG_CACHE_HOME");
    return {};
}

// Without nested paging where QEMU's has a fault that no guest survives; unless flags were asked for that
// decide on it.
Shape suited_to(const fs::path& qemu, Shape shape, supervise::Supervisor& supervisor) {
    if (shape.cpu_flags.find("npt") != std::string::npos)
        return shape;
    const auto told = run_to_end({.arguments = {qemu.string(), "--version"}}, supervisor,
                                 Clock::now() + std::chrono::seconds{5});
    const auto version = told ? parse_qemu_version(told->out) : std::nullopt;
    if (!version || walks_nested_tables_without_paging(*version))
        return shape;
    static std::once_flag said;
    std::call_once(said, [&] {
        spdlog::warn("QEMU {} loses guests without paging under nested page tables, so the emulated machine "
                     "has no nested paging (--cpu-flags=+npt: have it all the same)",
                     to_string(*version));
    });
    shape.cpu_flags += shape.cpu_flags.empty() ? "-npt" : ",-npt";
    return shape;
}

// QEMU loads kernel and initramfs by itself.
Result<Command> prepare_qemu(const LabRequest& request, const fs::path& qemu, const fs::path& kernel,
                             const std::vector<fs::path>& initramfs, const fs::path& workplace,
                             supervise::Supervisor& supervisor) {
    const auto joined = workplace / "initramfs.cpio";
    if (auto written = join_parts(joined, initramfs); !written)
        return tl::unexpected{written.error()};
    return Command{.arguments = qemu_command(qemu, suited_to(qemu, request.shape, supervisor),
                                             {.kernel = kernel,
                                              .initramfs = joined,
                                              .command_line = kernel_command_line(request),
                                              .console_fd = console_descriptor,
                                              .frames_fd = frames_descriptor}),
                   .folder = {},
                   .environment = {},
                   .descriptors = {}};
}

Result<Command> prepare_bochs(const LabRequest& request, const fs::path& bochs, const fs::path& kernel,
                              const std::vector<fs::path>& initramfs, const fs::path& workplace,
                              supervise::Supervisor& /*supervisor*/) {
    std::uint64_t bytes = 0;
    std::error_code error;
    for (const auto& part : initramfs)
        bytes += fs::file_size(part, error);
    std::ifstream file{kernel, std::ios::binary};
    const std::string vmlinux{std::istreambuf_iterator<char>{file}, {}};
    const auto memory = bochs_memory(std::as_bytes(std::span{vmlinux.data(), vmlinux.size()}), bytes,
                                     request.shape.memory_bytes, kernel_command_line(request));
    if (!memory)
        return tl::unexpected{memory.error()};
    const auto head = workplace / "head.bin";
    const auto rom = bochs_rom(), video_rom = bochs_video_rom();
    const auto config = bochs_config(request.shape, console_descriptor, frames_descriptor);
    for (const auto& [path, content] : {std::pair<fs::path, std::string_view>{head, *memory},
                                        {workplace / bochs_rom_file, rom},
                                        {workplace / bochs_video_rom_file, video_rom},
                                        {workplace / bochs_config_file, config},
                                        {workplace / bochs_debugger_file, "continue\n"}})
        if (auto written = write_file(path, content); !written)
            return tl::unexpected{written.error()};
    std::vector<fs::path> parts{head};
    parts.insert(parts.end(), initramfs.begin(), initramfs.end());
    if (auto written = join_parts(workplace / bochs_memory_file, parts); !written)
        return tl::unexpected{written.error()};
    // Its screen is a terminal that it makes by itself, and which is to be of a kind that it knows.
    return Command{.arguments = bochs_command(fs::absolute(bochs, error)),
                   .folder = workplace.string(),
                   .environment = {{"TERM", "vt100"}},
                   .descriptors = {}};
}

// So is `nestbed boot`'s.
Result<Command> prepare_kvm_machine(const LabRequest& request, const fs::path& nestbed,
                                    const fs::path& kernel, const std::vector<fs::path>& initramfs,
                                    const fs::path& workplace, supervise::Supervisor& /*supervisor*/) {
    const auto joined = workplace / "initramfs.cpio";
    if (auto written = join_parts(joined, initramfs); !written)
        return tl::unexpected{written.error()};
    return Command{.arguments = kvm_machine_command(
                       nestbed, request.shape,
                       {.kernel = kernel,
                        .initramfs = joined,
                        .command_line = kernel_command_line(request),
                        .console_fd = console_descriptor,
                        .frames_fd = frames_descriptor},
                       request.machine_results.empty() ? workplace : request.machine_results),
                   .folder = {},
                   .environment = {},
                   .descriptors = {}};
}

auto preparer_for(const Shape& shape) {
    if (shape.engine == Engine::kvm)
        return prepare_kvm_machine;
    return shape.silicon == Silicon::intel ? prepare_bochs : prepare_qemu;
}

Result<Prepared> prepare(const LabRequest& request, const fs::path& workplace, const Cache& cache,
                         const LabObserver& observer, supervise::Supervisor& supervisor) {
    const auto emulator = find_emulator(request);
    if (!emulator)
        return tl::unexpected{emulator.error()};
    auto parts = find_parts(request, cache, observer.progress, supervisor);
    if (!parts)
        return tl::unexpected{parts.error()};

    std::error_code error;
    const auto here = request.working_directory.empty() ? fs::current_path(error) : request.working_directory;
    auto roots = output_roots(request.arguments, here);
    Job job{.arguments = request.arguments,
            .environment = environment_inside(request.shape.silicon),
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
    if (auto written = write_run_part(run_image, job, inputs,
                                      takes_kernel_along(request.arguments)
                                          ? installed_kernel(parts->kernel, request.shape.silicon)
                                          : std::vector<ArchiveFile>{});
        !written)
        return tl::unexpected{written.error()};
    auto command = preparer_for(request.shape)(request, *emulator, parts->bootable,
                                               {parts->program_image, parts->modules_image, run_image},
                                               workplace, supervisor);
    if (!command)
        return tl::unexpected{command.error()};
    return Prepared{
        .emulator = std::move(*command), .kernel = std::move(parts->kernel), .roots = std::move(roots)};
}

class Run {
public:
    Run(const LabRequest& request, const LabObserver& observer, const Prepared& prepared, fs::path workplace)
        : _request{request}, _observer{observer}, _prepared{prepared}, _workplace{std::move(workplace)} {}

    Result<AttemptResult> start(supervise::Deadline deadline, supervise::Supervisor& supervisor) {
        const auto& emulator = emulator_of(_request.shape.silicon, _request.shape.engine);
        const auto started = Clock::now();
        _observer.progress(_request.shape.engine == Engine::kvm ? "booting Linux"
                                                                : "booting the emulated machine");
        auto ended = attempt({.silicon = _request.shape.silicon,
                              .engine = _request.shape.engine,
                              .command = _prepared.emulator,
                              .console_log = console_log(),
                              .deadline = deadline,
                              .boot_patience = _request.boot_patience.value_or(emulator.boot_patience),
                              .silence = _request.silence.value_or(emulator.silence),
                              .nudge_after = emulator.nudge_after,
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

Status fill_cache(const LabRequest& request, const std::function<void(const std::string&)>& progress,
                  supervise::Supervisor& supervisor) {
    return cache_of(request).and_then([&](const Cache& cache) -> Status {
        if (const auto parts = find_parts(request, cache, progress, supervisor); !parts)
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
    const auto prepared = prepare(request, workplace->path(), *cache, observer, supervisor);
    if (!prepared)
        return tl::unexpected{prepared.error()};

    for (unsigned attempts = 1;; ++attempts) {
        Run one{request, observer, *prepared, workplace->path()};
        const auto ended = one.start(deadline, supervisor);
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
        // Emulated kernels hang now and then, through no fault of the command; those of several CPUs even
        // before their first word, when nothing has been done yet.
        const bool silent = ended->ending == Ending::not_up && ended->console.empty() &&
                            request.shape.engine == Engine::emulator && attempts == 1;
        const bool died = ended->ending == Ending::host_died && attempts < request.attempts;
        if (!silent && !died)
            return tl::unexpected{*error};
        observer.again(*error);
    }
}

} // namespace nestbed::lab
