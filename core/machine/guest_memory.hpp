// Guest RAM: one mapping per range, bound to its host node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "core/boot/ram.hpp"
#include "topology/plan.hpp"

namespace nestbed::machine {

// Whether all RAM is there before the guest runs (nothing is measured that is a first touch, and what was
// bound can be verified), or each page at its first touch (a machine is made, and ended, for one short test).
enum class Presence { prefaulted, on_touch };

class GuestMemory {
public:
    // No RAM at all.
    GuestMemory() = default;

    // Maps and binds all RAM of the plan, and prefaults it, each virtual node by threads of its own on the
    // PUs of its vCPUs. Errors: host_lacks when the kernel has no memory, no huge pages or no threads to
    // give.
    [[nodiscard]] static Result<GuestMemory> allocate(const topology::Plan& plan,
                                                      Presence presence = Presence::prefaulted);

    GuestMemory(GuestMemory&&) noexcept = default;
    GuestMemory& operator=(GuestMemory&&) noexcept = default;
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;
    ~GuestMemory() = default;

    struct Region {
        boot::RamRange range;
        std::byte* host = nullptr;
    };
    [[nodiscard]] const std::vector<boot::RamRange>& ranges() const noexcept { return _ranges; }
    [[nodiscard]] std::vector<Region> regions() const;

    // The host's view of guest-physical [address, address + bytes); empty where any of it is no RAM or it
    // crosses from one range to the next. The guest may write there at any time.
    [[nodiscard]] std::span<std::byte> at(std::uint64_t address, std::uint64_t bytes) const;

    // Before the guest runs. Errors: bad_input where any of it is no RAM or crosses from one range to the
    // next, host_lacks.
    [[nodiscard]] Status write(std::uint64_t address, std::span<const std::byte> data) const;

    // The object at an address; null where at() is empty or the address is not aligned for it.
    template<typename T>
    [[nodiscard]] T* object(std::uint64_t address, std::uint64_t count = 1) const {
        if (count > UINT64_MAX / sizeof(T) || address % alignof(T) != 0)
            return nullptr;
        const auto bytes = at(address, count * sizeof(T));
        return bytes.empty() ? nullptr : reinterpret_cast<T*>(bytes.data());
    }

private:
    struct Unmap {
        std::size_t bytes = 0;
        void operator()(std::byte* start) const noexcept;
    };
    using Mapping = std::unique_ptr<std::byte, Unmap>;

    std::vector<boot::RamRange> _ranges;
    std::vector<Mapping> _mappings; // one per range
};

} // namespace nestbed::machine
