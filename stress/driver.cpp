#include "stress/driver.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::stress {

Result<std::uint64_t> Scratch::take(std::uint64_t bytes) {
    const auto rounded = round_up(bytes, 64); // tables never share a cache line
    if (rounded > _left.bytes)
        return fail(ErrorKind::bad_input,
                    fmt::format("find {} of scratch memory in the guest", format_size(rounded)),
                    fmt::format("{} left", format_size(_left.bytes)),
                    fmt::format("use --memory {}M or more",
                                (boot::default_memory_bytes(_machine.vcpus()) + rounded) / MiB));
    const auto address = _left.address;
    _left.address += rounded;
    _left.bytes -= rounded;
    std::ranges::fill(_machine.memory().at(address, rounded), std::byte{0});
    return address;
}

Result<std::uint64_t> Scratch::pages(std::uint64_t count) {
    const auto aligned = round_up(_left.address, nestbed::wire::page_bytes);
    return take(aligned - _left.address).and_then([&](std::uint64_t) {
        return take(count * nestbed::wire::page_bytes);
    });
}

machine::JobRequest on_all(const DriverContext& context, std::string_view job,
                           std::array<std::uint64_t, nestbed::wire::job_arguments> arguments) {
    return {.name = job,
            .arguments = arguments,
            .first_vcpu = 0,
            .end_vcpu = context.machine.vcpus(),
            .deadline = context.deadline};
}

std::uint64_t job_value(const machine::Machine& machine, std::uint32_t vcpu, std::uint32_t index) {
    return __atomic_load_n(&machine.mailbox(vcpu).job_value[index], __ATOMIC_ACQUIRE);
}

double ticks_to_us(const machine::Machine& machine, std::uint64_t ticks) {
    const auto khz = machine.tsc_khz();
    return khz == 0 ? 0 : static_cast<double>(ticks) * 1000 / static_cast<double>(khz);
}

std::vector<std::string> capped(std::vector<std::string> lines, std::size_t most) {
    if (lines.size() > most) {
        const auto more = lines.size() - most;
        lines.resize(most);
        lines.push_back(fmt::format("and {} more", more));
    }
    return lines;
}

std::string vcpus_text(std::uint64_t count) {
    return fmt::format("{} vCPU{}", count, count == 1 ? "" : "s");
}

} // namespace nestbed::stress
