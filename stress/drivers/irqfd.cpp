#include "stress/drivers/irqfd.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <sys/eventfd.h>

#include "base/fd.hpp"
#include "base/first_error.hpp"
#include "base/units.hpp"
#include "core/machine/process_limits.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/eventfd_relay.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/wire/irqfd.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::irqfd;

constexpr std::uint64_t most_samples = 64 * 1024;

enum class Way { through_host, direct };

// One vCPU's: where its writes arrive, and what interrupts it. In direct mode they are the same.
struct Line {
    Fd out;
    Fd in;
};

Result<Fd> new_eventfd() {
    Fd fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!fd)
        return fail_errno(ErrorKind::host_lacks, "make an eventfd", "raise `ulimit -n`");
    return fd;
}

// A message to one vCPU as KVM_X2APIC_API_USE_32BIT_IDS has it, see kvm::Msi.
kvm::Msi message_to(std::uint32_t apic_id) {
    return {.address_lo = 0xfee0'0000U | (apic_id & 0xffU) << 12,
            .address_hi = apic_id & 0xffff'ff00U,
            .data = job::vector};
}

// Takes its irqfds away at its end, before they are closed. Its ioeventfds stay until the VM goes: nothing
// writes there any more.
class Wiring {
public:
    Wiring(const kvm::Vm& vm, const topology::Plan& plan, std::uint32_t lines) : _vm{vm}, _plan{plan} {
        _lines.reserve(lines);
    }
    Wiring(const Wiring&) = delete;
    Wiring& operator=(const Wiring&) = delete;
    Wiring(Wiring&&) = delete;
    Wiring& operator=(Wiring&&) = delete;
    ~Wiring() {
        for (std::uint32_t i = 0; i < _wired; ++i)
            [[maybe_unused]] const auto removed = _vm.remove_irqfd(irqfd(i), i);
    }

    Status connect(std::uint32_t count, Way way) {
        std::vector<kvm::Msi> routes;
        for (std::uint32_t vcpu = 0; vcpu < count; ++vcpu)
            routes.push_back(message_to(_plan.vcpus[vcpu].apic_id));
        if (auto routed = _vm.set_gsi_routing(routes); !routed)
            return routed;
        for (std::uint32_t vcpu = 0; vcpu < count; ++vcpu)
            if (auto connected = connect_one(vcpu, way); !connected)
                return connected;
        return {};
    }

    [[nodiscard]] std::vector<EventfdRelay::Line> relay_lines() const {
        std::vector<EventfdRelay::Line> lines;
        for (const auto& line : _lines)
            lines.push_back({line.out.get(), line.in.get()});
        return lines;
    }

private:
    [[nodiscard]] int irqfd(std::uint32_t i) const {
        return (_lines[i].in ? _lines[i].in : _lines[i].out).get();
    }

    Status connect_one(std::uint32_t vcpu, Way way) {
        auto out = new_eventfd();
        if (!out)
            return tl::unexpected{out.error()};
        _lines.push_back({std::move(*out), Fd{}});
        if (way == Way::through_host) {
            auto in = new_eventfd();
            if (!in)
                return tl::unexpected{in.error()};
            _lines.back().in = std::move(*in);
        }
        const auto fd = _lines.back().out.get();
        if (auto added = job::uses_port(vcpu)
                             ? _vm.add_pio_eventfd(job::port_of(vcpu), sizeof(std::uint32_t), fd)
                             : _vm.add_mmio_eventfd(job::address_of(vcpu), sizeof(std::uint32_t), fd);
            !added)
            return added;
        return _vm.add_irqfd(irqfd(vcpu), vcpu).map([&] { ++_wired; });
    }

    const kvm::Vm& _vm;
    const topology::Plan& _plan;
    std::vector<Line> _lines;
    std::uint32_t _wired = 0;
};

std::uint64_t samples_each(std::uint32_t vcpus) {
    return std::clamp<std::uint64_t>(most_samples / vcpus, 16, 4096);
}

Result<Counted> run_irqfd(const StressContext& context, Way way) {
    auto& machine = *context.machine;
    const auto vcpus = std::min(machine.vcpus(), job::most_vcpus);
    const auto each = samples_each(vcpus);
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto counts = scratch.table<job::Counts>(vcpus);
    const auto samples = scratch.table<std::uint32_t>(vcpus * each);
    if (auto placed = first_error(stop, counts, samples); !placed)
        return tl::unexpected{placed.error()};
    if (auto raised =
            machine::raise_open_files(machine::open_files_needed(machine.vcpus()) + std::uint64_t{2} * vcpus);
        !raised)
        return tl::unexpected{raised.error()};
    Wiring wiring{machine.chassis().vm(), machine.plan(), vcpus};
    if (auto connected = wiring.connect(vcpus, way); !connected)
        return tl::unexpected{connected.error()};
    auto relay = EventfdRelay::start(way == Way::through_host ? wiring.relay_lines()
                                                              : std::vector<EventfdRelay::Line>{});
    if (!relay)
        return tl::unexpected{relay.error()};
    const auto paced = run_until_stopped(context,
                                         on_all(on_machine(context), "irqfd.round_trip",
                                                {stop->address, counts->address, samples->address, each}),
                                         *stop);
    const auto& relayed = relay->stop();
    if (!paced)
        return tl::unexpected{paced.error()};

    std::vector<IrqfdCounts> seen(vcpus);
    std::vector<double> us;
    Counted counted{.seconds = paced->seconds};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        seen[vcpu] = {.sent = counts->entries[vcpu].sent,
                      .signalled = {},
                      .raised = {},
                      .received = counts->entries[vcpu].received,
                      .unasked = counts->entries[vcpu].unasked};
        if (way == Way::through_host) {
            seen[vcpu].signalled = relayed[vcpu].signalled;
            seen[vcpu].raised = relayed[vcpu].raised;
        }
        counted.per_vcpu.push_back(static_cast<double>(seen[vcpu].received));
        counted.operations += counted.per_vcpu.back();
        for (std::uint64_t i = 0; i < std::min(seen[vcpu].received, each); ++i)
            us.push_back(ticks_to_us(machine, samples->entries[vcpu * each + i]));
    }
    auto wrong = judge_irqfd(seen);
    counted.verdict = verdict_of(wrong);
    counted.summary = fmt::format("{:.0f} round trips of {}, {} wrong", counted.operations, vcpus_text(vcpus),
                                  wrong.size());
    counted.details = capped(std::move(wrong));
    counted.distributions.push_back(distribution("round_trip", "us", us));
    return counted;
}

Result<Counted> run_through_host(const StressContext& context) {
    return run_irqfd(context, Way::through_host);
}
Result<Counted> run_direct(const StressContext& context) {
    return run_irqfd(context, Way::direct);
}

constexpr std::array drivers{
    StressDriver{.name = "irqfd",
                 .title = "Round trips from ioeventfd through a thread of the host to irqfd",
                 .invariant =
                     "each write of the guest is signalled once, and each signal raised is one interrupt",
                 .unit = "round trips",
                 .run = &run_through_host},
    StressDriver{.name = "irqfd.direct",
                 .title = "The same within KVM: one eventfd is both",
                 .invariant = "each write of the guest comes back as one interrupt",
                 .unit = "round trips",
                 .run = &run_direct},
};

} // namespace

std::vector<std::string> judge_irqfd(std::span<const IrqfdCounts> counts) {
    std::vector<std::string> wrong;
    for (std::size_t vcpu = 0; vcpu < counts.size(); ++vcpu) {
        const auto& c = counts[vcpu];
        if (c.sent == 0)
            wrong.push_back(fmt::format("vCPU {}: wrote nothing", vcpu));
        else if (c.signalled.value_or(c.sent) != c.sent || c.raised.value_or(c.sent) != c.sent ||
                 c.received != c.sent)
            wrong.push_back(c.signalled
                                ? fmt::format("vCPU {}: {} writes, {} signals, {} raised, {} interrupts",
                                              vcpu, c.sent, *c.signalled, c.raised.value_or(0), c.received)
                                : fmt::format("vCPU {}: {} writes, {} interrupts", vcpu, c.sent, c.received));
        else if (c.unasked != 0)
            wrong.push_back(
                fmt::format("vCPU {}: {} interrupts that no write had asked for", vcpu, c.unasked));
    }
    return wrong;
}

std::span<const StressDriver> irqfd_drivers() {
    return drivers;
}

} // namespace nestbed::stress
