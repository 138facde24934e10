#include "guests.hpp"

#include <stdexcept>

#include "base/units.hpp"

namespace nestbed::acpi::test {

const std::vector<Guest>& all_guests() {
    static const std::vector<Guest> guests{
        {"One", {.cores = 1}, 1, 64 * MiB},
        {"Two", {.cores = 2}, 1, 64 * MiB},
        {"Flat254", {.cores = 254}, 1, 64 * MiB},
        {"Flat255", {.cores = 255}, 1, 64 * MiB},
        {"Flat256", {.cores = 256}, 1, 64 * MiB},
        {"Flat257", {.cores = 257}, 1, 64 * MiB},
        {"Shape3x5x2", {.sockets = 3, .cores = 5, .threads = 2}, 3, GiB},
        {"Shape8x1x36", {.sockets = 8, .dies = 1, .cores = 36}, 8, 512 * MiB},
        {"Shape4x2x9x2", {.sockets = 4, .dies = 2, .cores = 9, .threads = 2}, 4, 2 * GiB},
        {"Flat1024", {.cores = 1024}, 1, 16 * GiB},
        {"Flat4096", {.cores = 4096}, 2, 4 * GiB},
        {"Shape16x256", {.sockets = 16, .cores = 256}, 16, GiB},
        {"Sockets300", {.sockets = 300}, 300, 16 * MiB}, // more nodes than a byte counts
    };
    return guests;
}

topology::Plan plan_of(const Guest& guest) {
    topology::Plan plan;
    plan.shape = guest.shape;
    const auto vcpus = static_cast<std::uint32_t>(topology::vcpu_count(guest.shape));
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        plan.vcpus.push_back({.vcpu = vcpu,
                              .apic_id = topology::apic_id_of(guest.shape, vcpu),
                              .virtual_node = vcpu / (vcpus / guest.nodes),
                              .pus = {},
                              .reason = {}});
    for (std::uint32_t node = 0; node < guest.nodes; ++node) {
        plan.nodes.push_back(
            {.virtual_node = node, .host_node = {}, .memory_bytes = guest.node_bytes, .reason = {}});
        plan.distances.emplace_back(guest.nodes, 21);
        plan.distances.back()[node] = 10;
    }
    return plan;
}

Hardware some_hardware() {
    Hardware hardware;
    hardware.serial = {{}, {.port = 0x2f8, .gsi = 3}};
    hardware.virtio = {{0xd000'0000, 0x200, 5}, {0xd000'1000, 0x200, 6}, {0xffff'f000, 0x1000, 23}};
    hardware.sleep_control_port = 0x600;
    hardware.sleep_status_port = 0x601;
    hardware.reset_port = 0x602;
    hardware.reset_value = 0x42;
    return hardware;
}

Tables tables_of(const Guest& guest, const Hardware& hardware) {
    const auto plan = plan_of(guest);
    auto tables = build(plan, boot::ram_ranges(plan.nodes), hardware);
    if (!tables)
        throw std::runtime_error{tables.error().message()};
    return std::move(*tables);
}

} // namespace nestbed::acpi::test
