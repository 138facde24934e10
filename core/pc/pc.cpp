#include "core/pc/pc.hpp"

#include <utility>

#include <fmt/format.h>
#include <linux/kvm.h>

#include "core/acpi/tables.hpp"
#include "core/machine/inspection.hpp"
#include "core/pc/bios_entry.hpp"

namespace nestbed::pc {

namespace {

// Ids that fit in 8 bits are found in xAPIC mode, as after reset; 255 is the broadcast id there.
machine::ApicStart apic_start(const topology::Plan& plan) {
    return topology::max_apic_id(plan.shape) < 0xff ? machine::ApicStart::xapic : machine::ApicStart::x2apic;
}

PcEnding to_pc(const device::Ending& ending) {
    switch (ending.kind) {
    case device::Ending::Kind::power_off:
        return {PcEnding::Kind::power_off, 0};
    case device::Ending::Kind::reset:
        return {PcEnding::Kind::reset, 0};
    case device::Ending::Kind::exit_code:
        // QEMU's status is twice what the image wrote, and one.
        return {PcEnding::Kind::exit_code, ending.exit_code >> 1};
    }
    return {};
}

} // namespace

std::string to_string(const PcEnding& ending) {
    switch (ending.kind) {
    case PcEnding::Kind::power_off:
        return "powered off";
    case PcEnding::Kind::reset:
        return "reset itself";
    case PcEnding::Kind::exit_code:
        return fmt::format("exit code {}", ending.exit_code);
    case PcEnding::Kind::triple_fault:
        return "triple fault";
    }
    return {};
}

Result<PcPtr> Pc::create(const kvm::Kvm& kvm, PcSpec spec, supervise::Supervisor& supervisor) {
    const auto apic = apic_start(spec.plan);
    auto chassis = machine::Chassis::create(kvm,
                                            {.plan = std::move(spec.plan),
                                             .nested = spec.nested,
                                             .hidden = std::move(spec.hidden),
                                             .shown = std::move(spec.shown),
                                             .memory = spec.memory,
                                             .apic = apic,
                                             .boost = true},
                                            supervisor);
    if (!chassis)
        return tl::unexpected{chassis.error()};
    auto pc = PcPtr{new Pc{std::move(*chassis)}};
    auto& base = *pc->_chassis;
    for (const auto& step : {
             std::pair<std::string_view, std::function<Status()>>{"vm", [&] { return base.set_up_vm(kvm); }},
             {"memory", [&] { return base.set_up_memory(); }},
             {"devices", [&] { return pc->attach_devices(spec); }},
             {"image", [&] { return pc->load(spec); }},
             {"vcpus", [&] { return base.create_vcpus(kvm, pc->_bsp); }},
         })
        if (auto done = base.timed(step.first, step.second); !done)
            return tl::unexpected{done.error()};
    return pc;
}

Status Pc::attach_devices(const PcSpec& spec) {
    auto devices = spec.devices;
    const auto found = boot::protocol_of(spec.image);
    if (!found)
        return tl::unexpected{found.error()};
    // Images of test suites are the multiboot images that there are.
    devices.for_test_images |= *found == boot::BootProtocol::multiboot;
    _devices = std::make_unique<Devices>(*_chassis, std::move(devices));
    return _devices->attach();
}

Status Pc::load(const PcSpec& spec) {
    const auto& memory = _chassis->memory();
    const auto tables = acpi::build(_chassis->plan(), memory.ranges(), _devices->hardware());
    if (!tables)
        return tl::unexpected{tables.error()};
    const auto acpi_memory = tables->tables.extent();
    _e820 = boot::e820_map(memory.ranges(), {&acpi_memory, 1});
    const auto image = boot::load_foreign({.image = spec.image,
                                           .initrd = spec.initrd,
                                           .command_line = spec.command_line,
                                           .image_name = spec.image_name,
                                           .ram = memory.ranges(),
                                           .e820 = _e820,
                                           .rsdp = tables->rsdp.address,
                                           .protocol = spec.protocol});
    if (!image)
        return tl::unexpected{image.error()};
    if (auto written = memory.write(bios_entry_address, bios_entry); !written)
        return written;
    for (const auto* const blob : {&tables->rsdp, &tables->tables})
        if (auto written = memory.write(blob->address, blob->bytes); !written)
            return written;
    for (const auto& piece : image->pieces)
        if (auto written = memory.write(piece.address, piece.data); !written)
            return written;
    _bsp = image->entry;
    _protocol = image->protocol;
    return {};
}

Result<std::optional<PcEnding>> Pc::await_ending(const std::function<bool()>& condition,
                                                 std::chrono::milliseconds deadline) {
    const auto ended = _chassis->await([&] { return _devices->ending().has_value() || condition(); },
                                       deadline, "run the guest");
    if (const auto asked = _devices->ending())
        return to_pc(*asked);
    if (ended)
        return std::nullopt;
    if (_chassis->fatal_exit() == KVM_EXIT_SHUTDOWN)
        return PcEnding{PcEnding::Kind::triple_fault, 0};
    return tl::unexpected{ended.error()};
}

std::vector<std::string> Pc::diagnose() {
    if (auto stopped = _chassis->stop_with_snapshots(); !stopped)
        return {stopped.error().message()};
    _devices->quiesce();
    return machine::describe_busy(_chassis->plan(), _chassis->threads());
}

} // namespace nestbed::pc
