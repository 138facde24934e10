#include "core/machine/machine.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include <fmt/format.h>
#include <linux/kvm.h>

#include "base/units.hpp"
#include "core/boot/initial_memory.hpp"
#include "core/cpu/cpuid.hpp"
#include "core/machine/guest_text.hpp"
#include "core/machine/process_limits.hpp"
#include "core/machine/vm_setup.hpp"

namespace nestbed::machine {

namespace {

using namespace std::chrono_literals;
using supervise::Clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// For an error: who has not finished.
std::string missing_text(const GuestLink& guest) {
    const auto missing = guest.unfinished();
    return missing.empty() ? "none (but nobody rang the doorbell)" : vcpu_list(missing);
}

} // namespace

Machine::Machine(std::unique_ptr<Chassis> chassis, const boot::Payload& payload)
    : _payload{payload}, _exit_counter{chassis->vcpus()}, _mmio_counter{chassis->vcpus()}, _chassis{std::move(
                                                                                               chassis)} {}

Result<MachinePtr> Machine::create(const kvm::Kvm& kvm, MachineSpec spec, supervise::Supervisor& supervisor) {
    const auto& payload = *spec.payload;
    auto chassis = Chassis::create(kvm,
                                   {.plan = std::move(spec.plan),
                                    .nested = spec.nested,
                                    .hidden = std::move(spec.hidden),
                                    .memory = spec.memory,
                                    .dirty_ring_entries = spec.dirty_ring_entries,
                                    .recording = spec.recording},
                                   supervisor);
    if (!chassis)
        return tl::unexpected{chassis.error()};
    auto machine = MachinePtr{new Machine{std::move(*chassis), payload}};
    auto& base = *machine->_chassis;
    for (const auto& step : {
             std::pair<std::string_view, std::function<Status()>>{"vm", [&] { return base.set_up_vm(kvm); }},
             {"memory", [&] { return base.set_up_memory(); }},
             {"payload", [&] { return machine->load_payload(); }},
             {"vcpus", [&] { return base.create_vcpus(kvm, machine->_bsp); }},
         })
        if (auto done = base.timed(step.first, step.second); !done)
            return tl::unexpected{done.error()};
    return machine;
}

Status Machine::load_payload() {
    const auto& memory = _chassis->memory();
    // Bit 26 of leaf 0x80000001 EDX: 1 GiB pages (SDM volume 2, CPUID; APM volume 3).
    const auto* const extended = core::cpu::find(cpuid(), 0x8000'0001);
    const bool gib_pages = extended != nullptr && (extended->edx & 1U << 26) != 0;
    auto placement = boot::place_guest(plan(), memory.ranges(), _payload.image.end(), gib_pages);
    if (!placement)
        return tl::unexpected{placement.error()};
    _placement = std::move(*placement);

    const auto end = std::max(memory.ranges().back().end(), boot::hole_end);
    // The TSC's frequency is known once there is a vCPU; boot() writes it.
    const auto initial = boot::initial_memory(_payload, plan(), _placement, end, gib_pages, 0);
    for (const auto& piece : initial.pieces)
        if (auto written = memory.write(piece.address, piece.data); !written)
            return written;
    _guest = GuestLink{memory, _placement};
    _bsp.mode = boot::EntryMode::long_mode;
    _bsp.rip = _payload.entry64;
    _bsp.cr3 = initial.cr3;
    _bsp.code_selector = wire::kernel_code_selector;
    _bsp.data_selector = wire::kernel_data_selector;
    _chassis->ports().attach(wire::exit_port, sizeof(std::uint32_t), _exit_counter);
    _chassis->mmio().attach(wire::exit_page_gpa, wire::page_bytes, _mmio_counter);
    _chassis->on_change([this] {
        if (auto death = _guest.look())
            _chassis->die(std::move(*death));
    });
    return _chassis->vm().add_pio_eventfd(wire::doorbell_port, sizeof(std::uint32_t), _chassis->doorbell());
}

Status Machine::boot(std::chrono::milliseconds deadline) {
    const auto start = Clock::now();
    header().tsc_khz = tsc_khz();
    _chassis->let_run();
    auto online = await([&] { return _guest.online() == vcpus(); }, deadline,
                        fmt::format("bring {} vCPUs online", vcpus()));
    if (!online && online.error().kind == ErrorKind::deadline)
        online.error().found = fmt::format("{} online after {:.1f} s, not heard of: {}", _guest.online(),
                                           seconds_since(start), missing_text(_guest));
    _chassis->add_phase("boot", seconds_since(start));
    return online;
}

Status Machine::run_job(const JobRequest& request) {
    return start_job(request).and_then([&] { return await_job(request.deadline); });
}

Status Machine::start_job(const JobRequest& request) {
    const auto index = _payload.job_index(request.name);
    if (!index)
        return tl::unexpected{index.error()};
    if (request.first_vcpu >= request.end_vcpu || request.end_vcpu > vcpus())
        return fail(
            ErrorKind::bad_input,
            fmt::format("run {} on vCPUs {} to {}", request.name, request.first_vcpu, request.end_vcpu),
            fmt::format("the machine has {}", vcpus()));
    // A machine that is dead already answers for that.
    if (auto alive = await([] { return true; }, 1s, request.name); !alive)
        return alive;
    _job_name = request.name;
    _guest.give_job(*index, request.arguments, request.first_vcpu, request.end_vcpu);
    for (auto vcpu = request.first_vcpu; vcpu < request.end_vcpu; ++vcpu)
        if (auto sent = signal_msi(vcpu, wire::wake_vector); !sent)
            return sent;
    return {};
}

Status Machine::await_job(std::chrono::milliseconds deadline) {
    const auto start = Clock::now();
    auto done = await([&] { return _guest.all_finished(); }, deadline, fmt::format("run {}", _job_name));
    if (!done && done.error().kind == ErrorKind::deadline)
        done.error().found =
            fmt::format("not finished after {:.1f} s by {}", seconds_since(start), missing_text(_guest));
    return done.and_then([&] { return _guest.outcome(_job_name); });
}

Status Machine::await_guest(const std::function<bool()>& condition, std::chrono::milliseconds deadline,
                            std::string_view what) {
    return await(condition, deadline, what);
}

Status Machine::signal_msi(std::uint32_t vcpu, std::uint8_t vector) const {
    return _chassis->vm().signal_msi(plan().vcpus[vcpu].apic_id, vector);
}

std::vector<std::string> Machine::diagnose() {
    const auto suspects = _guest.suspects(); // asked before the stop, which would finish some of them
    if (auto stopped = _chassis->stop_with_snapshots(); !stopped)
        return {stopped.error().message()};
    if (suspects.empty() && !_chassis->death())
        return {};
    auto lines = describe_suspects(suspects, plan(), _chassis->threads(), _guest);
    for (auto& line : describe_log(_guest))
        lines.push_back(std::move(line));
    return lines;
}

} // namespace nestbed::machine
