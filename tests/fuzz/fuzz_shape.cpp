// Any text as a topology; what is understood must survive being written and read again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "require.hpp"
#include "topology/virtual_topology.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nestbed::topology;
    const auto shape = parse_shape({reinterpret_cast<const char*>(data), size});
    if (!shape) {
        require(shape.error().kind == nestbed::ErrorKind::bad_input);
        return 0;
    }
    require(parse_shape(format_shape(*shape)) == *shape);
    const auto vcpus = vcpu_count(*shape);
    require(vcpus > 0 && vcpus <= 1U << 20);
    const auto last = static_cast<std::uint32_t>(vcpus - 1);
    require(apic_id_of(*shape, last) == max_apic_id(*shape));
    require(apic_id_of(*shape, 0) == 0);

    // Every field is wide enough, and ids ascend.
    const auto widths = field_widths(*shape);
    require((std::uint64_t{1} << widths.thread) >= shape->threads);
    require((std::uint64_t{1} << widths.core) >= shape->cores);
    require((std::uint64_t{1} << widths.die) >= shape->dies);
    for (std::uint64_t vcpu = 0; vcpu < vcpus; vcpu += std::max<std::uint64_t>(vcpus / 64, 1)) {
        const auto number = static_cast<std::uint32_t>(vcpu);
        const auto at = position_of(*shape, number);
        require(at.socket < shape->sockets && at.die < shape->dies && at.core < shape->cores &&
                at.thread < shape->threads);
        const auto id = apic_id_of(*shape, number);
        require(id == (at.socket << widths.socket_shift() | at.die << widths.die_shift() |
                       at.core << widths.core_shift() | at.thread));
        require(number == last || id < apic_id_of(*shape, number + 1));
    }
    return 0;
}
