// One vCPU and the kernel thread that it lives on from creation to destruction. (Before Linux 6.13 a vCPU
// that changes its thread costs a synchronize_rcu(), so it never does.)
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <linux/kvm.h>
#include <pthread.h>
#include <sys/types.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/boot/entry_state.hpp"
#include "core/cpu/msr.hpp"
#include "core/cpu/table.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/device/port_bus.hpp"
#include "core/kvm/statistics.hpp"
#include "core/kvm/vcpu.hpp"
#include "core/kvm/vm.hpp"
#include "core/machine/dirty_rings.hpp"
#include "core/machine/progress_boost.hpp"
#include "core/machine/tsc_clock.hpp"
#include "core/machine/vcpu_state.hpp"
#include "core/supervise/event_queue.hpp"
#include "topology/plan.hpp"

namespace nestbed::machine {

// The mode in which vCPUs find their local APICs. Firmware starts them in x2APIC mode where ids above 254
// exist. In xAPIC mode exactly 256 vCPUs would lose the one whose id is the broadcast address.
enum class ApicStart { xapic, x2apic };

struct VcpuEvent {
    enum class Kind {
        ready,   // created and set up, waits for the machine to start
        failed,  // could not be set up; `error` says why
        died,    // can run no further; `error` says why
        stopped, // left its loop because it was told to
    };
    std::uint32_t vcpu = 0;
    Kind kind = Kind::ready;
    Error error;
    std::optional<std::uint32_t> exit_reason; // KVM_EXIT_* that it died of
};

// What is recorded of each vCPU while it runs, for those who watch.
struct Recording {
    bool statistics = false; // VcpuThread::statistics_now() can be asked
    std::size_t exits = 0;   // how many of the last exits to user space are kept, with their times
    bool tsc = false;        // Chassis::tsc_clock() can be asked
};

// What all vCPU threads of a machine share; outlives them and changes only through the atomics.
struct VcpuContext {
    const kvm::Vm* vm = nullptr;
    const topology::Plan* plan = nullptr;
    const core::cpu::Table* cpuid = nullptr; // the template
    std::vector<core::cpu::NamedMsr> msrs;
    // Of VMX, where features are hidden. Unlike the others they must be taken: the guest would see something
    // else.
    std::vector<core::cpu::MsrValue> capabilities;
    const device::PortBus* ports = nullptr;
    supervise::EventQueue<VcpuEvent>* events = nullptr;
    const device::MmioBus* mmio = nullptr;
    std::function<void(std::uint8_t)> end_of_interrupt; // a vector of the IOAPIC's; from any vCPU's thread
    ProgressBoost* boost = nullptr;                     // null: every vCPU has its fair share
    DirtyRings* dirty_rings = nullptr;                  // null: none
    boot::EntryState bsp;                               // the other vCPUs wait for INIT and SIPI
    ApicStart apic = ApicStart::x2apic;
    kvm::VcpuStatisticsLayout* statistics = nullptr; // null where this KVM has none
    Recording recording;
    std::optional<StateLayout> state; // the same, see wire::reload_port

    std::atomic<std::uint32_t> started{0}; // 1: run, 2: never mind
    std::atomic<bool> stop{false};
    std::atomic<bool> want_snapshots{false};
};

// An exit to user space.
struct ExitRecord {
    std::uint32_t reason = 0; // KVM_EXIT_*
    std::uint32_t detail = 0; // the port or the low half of the address
};

struct TimedExit {
    std::chrono::steady_clock::time_point time;
    ExitRecord exit;
};

// What is known of a vCPU that was stopped in the middle of something.
struct VcpuSnapshot {
    std::uint32_t mp_state = 0;
    kvm_regs regs{};
    kvm_sregs sregs{};
    kvm_lapic_state lapic{};
    kvm_vcpu_events events{};
    std::vector<ExitRecord> last_exits; // newest last
};

class VcpuThread {
public:
    VcpuThread(VcpuContext& context, std::uint32_t vcpu) : _context{context}, _index{vcpu} {}
    VcpuThread(const VcpuThread&) = delete;
    VcpuThread& operator=(const VcpuThread&) = delete;
    VcpuThread(VcpuThread&&) = delete;
    VcpuThread& operator=(VcpuThread&&) = delete;
    // The thread has been joined.
    ~VcpuThread() = default;

    // Errors: host_lacks when the system has no thread left.
    [[nodiscard]] Status start();

    // Gets the thread out of KVM_RUN after context.stop was set. Any thread, any number of times.
    void kick();

    // False: the thread has not ended by `deadline` (CLOCK_REALTIME, as pthread_timedjoin_np() wants it).
    [[nodiscard]] bool join(const timespec& deadline);

    [[nodiscard]] pid_t tid() const noexcept { return _tid.load(); }

    // Valid once the thread said ready.
    // What KVM made of the CPUID table: of the bits that are ours to decide, and of all others.
    [[nodiscard]] const std::vector<std::string>& cpuid_changes() const noexcept { return _cpuid_changes; }
    [[nodiscard]] const std::vector<std::string>& feature_changes() const noexcept {
        return _feature_changes;
    }
    [[nodiscard]] const std::vector<std::string>& refused_msrs() const noexcept { return _refused_msrs; }
    [[nodiscard]] std::uint64_t tsc_khz() const noexcept { return _tsc_khz; } // 0 but for vCPU 0
    // What KVM has counted up to now, where Recording says so; empty where it cannot be read.
    [[nodiscard]] std::vector<std::uint64_t> statistics_now() const;

    // Valid once the thread is joined.
    [[nodiscard]] const std::optional<VcpuSnapshot>& snapshot() const noexcept { return _snapshot; }
    [[nodiscard]] const std::vector<std::uint64_t>& statistics() const noexcept { return _statistics; }
    // The last ones, oldest first, as many as Recording keeps.
    [[nodiscard]] std::vector<TimedExit> recorded_exits() const;
    // Its TSC before its first instruction and after its last, where Recording says so; only of vCPU 0.
    [[nodiscard]] const std::optional<TscSample>& first_tsc() const noexcept { return _first_tsc; }
    [[nodiscard]] const std::optional<TscSample>& last_tsc() const noexcept { return _last_tsc; }

private:
    static constexpr std::size_t history = 8;

    static void* entry(void* self);
    void live();
    void share(kvm_run* shared);
    [[nodiscard]] Result<kvm::Vcpu> set_up();
    [[nodiscard]] Status set_registers(const kvm::Vcpu& vcpu) const;
    [[nodiscard]] Status set_capabilities(const kvm::Vcpu& vcpu) const;
    [[nodiscard]] Status run(const kvm::Vcpu& vcpu);
    [[nodiscard]] Status handle_exit(const kvm::Vcpu& vcpu);
    [[nodiscard]] Status reload(const kvm::Vcpu& vcpu) const;
    void remember(std::uint32_t reason, std::uint32_t detail) {
        _exits[_exit_count++ % history] = {reason, detail};
        if (!_recorded.empty()) [[unlikely]]
            _recorded[_recorded_count++ % _recorded.size()] = {std::chrono::steady_clock::now(),
                                                               {reason, detail}};
    }
    void take_snapshot(const kvm::Vcpu& vcpu);
    void read_statistics(const kvm::Vcpu& vcpu);
    [[nodiscard]] std::vector<std::uint64_t> statistics_from(const Fd& fd) const;
    void say(VcpuEvent::Kind kind, Error error = {}, std::optional<std::uint32_t> exit_reason = {});

    VcpuContext& _context;
    std::uint32_t _index = 0;
    pthread_t _thread{};
    bool _joinable = false;
    std::atomic<pid_t> _tid{0};
    std::mutex _shared_mutex;   // or the thread would unmap what kick() writes to
    kvm_run* _shared = nullptr; // for kick(); null before and after the vCPU's life

    std::array<ExitRecord, history> _exits{};
    std::size_t _exit_count = 0;
    std::vector<TimedExit> _recorded; // a ring, full from the start; empty where none are kept
    std::size_t _recorded_count = 0;
    std::optional<TscSample> _first_tsc;
    std::optional<TscSample> _last_tsc;
    Fd _statistics_fd; // for statistics_now()
    std::uint64_t _tsc_khz = 0;
    std::vector<std::string> _cpuid_changes;
    std::vector<std::string> _feature_changes;
    std::vector<std::string> _refused_msrs;
    std::optional<VcpuSnapshot> _snapshot;
    std::vector<std::uint64_t> _statistics;
};

// Installs the signal handler that kick() needs. Once per process, before the first start().
void prepare_kick_signal();

} // namespace nestbed::machine
