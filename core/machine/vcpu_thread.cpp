#include "core/machine/vcpu_thread.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <mutex>
#include <new>
#include <tuple>
#include <utility>

#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/cpu/cpuid.hpp"
#include "core/cpu/difference.hpp"
#include "core/machine/exit_text.hpp"
#include "core/machine/process_limits.hpp"
#include "core/wire/layout.hpp"
#include "topology/bind.hpp"

namespace nestbed::machine {

namespace {

// AddressSanitizer's frames are several times larger.
#if defined(__SANITIZE_ADDRESS__)
#define NESTBED_LARGE_FRAMES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NESTBED_LARGE_FRAMES 1
#endif
#endif
#if defined(NESTBED_LARGE_FRAMES)
constexpr std::size_t stack_bytes = 2 * MiB;
#else
constexpr std::size_t stack_bytes = 128 * KiB;
#endif

constexpr std::uint64_t apic_base_x2apic = 0x400; // IA32_APIC_BASE.EXTD, SDM volume 3, 11.12.1

int kick_signal() {
    return SIGRTMIN;
}

// SDM volume 3, 2.5, and volume 4, table 2-2.
constexpr std::uint64_t cr0_protected = 0x11;     // ET, PE
constexpr std::uint64_t cr0_paging = 0x8001'0033; // PG, WP, NE, ET, MP, PE
constexpr std::uint64_t cr4_pae = 0x20;
constexpr std::uint64_t efer_long_mode = 0xd00; // LMA, LME, NXE

// Segments are flat, of 4 GiB.
kvm_sregs state_at(const boot::EntryState& entry, kvm_sregs sregs) {
    const bool long_mode = entry.mode == boot::EntryMode::long_mode;
    kvm_segment code{};
    code.selector = entry.code_selector;
    code.limit = 0xffff'ffff;
    code.type = 11;
    code.present = 1;
    code.s = 1;
    code.l = long_mode ? 1 : 0;
    code.db = long_mode ? 0 : 1;
    code.g = 1;
    auto data = code;
    data.selector = entry.data_selector;
    data.type = 3;
    data.l = 0;
    data.db = 1;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
    sregs.tr.base = 0;
    sregs.tr.limit = 0x67;
    sregs.tr.type = 11;
    if (entry.gdt.bytes > 0) {
        sregs.gdt.base = entry.gdt.address;
        sregs.gdt.limit = static_cast<std::uint16_t>(entry.gdt.bytes - 1);
    }
    sregs.cr0 = long_mode ? cr0_paging : cr0_protected;
    sregs.cr4 = long_mode ? cr4_pae : 0;
    sregs.efer = long_mode ? efer_long_mode : 0;
    sregs.cr3 = entry.cr3;
    return sregs;
}

// KVM_GET_MSRS of IA32_TSC gives the guest's TSC of that moment. The closest of a few tries, since the thread
// may be preempted in any; empty where KVM has no such MSR.
std::optional<TscSample> sample_tsc(const kvm::Vcpu& vcpu) {
    constexpr std::uint32_t ia32_tsc = 0x10;
    std::optional<TscSample> closest;
    auto least = std::chrono::steady_clock::duration::max();
    for (int i = 0; i < 5; ++i) {
        const auto before = std::chrono::steady_clock::now();
        const auto tsc = vcpu.msr(ia32_tsc);
        const auto took = std::chrono::steady_clock::now() - before;
        if (!tsc || took >= least)
            continue;
        least = took;
        closest = {*tsc, before + took / 2};
    }
    return closest;
}

// Nothing else catches on a vCPU's thread.
template<typename Work>
auto where_memory_lasts(const char* asked, Work work) -> decltype(work()) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        // Texts that std::string keeps in itself.
        return tl::unexpected{Error{ErrorKind::host_lacks, asked, "out of memory", {}}};
    }
}

} // namespace

void prepare_kick_signal() {
    struct sigaction action {};
    action.sa_handler = [](int) {}; // interrupting the ioctl is all it is for; no SA_RESTART
    ::sigaction(kick_signal(), &action, nullptr);
}

Status VcpuThread::start() {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, stack_bytes);
    const int error = ::pthread_create(&_thread, &attributes, &VcpuThread::entry, this);
    ::pthread_attr_destroy(&attributes);
    if (error != 0) {
        const auto vcpus = _context.plan->vcpus.size();
        return tl::unexpected{
            thread_refused(fmt::format("start the threads of {} vCPUs, that of vCPU {}", vcpus, _index),
                           error, threads_needed(vcpus), threads_allowed())};
    }
    _joinable = true;
    return {};
}

void VcpuThread::kick() {
    if (!_joinable)
        return;
    // Before KVM_RUN: immediate_exit makes it return at once. In it: the signal ends it.
    {
        const std::lock_guard lock{_shared_mutex};
        if (_shared != nullptr)
            __atomic_store_n(&_shared->immediate_exit, 1, __ATOMIC_RELAXED);
    }
    ::pthread_kill(_thread, kick_signal());
}

bool VcpuThread::join(const timespec& deadline) {
    if (!_joinable)
        return true;
    if (::pthread_timedjoin_np(_thread, nullptr, &deadline) != 0)
        return false;
    _joinable = false;
    return true;
}

void* VcpuThread::entry(void* self) {
    static_cast<VcpuThread*>(self)->live();
    return nullptr;
}

void VcpuThread::say(VcpuEvent::Kind kind, Error error, std::optional<std::uint32_t> exit_reason) {
    _context.events->push({_index, kind, std::move(error), exit_reason});
}

void VcpuThread::live() {
    _tid = static_cast<pid_t>(::syscall(SYS_gettid));
    ::pthread_setname_np(::pthread_self(), fmt::format("vCPU {}", _index).c_str()); // for top -H, perf
    auto vcpu = where_memory_lasts("set up a vCPU", [&] { return set_up(); });
    if (!vcpu)
        return say(VcpuEvent::Kind::failed, vcpu.error());
    share(&vcpu->shared());
    say(VcpuEvent::Kind::ready);
    _context.started.wait(0);
    if (_context.started == 1) {
        const auto ended = where_memory_lasts("run a vCPU", [&] { return run(*vcpu); });
        // A vCPU that died keeps its state until the machine is stopped, for a snapshot that shows all of
        // them.
        if (!ended)
            say(VcpuEvent::Kind::died, ended.error(), vcpu->shared().exit_reason);
        _context.stop.wait(false);
        if (_context.want_snapshots)
            take_snapshot(*vcpu);
        read_statistics(*vcpu);
        if (_first_tsc)
            _last_tsc = sample_tsc(*vcpu);
        if (ended)
            say(VcpuEvent::Kind::stopped);
    }
    share(nullptr);
}

void VcpuThread::share(kvm_run* shared) {
    const std::lock_guard lock{_shared_mutex};
    _shared = shared;
}

Result<kvm::Vcpu> VcpuThread::set_up() {
    const auto& placement = _context.plan->vcpus[_index];
    if (auto pinned = topology::pin_this_thread(placement.pus); !pinned)
        return tl::unexpected{pinned.error()};
    auto vcpu = _context.vm->create_vcpu(placement.apic_id);
    if (!vcpu)
        return vcpu;
    if (_context.dirty_rings != nullptr)
        if (auto attached = _context.dirty_rings->attach(*vcpu); !attached)
            return tl::unexpected{attached.error()};

    const auto table = core::cpu::for_vcpu(*_context.cpuid, _context.plan->shape, _index);
    if (auto set = vcpu->set_cpuid(table); !set)
        return tl::unexpected{set.error()};
    const auto read = vcpu->cpuid();
    if (!read)
        return tl::unexpected{read.error()};
    for (const auto& difference : core::cpu::differences(table, *read))
        (is_ours(difference) ? _cpuid_changes : _feature_changes).push_back(to_string(difference));

    if (auto set = set_registers(*vcpu); !set)
        return tl::unexpected{set.error()};
    for (const auto& msr : _context.msrs)
        if (!vcpu->set_msr(msr.index, msr.value))
            _refused_msrs.push_back(fmt::format("{} ({:#x}) = {:#x}", msr.name, msr.index, msr.value));
    if (auto set = set_capabilities(*vcpu); !set)
        return tl::unexpected{set.error()};
    if (_index == 0)
        _tsc_khz = vcpu->tsc_khz().value_or(0);
    // Now, since the ioctl would wait for the end of KVM_RUN.
    if (_context.recording.statistics && _context.statistics != nullptr)
        if (auto fd = vcpu->stats_fd())
            _statistics_fd = std::move(*fd);
    _recorded.resize(_context.recording.exits);
    if (_index == 0 && _context.recording.tsc)
        _first_tsc = sample_tsc(*vcpu);
    return vcpu;
}

Status VcpuThread::set_registers(const kvm::Vcpu& vcpu) const {
    auto sregs = vcpu.sregs();
    if (!sregs)
        return tl::unexpected{sregs.error()};
    if (_context.apic == ApicStart::x2apic)
        sregs->apic_base |= apic_base_x2apic;
    if (_index != 0)
        return vcpu.set_sregs(*sregs);
    const auto& bsp = _context.bsp;
    if (auto set = vcpu.set_sregs(state_at(bsp, *sregs)); !set)
        return set;
    kvm_regs regs{};
    regs.rip = bsp.rip;
    regs.rax = bsp.rax;
    regs.rbx = bsp.rbx;
    regs.rsi = bsp.rsi;
    regs.rsp = bsp.rsp;
    regs.rflags = 2;
    return vcpu.set_regs(regs);
}

Status VcpuThread::set_capabilities(const kvm::Vcpu& vcpu) const {
    for (const auto& msr : _context.capabilities) {
        if (auto set = vcpu.set_msr(msr.index, msr.value); !set)
            return set;
        const auto read = vcpu.msr(msr.index);
        if (!read)
            return tl::unexpected{read.error()};
        if (*read != msr.value)
            return fail(
                ErrorKind::host_lacks, fmt::format("hide features of VMX from vCPU {}", _index),
                fmt::format("MSR {:#x} reads {:#x} after {:#x} was written", msr.index, *read, msr.value));
    }
    return {};
}

Status VcpuThread::run(const kvm::Vcpu& vcpu) {
    auto& shared = vcpu.shared();
    // EAGAIN: this vCPU has just taken its SIPI and wants to be run again. But also where KVM may not have
    // the thread that it starts for a machine, each time.
    constexpr unsigned most_in_a_row = 10'000;
    unsigned in_a_row = 0;
    while (!_context.stop.load(std::memory_order_relaxed)) {
        const int error = vcpu.run();
        if (error != 0) [[unlikely]] {
            if (error == EINTR || (error == EAGAIN && ++in_a_row < most_in_a_row))
                continue;
            if (error == EAGAIN)
                return tl::unexpected{thread_refused(fmt::format("KVM_RUN of vCPU {}", _index), error,
                                                     threads_needed(_context.plan->vcpus.size()) + 1,
                                                     threads_allowed())};
            remember(shared.exit_reason, 0);
            return fail(ErrorKind::check_failed, fmt::format("KVM_RUN of vCPU {}", _index),
                        fmt::format("{}, last exit {}", errno_text(error), exit_text(shared.exit_reason)));
        }
        in_a_row = 0;
        if (auto handled = handle_exit(vcpu); !handled) [[unlikely]]
            return handled;
    }
    return {};
}

Status VcpuThread::handle_exit(const kvm::Vcpu& vcpu) {
    auto& shared = vcpu.shared();
    if (shared.exit_reason == KVM_EXIT_IO) [[likely]] {
        const auto& io = shared.io;
        remember(KVM_EXIT_IO, io.port);
        const auto bytes = std::uint64_t{io.size} * io.count;
        if (io.data_offset > vcpu.shared_bytes() || bytes > vcpu.shared_bytes() - io.data_offset)
            return fail(ErrorKind::check_failed, "KVM_EXIT_IO", "data outside the shared page");
        auto* const data = reinterpret_cast<std::byte*>(&shared) + io.data_offset;
        if (io.port == wire::reload_port) [[unlikely]] {
            if (io.direction == KVM_EXIT_IO_OUT)
                return reload(vcpu);
            std::memset(data, 0, bytes);
            data[0] = std::byte{_context.state ? std::uint8_t{1} : std::uint8_t{0}};
            return {};
        }
        if (_context.boost != nullptr) [[unlikely]]
            _context.boost->left_guest(_tid.load(std::memory_order_relaxed));
        _context.ports->dispatch({_index,
                                  io.port,
                                  io.direction == KVM_EXIT_IO_OUT,
                                  io.size,
                                  {data, static_cast<std::size_t>(bytes)}});
        return {};
    }
    if (shared.exit_reason == KVM_EXIT_MMIO) {
        remember(KVM_EXIT_MMIO, static_cast<std::uint32_t>(shared.mmio.phys_addr));
        const auto bytes = std::min<std::size_t>(shared.mmio.len, sizeof shared.mmio.data);
        if (_context.boost != nullptr)
            _context.boost->left_guest(_tid.load(std::memory_order_relaxed));
        std::ignore = _context.mmio->dispatch({_index,
                                               shared.mmio.phys_addr,
                                               shared.mmio.is_write != 0,
                                               static_cast<std::uint8_t>(bytes),
                                               {reinterpret_cast<std::byte*>(shared.mmio.data), bytes}});
        return {};
    }
    if (shared.exit_reason == KVM_EXIT_IOAPIC_EOI) {
        if (_context.end_of_interrupt)
            _context.end_of_interrupt(shared.eoi.vector);
        return {};
    }
    if (shared.exit_reason == KVM_EXIT_INTR)
        return {};
    if (shared.exit_reason == KVM_EXIT_DIRTY_RING_FULL && _context.dirty_rings != nullptr)
        return _context.dirty_rings->make_room();
    remember(shared.exit_reason, 0);
    return fail(ErrorKind::check_failed, fmt::format("run vCPU {}", _index), describe_fatal_exit(shared));
}

Status VcpuThread::reload(const kvm::Vcpu& vcpu) const {
    if (!_context.state)
        return {};
    // Completes the OUT without going on (Documentation/virt/kvm/api.rst, KVM_EXIT_IO). A kick meanwhile is
    // not lost: stop was set before it, and is looked at next.
    auto& shared = vcpu.shared();
    __atomic_store_n(&shared.immediate_exit, 1, __ATOMIC_RELAXED);
    const int error = vcpu.run();
    __atomic_store_n(&shared.immediate_exit, 0, __ATOMIC_RELAXED);
    if (error != EINTR)
        return fail(ErrorKind::check_failed, fmt::format("complete an OUT of vCPU {}", _index),
                    error == 0 ? describe_fatal_exit(shared) : errno_text(error));
    const auto as_check = [&](const Error& refused) {
        return Error{ErrorKind::check_failed, fmt::format("write the state of vCPU {} back", _index),
                     fmt::format("{}: {}", refused.asked, refused.found), refused.remedy};
    };
    return read_state(vcpu, *_context.state)
        .and_then([&](const VcpuState& state) {
            return forget_state(vcpu, *_context.state, state).and_then([&] {
                return write_state(vcpu, *_context.state, state);
            });
        })
        .map_error(as_check);
}

void VcpuThread::take_snapshot(const kvm::Vcpu& vcpu) {
    VcpuSnapshot snapshot;
    const auto regs = vcpu.regs();
    const auto sregs = vcpu.sregs();
    const auto mp_state = vcpu.mp_state();
    const auto lapic = vcpu.lapic();
    const auto events = vcpu.events();
    if (!regs || !sregs || !mp_state || !lapic || !events)
        return;
    snapshot.regs = *regs;
    snapshot.sregs = *sregs;
    snapshot.mp_state = *mp_state;
    snapshot.lapic = *lapic;
    snapshot.events = *events;
    for (std::size_t i = _exit_count - std::min(_exit_count, history); i < _exit_count; ++i)
        snapshot.last_exits.push_back(_exits[i % history]);
    _snapshot = std::move(snapshot);
}

std::vector<std::uint64_t> VcpuThread::statistics_now() const {
    return _statistics_fd ? statistics_from(_statistics_fd) : std::vector<std::uint64_t>{};
}

std::vector<TimedExit> VcpuThread::recorded_exits() const {
    std::vector<TimedExit> exits;
    const auto kept = std::min(_recorded_count, _recorded.size());
    exits.reserve(kept);
    for (auto i = _recorded_count - kept; i < _recorded_count; ++i)
        exits.push_back(_recorded[i % _recorded.size()]);
    return exits;
}

void VcpuThread::read_statistics(const kvm::Vcpu& vcpu) {
    if (_context.statistics == nullptr)
        return;
    if (const auto fd = vcpu.stats_fd())
        _statistics = statistics_from(*fd);
}

// Only what can be read is reported; a statistic less is no reason to fail a run.
std::vector<std::uint64_t> VcpuThread::statistics_from(const Fd& fd) const {
    const auto* const layout = _context.statistics->of(fd.get());
    if (layout == nullptr)
        return {};
    return kvm::read_statistics(fd.get(), *layout).value_or(std::vector<std::uint64_t>{});
}

} // namespace nestbed::machine
