// What all drivers share: the machine, scratch memory that both sides see, and the form of a result.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/machine/machine.hpp"
#include "report/run_result.hpp"

namespace nestbed::stress {

struct DriverContext {
    machine::Machine& machine;
    std::uint64_t seed = 0;
    std::chrono::milliseconds deadline{0}; // of each job
};

// A table in guest memory. The guest may change it at any time.
template<typename T>
struct Table {
    std::uint64_t address = 0; // guest-physical
    std::span<T> entries;
};

// Hands out the machine's scratch memory, zeroed, to one check.
class Scratch {
public:
    explicit Scratch(machine::Machine& machine) : _machine{machine}, _left{machine.scratch()} {}

    // Errors: bad_input when the guest has too little memory.
    template<typename T>
    [[nodiscard]] Result<Table<T>> table(std::uint64_t count) {
        return take(count * sizeof(T)).map([&](std::uint64_t address) {
            return Table<T>{address, {_machine.memory().object<T>(address, count), count}};
        });
    }

    // Whole pages. Errors: as table().
    [[nodiscard]] Result<std::uint64_t> pages(std::uint64_t count);

private:
    [[nodiscard]] Result<std::uint64_t> take(std::uint64_t bytes);

    machine::Machine& _machine;
    boot::Extent _left;
};

// A job on all vCPUs.
[[nodiscard]] machine::JobRequest
on_all(const DriverContext& context, std::string_view job,
       std::array<std::uint64_t, nestbed::wire::job_arguments> arguments = {});

// A value that a vCPU left in its mailbox.
[[nodiscard]] std::uint64_t job_value(const machine::Machine& machine, std::uint32_t vcpu,
                                      std::uint32_t index);

// Converts TSC ticks of the guest.
[[nodiscard]] double ticks_to_us(const machine::Machine& machine, std::uint64_t ticks);

// What a check comes to. An Error instead means that the machine did not survive it.
struct Finding {
    bool good = false;
    std::string summary{};
    std::vector<std::string> details{};
    std::vector<report::Measurement> measurements{};
    nlohmann::json facts = nlohmann::json::object();
    std::string skip{}; // why this host cannot be judged; empty where it was
};

// The first `most` lines, then how many there were.
[[nodiscard]] std::vector<std::string> capped(std::vector<std::string> lines, std::size_t most = 20);

// "1 vCPU", "288 vCPUs".
[[nodiscard]] std::string vcpus_text(std::uint64_t count);

} // namespace nestbed::stress
