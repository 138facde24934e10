// The port behind wire::exit_port and the page at wire::exit_page_gpa: does nothing but count, so that a
// guest can ask what an exit costs and whether each one arrived.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "core/device/mmio_bus.hpp"
#include "core/device/port_bus.hpp"

namespace nestbed::device {

class ExitCounter final : public PortDevice, public MmioDevice {
public:
    explicit ExitCounter(std::uint32_t vcpus) : _counts(vcpus) {}

    void access(const PortAccess& access) override;
    void access(const MmioAccess& access) override;

    // Accesses so far by one vCPU.
    [[nodiscard]] std::uint64_t count(std::uint32_t vcpu) const {
        return _counts[vcpu].value.load(std::memory_order_relaxed);
    }

private:
    // A cache line each: vCPU threads count at the same time.
    struct alignas(64) Count {
        std::atomic<std::uint64_t> value{0};
    };
    std::vector<Count> _counts;
};

} // namespace nestbed::device
