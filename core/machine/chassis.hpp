// A VM with its memory, its CPUID and a thread per vCPU: what every guest needs, whoever wrote it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/boot/entry_state.hpp"
#include "core/cpu/hidden.hpp"
#include "core/cpu/shown_cpu.hpp"
#include "core/cpu/table.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/device/port_bus.hpp"
#include "core/kvm/kvm.hpp"
#include "core/kvm/vm.hpp"
#include "core/machine/boost_ticker.hpp"
#include "core/machine/dirty_rings.hpp"
#include "core/machine/guest_memory.hpp"
#include "core/machine/inspection.hpp"
#include "core/machine/progress_boost.hpp"
#include "core/machine/vcpu_thread.hpp"
#include "core/supervise/event_queue.hpp"
#include "core/supervise/supervisor.hpp"
#include "topology/plan.hpp"
#include "topology/verify.hpp"

namespace nestbed::machine {

struct ChassisSpec {
    topology::Plan plan;
    bool nested = true;                  // show VMX or SVM where KVM offers it
    core::cpu::HiddenNested hidden = {}; // of it, then
    core::cpu::ShownCpu shown = {};      // where it is not all that KVM supports
    Presence memory = Presence::prefaulted;
    ApicStart apic = ApicStart::x2apic;
    // Where several vCPUs share a processor, prefer the one that makes progress; see ProgressBoost.
    bool boost = false;
    // Of each vCPU's dirty ring, a power of two; 0: no rings.
    std::uint32_t dirty_ring_entries = 0;
    Recording recording = {};
};

struct PhaseTime {
    std::string phase;
    double seconds = 0;
};

// Frees a machine, which has a stop() as Chassis has. One whose threads do not leave the kernel is kept
// instead, with its memory: freeing that under a running guest would be worse.
struct Retire {
    template<typename Machine>
    void operator()(Machine* machine) const noexcept {
        if (machine->stop())
            delete machine;
    }
};

// Used by the control thread alone. What the owner attaches to it outlives its threads.
class Chassis {
public:
    // No vCPU yet, and no memory. Errors: host_lacks.
    [[nodiscard]] static Result<std::unique_ptr<Chassis>> create(const kvm::Kvm& kvm, ChassisSpec spec,
                                                                 supervise::Supervisor& supervisor);
    Chassis(const Chassis&) = delete;
    Chassis& operator=(const Chassis&) = delete;
    Chassis(Chassis&&) = delete;
    Chassis& operator=(Chassis&&) = delete;
    // After a stop() that succeeded.
    ~Chassis() = default;

    // The steps to a running guest, in this order.
    [[nodiscard]] Status set_up_vm(const kvm::Kvm& kvm);
    [[nodiscard]] Status set_up_memory();
    // Between these the owner writes what the guest starts with, and attaches its devices.
    [[nodiscard]] Status create_vcpus(const kvm::Kvm& kvm, const boot::EntryState& bsp);
    void let_run();

    // Suspends the calling fiber until `condition` holds; it is looked at after every event. Errors: those of
    // Supervisor::await(), and what die() was told.
    [[nodiscard]] Status await(const std::function<bool()>& condition, std::chrono::milliseconds deadline,
                               std::string_view what);

    // Called on the control thread after events, before conditions are looked at.
    void on_change(std::function<void()> look) { _look = std::move(look); }
    // From any thread: has the control thread look.
    void ring() { _events.ring(); }
    // The machine is of no more use; the first to say so gives the reason.
    void die(Error error);
    [[nodiscard]] const std::optional<Error>& death() const noexcept { return _death; }
    // KVM_EXIT_* of the exit that a vCPU died of, where it was one.
    [[nodiscard]] std::optional<std::uint32_t> fatal_exit() const noexcept { return _fatal_exit; }

    // Stops and joins all vCPU threads; may be called again. Errors: check_failed when a thread does not
    // leave the kernel within 30 s.
    [[nodiscard]] Status stop();
    // As stop(), and keeps the state of each vCPU for describe_suspects().
    [[nodiscard]] Status stop_with_snapshots();

    [[nodiscard]] const topology::Plan& plan() const noexcept { return _spec.plan; }
    [[nodiscard]] std::uint32_t vcpus() const noexcept {
        return static_cast<std::uint32_t>(_spec.plan.vcpus.size());
    }
    [[nodiscard]] const GuestMemory& memory() const noexcept { return _memory; }
    [[nodiscard]] const core::cpu::Table& cpuid() const noexcept { return _cpuid; }
    [[nodiscard]] const kvm::Vm& vm() const noexcept { return _vm; }
    // Null where the machine has none.
    [[nodiscard]] DirtyRings* dirty_rings() const noexcept { return _dirty_rings.get(); }
    [[nodiscard]] const VcpuThreads& threads() const noexcept { return _threads; }
    [[nodiscard]] std::uint64_t tsc_khz() const { return _threads[0]->tsc_khz(); }
    [[nodiscard]] int doorbell() const noexcept { return _events.fd(); }
    // Filled before create_vcpus().
    [[nodiscard]] device::PortBus& ports() noexcept { return _ports; }
    [[nodiscard]] device::MmioBus& mmio() noexcept { return _mmio; }
    void on_end_of_interrupt(std::function<void(std::uint8_t)> told) {
        _context.end_of_interrupt = std::move(told);
    }

    [[nodiscard]] const std::vector<PhaseTime>& phase_times() const noexcept { return _phases; }
    void add_phase(std::string phase, double seconds) { _phases.push_back({std::move(phase), seconds}); }
    // add_phase() where the step succeeds.
    [[nodiscard]] Status timed(std::string_view phase, const std::function<Status()>& step);

    // Whether KVM notes which pages are written, in its log or in dirty rings. The slots of dirty_log() are
    // those of memory().regions(), in their order from 0 on. Errors: host_lacks.
    [[nodiscard]] Status log_dirty_pages(bool on) const;

    // Where threads and pages really are. Errors: check_failed when a thread is gone.
    [[nodiscard]] Result<topology::Observation> observe() const;
    // "vCPUs 0-287: leaf 0xb ...": what KVM made of the CPUID tables, empty where it kept them. First what
    // bears the topology, then everything else.
    [[nodiscard]] std::vector<std::string> cpuid_changes() const;
    [[nodiscard]] std::vector<std::string> cpuid_feature_changes() const;
    // MSRs that KVM would not set, with the vCPUs.
    [[nodiscard]] std::vector<std::string> refused_msrs() const;
    // Valid after stop().
    [[nodiscard]] MachineStatistics statistics() const;
    // While it runs, where Recording says so.
    [[nodiscard]] MachineStatistics statistics_now() const;
    // Valid after stop(), where Recording says so; empty where KVM does not tell the guest's TSC.
    [[nodiscard]] std::optional<TscClock> tsc_clock() const;

private:
    Chassis(kvm::Vm vm, ChassisSpec spec, supervise::Supervisor& supervisor);

    void pump();
    void handle_event(const VcpuEvent& event);
    void publish();

    ChassisSpec _spec;
    supervise::Supervisor& _supervisor;
    GuestMemory _memory; // outlives the VM that maps it
    kvm::Vm _vm;
    std::unique_ptr<DirtyRings> _dirty_rings;
    core::cpu::Table _cpuid;
    device::PortBus _ports;
    device::MmioBus _mmio;
    supervise::EventQueue<VcpuEvent> _events;
    ProgressBoost _boost;
    kvm::VcpuStatisticsLayout _statistics_layout;
    VcpuContext _context;
    VcpuThreads _threads;
    Fd _record; // see topology/machine_record.hpp
    std::function<void()> _look = [] {};

    std::uint32_t _ready = 0;
    std::optional<Error> _death;
    std::optional<std::uint32_t> _fatal_exit;
    bool _stopping = false;
    std::vector<PhaseTime> _phases;
    std::unique_ptr<supervise::Readable> _readable;
    boost::fibers::fiber _pump;
    std::unique_ptr<BoostTicker> _boost_ticker;
};

} // namespace nestbed::machine
