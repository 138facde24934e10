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

// A vCPU takes well under a millisecond to create; a host that needs a hundred times that is stuck.
constexpr auto creation_base = 30s;
constexpr auto creation_per_vcpu = 100ms;
constexpr int teardown_seconds = 30;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

Status write(const GuestMemory& memory, const boot::Bytes& piece) {
    const auto to = memory.at(piece.address, piece.data.size());
    if (to.size() != piece.data.size())
        return fail(ErrorKind::bad_input,
                    fmt::format("load {} bytes at {:#x}", piece.data.size(), piece.address),
                    "no guest memory there", "use more --memory");
    std::ranges::copy(piece.data, to.begin());
    return {};
}

// For an error: who has not finished.
std::string missing_text(const GuestLink& guest) {
    const auto missing = guest.unfinished();
    return missing.empty() ? "none (but nobody rang the doorbell)" : vcpu_list(missing);
}

} // namespace

Machine::Machine(kvm::Vm vm, MachineSpec spec, supervise::Supervisor& supervisor)
    : _spec{std::move(spec)}, _supervisor{supervisor}, _vm{std::move(vm)},
      _exit_counter{static_cast<std::uint32_t>(_spec.plan.vcpus.size())} {}

Result<MachinePtr> Machine::create(const kvm::Kvm& kvm, MachineSpec spec, supervise::Supervisor& supervisor) {
    const auto count = static_cast<std::uint32_t>(spec.plan.vcpus.size());
    if (auto possible = check_kvm_limits(kvm, spec.plan); !possible)
        return tl::unexpected{possible.error()};
    if (auto raised = raise_open_files(open_files_needed(count)); !raised)
        return tl::unexpected{raised.error()};
    auto vm = kvm.create_vm();
    if (!vm)
        return tl::unexpected{vm.error()};
    auto machine = MachinePtr{new Machine{std::move(*vm), std::move(spec), supervisor}};
    for (const auto& step : {
             std::pair<std::string_view, std::function<Status()>>{"vm",
                                                                  [&] { return machine->set_up_vm(kvm); }},
             {"memory", [&] { return machine->set_up_memory(); }},
             {"payload", [&] { return machine->load_payload(); }},
             {"vcpus", [&] { return machine->start_threads(kvm); }},
         }) {
        const auto start = Clock::now();
        if (auto done = step.second(); !done)
            return tl::unexpected{done.error()};
        machine->_phases.push_back({std::string{step.first}, seconds_since(start)});
    }
    return machine;
}

void Retire::operator()(Machine* machine) const noexcept {
    if (machine->stop())
        delete machine;
}

Status Machine::set_up_vm(const kvm::Kvm& kvm) {
    auto supported = kvm.supported_cpuid();
    if (!supported)
        return tl::unexpected{supported.error()};
    _cpuid = core::cpu::guest_template(*supported,
                                       {.shape = _spec.plan.shape,
                                        .tsc_deadline = kvm.check_extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0,
                                        .nested = _spec.nested,
                                        .hidden_svm = _spec.hidden.svm,
                                        .ext_dest_id = true});
    if (_spec.nested)
        _context.capabilities = capabilities_without(kvm, _spec.hidden.vmx);
    if (auto set = configure_vm(_vm, topology::max_apic_id(_spec.plan.shape)); !set)
        return set;
    return _events.open().and_then(
        [&] { return _vm.add_pio_eventfd(wire::doorbell_port, sizeof(std::uint32_t), _events.fd()); });
}

Status Machine::set_up_memory() {
    auto memory = GuestMemory::allocate(_spec.plan, _spec.memory);
    if (!memory)
        return tl::unexpected{memory.error()};
    _memory = std::move(*memory);
    // What a vCPU sees in system management mode is an address space of its own (bits 31:16 of a slot's
    // number). Nested tests send SMIs, and have their handler in plain memory.
    const std::uint32_t spaces = _spec.nested && _vm.check_extension(KVM_CAP_MULTI_ADDRESS_SPACE) > 1 ? 2 : 1;
    for (std::uint32_t space = 0; space < spaces; ++space) {
        std::uint32_t slot = space << 16;
        for (const auto& region : _memory.regions())
            if (auto set =
                    _vm.set_memory_region(slot++, region.range.address, region.host, region.range.bytes);
                !set)
                return set;
    }
    return {};
}

Status Machine::load_payload() {
    const auto& payload = *_spec.payload;
    // Bit 26 of leaf 0x80000001 EDX: 1 GiB pages (SDM volume 2, CPUID; APM volume 3).
    const auto* const extended = core::cpu::find(_cpuid, 0x8000'0001);
    const bool gib_pages = extended != nullptr && (extended->edx & 1U << 26) != 0;
    auto placement = boot::place_guest(_spec.plan, _memory.ranges(), payload.image.end(), gib_pages);
    if (!placement)
        return tl::unexpected{placement.error()};
    _placement = std::move(*placement);

    const auto end = std::max(_memory.ranges().back().end(), boot::hole_end);
    // The TSC's frequency is known once there is a vCPU; boot() writes it.
    const auto initial = boot::initial_memory(payload, _spec.plan, _placement, end, gib_pages, 0);
    // One call for many pages costs a fraction of as many page faults.
    if (_spec.memory == Presence::on_touch)
        for (const auto& segment : payload.image.segments)
            if (auto present = _memory.make_present(segment.address, segment.data.size()); !present)
                return present;
    for (const auto& piece : initial.pieces)
        if (auto written = write(_memory, piece); !written)
            return written;
    _guest = GuestLink{_memory, _placement};
    _context.bsp = {.entry = payload.entry64, .cr3 = initial.cr3};
    return {};
}

Status Machine::start_threads(const kvm::Kvm& kvm) {
    auto readable = supervise::Readable::watch(_events.fd());
    if (!readable)
        return tl::unexpected{readable.error()};
    _readable = std::make_unique<supervise::Readable>(std::move(*readable));
    _pump = boost::fibers::fiber{[this] { pump(); }};

    _ports.attach(wire::exit_port, sizeof(std::uint32_t), _exit_counter);
    _context.vm = &_vm;
    _context.plan = &_spec.plan;
    _context.cpuid = &_cpuid;
    _context.msrs = core::cpu::boot_msrs(_cpuid);
    _context.ports = &_ports;
    _context.events = &_events;
    if (kvm.check_extension(KVM_CAP_BINARY_STATS_FD) != 0)
        _context.statistics = vcpu_statistics_layout(kvm);
    if (_spec.nested)
        _context.state = state_layout(kvm, _vm);
    prepare_kick_signal();
    const auto count = static_cast<std::uint32_t>(_spec.plan.vcpus.size());
    for (std::uint32_t vcpu = 0; vcpu < count; ++vcpu) {
        _threads.push_back(std::make_unique<VcpuThread>(_context, vcpu));
        if (auto started = _threads.back()->start(); !started)
            return started;
    }
    return await([&] { return _ready == count; }, creation_base + count * creation_per_vcpu,
                 fmt::format("create {} vCPUs", count));
}

Status Machine::boot(std::chrono::milliseconds deadline) {
    const auto start = Clock::now();
    header().tsc_khz = tsc_khz();
    _context.started = 1;
    _context.started.notify_all();
    auto online = await([&] { return _guest.online() == vcpus(); }, deadline,
                        fmt::format("bring {} vCPUs online", vcpus()));
    if (!online && online.error().kind == ErrorKind::deadline)
        online.error().found = fmt::format("{} online after {:.1f} s, not heard of: {}", _guest.online(),
                                           seconds_since(start), missing_text(_guest));
    _phases.push_back({"boot", seconds_since(start)});
    return online;
}

Status Machine::run_job(const JobRequest& request) {
    return start_job(request).and_then([&] { return await_job(request.deadline); });
}

Status Machine::start_job(const JobRequest& request) {
    const auto index = _spec.payload->job_index(request.name);
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
    return _vm.signal_msi(_spec.plan.vcpus[vcpu].apic_id, vector);
}

Status Machine::await(const std::function<bool()>& condition, std::chrono::milliseconds deadline,
                      std::string_view what) {
    auto held =
        _supervisor.await([&] { return _death.has_value() || condition(); }, Clock::now() + deadline, what);
    if (!held)
        return held;
    if (_death)
        return tl::unexpected{*_death};
    return {};
}

void Machine::pump() {
    while (!_stopping) {
        [[maybe_unused]] const bool ready = _readable->wait_until(supervise::Deadline::max());
        for (const auto& event : _events.take_all())
            handle_event(event);
        if (auto death = _guest.look())
            die(std::move(*death));
        _supervisor.change();
    }
}

void Machine::handle_event(const VcpuEvent& event) {
    switch (event.kind) {
    case VcpuEvent::Kind::ready:
        ++_ready;
        break;
    case VcpuEvent::Kind::failed:
    case VcpuEvent::Kind::died:
        if (!_death)
            _fatal_exit = event.exit_reason;
        die(event.error);
        break;
    case VcpuEvent::Kind::stopped:
        break;
    }
}

void Machine::die(Error error) {
    if (!_death) // the first is the cause, the others its consequences
        _death = std::move(error);
}

Status Machine::stop() {
    // Those still in set-up finish it, find `started` changed, and leave.
    _context.stop = true;
    _context.stop.notify_all();
    std::uint32_t not_started = 0;
    _context.started.compare_exchange_strong(not_started, 2);
    _context.started.notify_all();
    for (const auto& thread : _threads)
        thread->kick();
    timespec deadline{};
    ::clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += teardown_seconds;
    for (std::uint32_t vcpu = 0; vcpu < _threads.size(); ++vcpu)
        if (!_threads[vcpu]->join(deadline))
            return fail(ErrorKind::check_failed, fmt::format("stop vCPU {}", vcpu),
                        fmt::format("its thread {} has not left the kernel after {} s", _threads[vcpu]->tid(),
                                    teardown_seconds),
                        fmt::format("look into /proc/{}/stack and dmesg", _threads[vcpu]->tid()));
    if (_pump.joinable()) {
        _stopping = true;
        _readable->interrupt();
        _pump.join();
    }
    return {};
}

std::vector<std::string> Machine::diagnose() {
    const auto suspects = _guest.suspects(); // asked before the stop, which would finish some of them
    _context.want_snapshots = true;
    if (auto stopped = stop(); !stopped)
        return {stopped.error().message()};
    if (suspects.empty() && !_death)
        return {};
    auto lines = describe_suspects(suspects, _spec.plan, _threads, _guest);
    for (auto& line : describe_log(_guest))
        lines.push_back(std::move(line));
    return lines;
}

Result<topology::Observation> Machine::observe() const {
    return machine::observe(_threads, _memory, _spec.plan.page_size);
}

std::vector<std::string> Machine::cpuid_changes() const {
    return grouped_by_vcpu(_threads, [](const VcpuThread& thread) { return thread.cpuid_changes(); });
}

std::vector<std::string> Machine::cpuid_feature_changes() const {
    return grouped_by_vcpu(_threads, [](const VcpuThread& thread) { return thread.feature_changes(); });
}

std::vector<std::string> Machine::refused_msrs() const {
    return grouped_by_vcpu(_threads, [](const VcpuThread& thread) { return thread.refused_msrs(); });
}

MachineStatistics Machine::statistics() const {
    return statistics_of(_vm, _context.statistics, _threads);
}

} // namespace nestbed::machine
