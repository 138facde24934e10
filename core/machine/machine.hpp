// A running guest that speaks our wire protocol: a chassis and a payload.
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
#include "core/boot/entry_state.hpp"
#include "core/boot/payload.hpp"
#include "core/boot/placement.hpp"
#include "core/cpu/table.hpp"
#include "core/device/exit_counter.hpp"
#include "core/kvm/kvm.hpp"
#include "core/machine/chassis.hpp"
#include "core/machine/guest_link.hpp"
#include "core/machine/guest_memory.hpp"
#include "core/supervise/supervisor.hpp"
#include "core/wire/mailbox.hpp"
#include "topology/plan.hpp"

namespace nestbed::machine {

struct MachineSpec {
    topology::Plan plan;
    const boot::Payload* payload = nullptr; // outlives the machine
    bool nested = true;
    core::cpu::HiddenNested hidden = {};
    Presence memory = Presence::prefaulted;
    std::uint32_t dirty_ring_entries = 0; // of each vCPU, a power of two; 0: no dirty rings
    Recording recording = {};
};

struct JobRequest {
    std::string_view name;
    std::array<std::uint64_t, wire::job_arguments> arguments{};
    std::uint32_t first_vcpu = 0;
    std::uint32_t end_vcpu = 0; // one past the last
    std::chrono::milliseconds deadline{0};
};

class Machine;
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

    // run_job() in two steps, for scripts that do something to the machine in between. After a deadline the
    // job goes on, and can be awaited again.
    [[nodiscard]] Status start_job(const JobRequest& request);
    [[nodiscard]] Status await_job(std::chrono::milliseconds deadline);

    // Waits for something that the guest writes; looked at whenever the guest rings the doorbell. Errors: as
    // run_job().
    [[nodiscard]] Status await_guest(const std::function<bool()>& condition,
                                     std::chrono::milliseconds deadline, std::string_view what);

    // KVM_EXIT_* of the exit that a vCPU died of, where it was one.
    [[nodiscard]] std::optional<std::uint32_t> fatal_exit() const noexcept { return _chassis->fatal_exit(); }

    // Fraction of the current job's vCPUs that are done, or of all vCPUs that are online before the first
    // job.
    [[nodiscard]] double progress() const { return _guest.progress(); }

    // vCPUs that have not finished what they were given, or met an exception.
    [[nodiscard]] std::vector<std::uint32_t> suspects() const { return _guest.suspects(); }

    // Stops all vCPUs and describes those that matter, a line each: registers, mp_state, last exits; then the
    // last lines that the guest logged. Nothing where all is well.
    [[nodiscard]] std::vector<std::string> diagnose();

    // Stops and joins all vCPU threads; may be called again. Afterwards statistics() is valid. Errors:
    // check_failed when a thread does not leave the kernel within 30 s.
    Status stop() { return _chassis->stop(); }

    // Where its threads and pages are, what KVM made of its CPUID, its statistics.
    [[nodiscard]] const Chassis& chassis() const noexcept { return *_chassis; }
    [[nodiscard]] const topology::Plan& plan() const noexcept { return _chassis->plan(); }
    [[nodiscard]] std::uint32_t vcpus() const noexcept { return _chassis->vcpus(); }
    [[nodiscard]] const GuestMemory& memory() const noexcept { return _chassis->memory(); }
    [[nodiscard]] const core::cpu::Table& cpuid() const noexcept { return _chassis->cpuid(); }
    [[nodiscard]] boot::Extent scratch() const noexcept { return _placement.scratch; }
    // By virtual node, in the order of the plan. scratch() is one of them.
    [[nodiscard]] const std::vector<boot::Extent>& node_scratch() const noexcept {
        return _placement.node_scratch;
    }
    [[nodiscard]] std::uint64_t exits_counted(std::uint32_t vcpu) const { return _exit_counter.count(vcpu); }
    // Stores to, and loads from, the page at wire::exit_page_gpa.
    [[nodiscard]] std::uint64_t mmio_counted(std::uint32_t vcpu) const { return _mmio_counter.count(vcpu); }
    [[nodiscard]] std::uint64_t tsc_khz() const { return _chassis->tsc_khz(); }
    // Sent by KVM to one vCPU from outside, as a device would (KVM_SIGNAL_MSI).
    [[nodiscard]] Status signal_msi(std::uint32_t vcpu, std::uint8_t vector) const;

    // Shared with the guest, which may change any of it at any time: read each value once, trust none.
    [[nodiscard]] wire::Header& header() const noexcept { return _guest.header(); }
    [[nodiscard]] wire::Mailbox& mailbox(std::uint32_t vcpu) const noexcept { return _guest.mailbox(vcpu); }
    // The last lines that the guest logged; see GuestLink.
    [[nodiscard]] const std::deque<std::string>& last_lines() const noexcept { return _guest.last_lines(); }

private:
    Machine(std::unique_ptr<Chassis> chassis, const boot::Payload& payload);

    [[nodiscard]] Status load_payload();
    [[nodiscard]] Status await(const std::function<bool()>& condition, std::chrono::milliseconds deadline,
                               std::string_view what) {
        return _chassis->await(condition, deadline, what);
    }

    const boot::Payload& _payload;
    device::ExitCounter _exit_counter; // outlives the threads that count
    device::ExitCounter _mmio_counter;
    std::unique_ptr<Chassis> _chassis;
    boot::GuestPlacement _placement;
    boot::EntryState _bsp;
    GuestLink _guest;
    std::string _job_name;
};

} // namespace nestbed::machine
