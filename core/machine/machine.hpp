// A running guest: its VM, memory and vCPU threads, from a plan and a payload.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/boot/payload.hpp"
#include "core/boot/placement.hpp"
#include "core/cpu/hidden.hpp"
#include "core/cpu/table.hpp"
#include "core/device/exit_counter.hpp"
#include "core/device/port_bus.hpp"
#include "core/kvm/kvm.hpp"
#include "core/kvm/vm.hpp"
#include "core/machine/guest_link.hpp"
#include "core/machine/guest_memory.hpp"
#include "core/machine/inspection.hpp"
#include "core/machine/vcpu_thread.hpp"
#include "core/supervise/event_queue.hpp"
#include "core/supervise/supervisor.hpp"
#include "core/wire/mailbox.hpp"
#include "topology/plan.hpp"
#include "topology/verify.hpp"

namespace nestbed::machine {

struct MachineSpec {
    topology::Plan plan;
    const boot::Payload* payload = nullptr; // outlives the machine
    bool nested = true;                     // show VMX or SVM where KVM offers it
    core::cpu::HiddenNested hidden = {};    // of it, then
    Presence memory = Presence::prefaulted;
};

struct JobRequest {
    std::string_view name;
    std::array<std::uint64_t, wire::job_arguments> arguments{};
    std::uint32_t first_vcpu = 0;
    std::uint32_t end_vcpu = 0; // one past the last
    std::chrono::milliseconds deadline{0};
};

struct PhaseTime {
    std::string phase;
    double seconds = 0;
};

class Machine;

// Stops a machine and frees it. One whose threads do not leave the kernel is kept instead, with its memory:
// freeing that under a running guest would be worse.
struct Retire {
    void operator()(Machine* machine) const noexcept;
};
using MachinePtr = std::unique_ptr<Machine, Retire>;

class Machine {
public:
    // Everything up to the first instruction: memory, vCPUs on their threads, CPUID, the payload. Errors:
    // host_lacks, bad_input (memory too small), cancelled, deadline.
    [[nodiscard]] static Result<MachinePtr> create(const kvm::Kvm& kvm, MachineSpec spec,
                                                   supervise::Supervisor& supervisor);
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;
    Machine(Machine&&) = delete;
    Machine& operator=(Machine&&) = delete;
    // After a stop() that succeeded; Retire sees to that.
    ~Machine() = default;

    // Lets the vCPUs run and waits until all are online. Errors: as run_job().
    [[nodiscard]] Status boot(std::chrono::milliseconds deadline);

    // Runs a job of the payload and waits until every vCPU of the request has finished it. Errors: deadline,
    // naming the vCPUs that did not finish; check_failed when a vCPU died, raised an exception or could not
    // run the job; cancelled. After any of them the machine is of no more use than for diagnose().
    [[nodiscard]] Status run_job(const JobRequest& request);

    // run_job() in two steps, for scripts that do something to the machine in between.
    [[nodiscard]] Status start_job(const JobRequest& request);
    [[nodiscard]] Status await_job(std::chrono::milliseconds deadline);

    // Waits for something that the guest writes; looked at whenever the guest rings the doorbell. Errors: as
    // run_job().
    [[nodiscard]] Status await_guest(const std::function<bool()>& condition,
                                     std::chrono::milliseconds deadline, std::string_view what);

    // KVM_EXIT_* of the exit that a vCPU died of, where it was one.
    [[nodiscard]] std::optional<std::uint32_t> fatal_exit() const noexcept { return _fatal_exit; }

    // Fraction of the current job's vCPUs that are done, or of all vCPUs that are online before the first
    // job.
    [[nodiscard]] double progress() const { return _guest.progress(); }

    // Stops all vCPUs and describes those that matter, a line each: registers, mp_state, last exits; then the
    // last lines that the guest logged. Nothing where all is well.
    [[nodiscard]] std::vector<std::string> diagnose();

    // Stops and joins all vCPU threads; may be called again. Afterwards statistics() is valid. Errors:
    // check_failed when a thread does not leave the kernel within 30 s.
    Status stop();

    [[nodiscard]] const topology::Plan& plan() const noexcept { return _spec.plan; }
    [[nodiscard]] std::uint32_t vcpus() const noexcept { return static_cast<std::uint32_t>(_threads.size()); }
    [[nodiscard]] const GuestMemory& memory() const noexcept { return _memory; }
    [[nodiscard]] const core::cpu::Table& cpuid() const noexcept { return _cpuid; }
    [[nodiscard]] boot::Extent scratch() const noexcept { return _placement.scratch; }
    [[nodiscard]] std::uint64_t exits_counted(std::uint32_t vcpu) const { return _exit_counter.count(vcpu); }
    [[nodiscard]] std::uint64_t tsc_khz() const { return _threads[0]->tsc_khz(); }
    [[nodiscard]] const std::vector<PhaseTime>& phase_times() const noexcept { return _phases; }
    // Sent by KVM to one vCPU from outside, as a device would (KVM_SIGNAL_MSI).
    [[nodiscard]] Status signal_msi(std::uint32_t vcpu, std::uint8_t vector) const;

    // Shared with the guest, which may change any of it at any time: read each value once, trust none.
    [[nodiscard]] wire::Header& header() const noexcept { return _guest.header(); }
    [[nodiscard]] wire::Mailbox& mailbox(std::uint32_t vcpu) const noexcept { return _guest.mailbox(vcpu); }
    // The last lines that the guest logged; see GuestLink.
    [[nodiscard]] const std::deque<std::string>& last_lines() const noexcept { return _guest.last_lines(); }

    // Where threads and pages really are. Errors: check_failed when a thread is gone.
    [[nodiscard]] Result<topology::Observation> observe() const;

    // "vCPUs 0-287: leaf 0xb ...": what KVM made of the CPUID tables, empty where it kept them. First what
    // bears the topology, then everything else.
    [[nodiscard]] std::vector<std::string> cpuid_changes() const;
    [[nodiscard]] std::vector<std::string> cpuid_feature_changes() const;
    // MSRs that KVM would not set, with the vCPUs.
    [[nodiscard]] std::vector<std::string> refused_msrs() const;

    [[nodiscard]] MachineStatistics statistics() const;

private:
    Machine(kvm::Vm vm, MachineSpec spec, supervise::Supervisor& supervisor);

    [[nodiscard]] Status set_up_vm(const kvm::Kvm& kvm);
    [[nodiscard]] Status set_up_memory();
    [[nodiscard]] Status load_payload();
    [[nodiscard]] Status start_threads(const kvm::Kvm& kvm);
    [[nodiscard]] Status await(const std::function<bool()>& condition, std::chrono::milliseconds deadline,
                               std::string_view what);
    void pump();
    void handle_event(const VcpuEvent& event);
    void die(Error error);

    MachineSpec _spec;
    supervise::Supervisor& _supervisor;
    GuestMemory _memory; // outlives the VM that maps it
    kvm::Vm _vm;
    core::cpu::Table _cpuid;
    boot::GuestPlacement _placement;
    device::PortBus _ports;
    device::ExitCounter _exit_counter;
    supervise::EventQueue<VcpuEvent> _events;
    VcpuContext _context;
    std::vector<std::unique_ptr<VcpuThread>> _threads;

    // Control thread only.
    GuestLink _guest;
    std::uint32_t _ready = 0;
    std::optional<Error> _death;
    std::optional<std::uint32_t> _fatal_exit;
    std::string _job_name;
    bool _stopping = false;
    std::vector<PhaseTime> _phases;
    std::unique_ptr<supervise::Readable> _readable;
    boost::fibers::fiber _pump;
};

} // namespace nestbed::machine
