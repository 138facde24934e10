#include "core/machine/chassis.hpp"

#include <ctime>
#include <utility>

#include <fmt/format.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/cpu/cpuid.hpp"
#include "core/machine/guest_text.hpp"
#include "core/machine/process_limits.hpp"
#include "core/machine/vm_setup.hpp"
#include "topology/machine_record.hpp"

namespace nestbed::machine {

namespace {

using namespace std::chrono_literals;
using supervise::Clock;

// A vCPU takes well under a millisecond to create; a host that needs a hundred times that is stuck.
constexpr auto creation_base = 30s;
constexpr auto creation_per_vcpu = 100ms;
constexpr int teardown_seconds = 30;

} // namespace

Chassis::Chassis(kvm::Vm vm, ChassisSpec spec, supervise::Supervisor& supervisor)
    : _spec{std::move(spec)}, _supervisor{supervisor}, _vm{std::move(vm)} {}

Result<std::unique_ptr<Chassis>> Chassis::create(const kvm::Kvm& kvm, ChassisSpec spec,
                                                 supervise::Supervisor& supervisor) {
    if (auto possible = check_kvm_limits(kvm, spec.plan); !possible)
        return tl::unexpected{possible.error()};
    if (auto raised = raise_open_files(open_files_needed(static_cast<std::uint32_t>(spec.plan.vcpus.size())));
        !raised)
        return tl::unexpected{raised.error()};
    auto vm = kvm.create_vm();
    if (!vm)
        return tl::unexpected{vm.error()};
    return std::unique_ptr<Chassis>{new Chassis{std::move(*vm), std::move(spec), supervisor}};
}

Status Chassis::set_up_vm(const kvm::Kvm& kvm) {
    auto supported = kvm.supported_cpuid();
    if (!supported)
        return tl::unexpected{supported.error()};
    _cpuid = core::cpu::guest_template(*supported,
                                       {.shape = _spec.plan.shape,
                                        .tsc_deadline = kvm.check_extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0,
                                        .nested = _spec.nested,
                                        .hidden_svm = _spec.hidden.svm,
                                        .shown = _spec.shown,
                                        .ext_dest_id = true});
    if (_spec.nested)
        _context.capabilities = capabilities_without(kvm, _spec.hidden.vmx);
    if (auto set = configure_vm(_vm, topology::max_apic_id(_spec.plan.shape)); !set)
        return set;
    if (_spec.dirty_ring_entries != 0) {
        _dirty_rings = std::make_unique<DirtyRings>(_vm, _spec.dirty_ring_entries);
        if (auto enabled = _dirty_rings->enable(); !enabled)
            return enabled;
    }
    return _events.open();
}

Status Chassis::set_up_memory() {
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

Status Chassis::create_vcpus(const kvm::Kvm& kvm, const boot::EntryState& bsp) {
    auto readable = supervise::Readable::watch(_events.fd());
    if (!readable)
        return tl::unexpected{readable.error()};
    _readable = std::make_unique<supervise::Readable>(std::move(*readable));
    _pump = boost::fibers::fiber{[this] { pump(); }};

    _context.vm = &_vm;
    _context.plan = &_spec.plan;
    _context.cpuid = &_cpuid;
    _context.msrs = core::cpu::boot_msrs(_cpuid);
    _context.bsp = bsp;
    _context.apic = _spec.apic;
    if (_spec.boost && _spec.plan.max_vcpus_per_pu > 1 && ProgressBoost::is_allowed()) {
        auto ticker = BoostTicker::start(_boost);
        if (!ticker)
            return tl::unexpected{ticker.error()};
        _boost_ticker = std::move(*ticker);
        _context.boost = &_boost;
    }
    _context.dirty_rings = _dirty_rings.get();
    _context.recording = _spec.recording;
    _context.ports = &_ports;
    _context.mmio = &_mmio;
    _context.events = &_events;
    if (kvm.check_extension(KVM_CAP_BINARY_STATS_FD) != 0)
        _context.statistics = &_statistics_layout;
    if (_spec.nested)
        _context.state = state_layout(kvm, _vm);
    prepare_kick_signal();
    for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu) {
        _threads.push_back(std::make_unique<VcpuThread>(_context, vcpu));
        if (auto started = _threads.back()->start(); !started)
            return started;
    }
    auto created = await([&] { return _ready == vcpus(); }, creation_base + vcpus() * creation_per_vcpu,
                         fmt::format("create {} vCPUs", vcpus()));
    if (created)
        publish();
    return created;
}

// A machine that cannot be watched runs as well.
void Chassis::publish() {
    topology::MachineRecord record;
    for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu)
        record.threads.push_back({.tid = _threads[vcpu]->tid(), .pus = _spec.plan.vcpus[vcpu].pus});
    for (const auto& node : _spec.plan.nodes)
        record.host_nodes.push_back(node.host_node);
    for (const auto& region : _memory.regions())
        record.ranges.push_back({.virtual_node = region.range.virtual_node,
                                 .address = reinterpret_cast<std::uintptr_t>(region.host),
                                 .bytes = region.range.bytes,
                                 .page_bytes = topology::bytes_of(_spec.plan.page_size)});
    const auto text = topology::format_record(record);
    Fd file{::memfd_create(topology::record_name.data(), MFD_CLOEXEC)};
    if (file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()))
        _record = std::move(file);
}

Status Chassis::timed(std::string_view phase, const std::function<Status()>& step) {
    const auto start = Clock::now();
    auto done = step();
    if (done)
        add_phase(std::string{phase}, std::chrono::duration<double>(Clock::now() - start).count());
    return done;
}

void Chassis::let_run() {
    _context.started = 1;
    _context.started.notify_all();
}

Status Chassis::await(const std::function<bool()>& condition, std::chrono::milliseconds deadline,
                      std::string_view what) {
    auto held =
        _supervisor.await([&] { return _death.has_value() || condition(); }, Clock::now() + deadline, what);
    if (!held)
        return held;
    if (_death)
        return tl::unexpected{*_death};
    return {};
}

void Chassis::pump() {
    while (!_stopping) {
        [[maybe_unused]] const bool ready = _readable->wait_until(supervise::Deadline::max());
        for (const auto& event : _events.take_all())
            handle_event(event);
        _look();
        _supervisor.change();
    }
}

void Chassis::handle_event(const VcpuEvent& event) {
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

void Chassis::die(Error error) {
    if (!_death) // the first is the cause, the others its consequences
        _death = std::move(error);
}

Status Chassis::stop() {
    _boost_ticker.reset();
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

Status Chassis::stop_with_snapshots() {
    _context.want_snapshots = true;
    return stop();
}

Status Chassis::log_dirty_pages(bool on) const {
    std::uint32_t slot = 0;
    for (const auto& region : _memory.regions())
        if (auto set = _vm.set_memory_region(slot++, region.range.address, region.host, region.range.bytes,
                                             on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
            !set)
            return set;
    return {};
}

Result<topology::Observation> Chassis::observe() const {
    return machine::observe(_threads, _memory, _spec.plan.page_size);
}

std::vector<std::string> Chassis::cpuid_changes() const {
    return grouped_by_vcpu(_threads, [](const VcpuThread& thread) { return thread.cpuid_changes(); });
}

std::vector<std::string> Chassis::cpuid_feature_changes() const {
    return grouped_by_vcpu(_threads, [](const VcpuThread& thread) { return thread.feature_changes(); });
}

std::vector<std::string> Chassis::refused_msrs() const {
    return grouped_by_vcpu(_threads, [](const VcpuThread& thread) { return thread.refused_msrs(); });
}

MachineStatistics Chassis::statistics() const {
    return statistics_of(_vm, _statistics_layout, _threads,
                         [](const VcpuThread& thread) { return thread.statistics(); });
}

MachineStatistics Chassis::statistics_now() const {
    return statistics_of(_vm, _statistics_layout, _threads,
                         [](const VcpuThread& thread) { return thread.statistics_now(); });
}

std::optional<TscClock> Chassis::tsc_clock() const {
    const auto& bsp = *_threads[0];
    if (!bsp.first_tsc() || !bsp.last_tsc())
        return {};
    return TscClock::between(*bsp.first_tsc(), *bsp.last_tsc());
}

} // namespace nestbed::machine
