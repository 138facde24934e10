// A stress driver: what it is called and promises, and the function that runs it once. `nestbed stress`
// sweeps it over vCPU counts and configurations.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/machine/machine.hpp"
#include "core/supervise/supervisor.hpp"
#include "report/sweep.hpp"
#include "stress/driver.hpp"
#include "stress/ipi_trace.hpp"
#include "stress/setup.hpp"

namespace nestbed::stress {

// What a driver counted: the part of a report::SweepPoint that only the driver knows.
struct Counted {
    // pass: the invariant held; fail: it did not; skipped: cannot be judged here, `reason` says why. hang and
    // crash only of machines that the driver made itself; see died_of().
    report::Verdict verdict = report::Verdict::fail;
    std::string summary{};
    std::string reason{};
    std::vector<std::string> details{};
    double operations = 0;                             // in the unit of the driver
    double seconds = 0;                                // of the work alone
    std::vector<double> per_vcpu{};                    // operations by vCPU; may be empty
    std::vector<report::Distribution> distributions{}; //
    std::vector<report::Matrix> matrices{};            //
    std::map<std::string, double> facts{};             // names end in their unit: "remote_ns"
    std::vector<report::StuckVcpu> stuck{};            // of machines that the driver made itself
};

// Judged by the lines that say what is wrong.
[[nodiscard]] inline report::Verdict verdict_of(const std::vector<std::string>& wrong) {
    return wrong.empty() ? report::Verdict::pass : report::Verdict::fail;
}

[[nodiscard]] Counted skipped(std::string why);

struct StressContext {
    const Setup& setup; // what machines are made of
    supervise::Supervisor& supervisor;
    machine::Machine* machine = nullptr; // all vCPUs online; null where the driver makes its own
    std::uint64_t seed = 0;              // the same seed gives the same work
    std::chrono::milliseconds duration{0};
    std::chrono::milliseconds deadline{0}; // of each step that waits for the guest, beyond the duration
    std::function<void(double)> progress;  // told the fraction of the work that is done; may be empty
    // Where drivers that send IPIs say where the guest keeps them for a timeline; null: there is none.
    IpiRings* ipi_rings = nullptr;
};

// For on_all() and Scratch. The driver has a machine.
[[nodiscard]] DriverContext on_machine(const StressContext& context);

enum class Machines {
    given, // the driver runs on one machine that is made for it, and for nothing else
    own,   // it makes as many as it needs, of context.setup
};

struct StressDriver {
    std::string_view name;      // stable: "ipi.unicast"
    std::string_view title;     // for people, a line
    std::string_view invariant; // what must hold exactly
    std::string_view unit;      // of Counted::operations: "interrupts", "pages"
    // Errors: of the machine, which did not survive or was stopped. Of a machine of the driver's own, only
    // what ends the whole sweep (cancelled, host_lacks, bad_input).
    Result<Counted> (*run)(const StressContext& context) = nullptr;
    std::uint32_t least_vcpus = 1;
    bool nested = false; // runs L2 guests: needs VMX or SVM in the guest
    Machines machines = Machines::given;
    machine::Presence memory = machine::Presence::prefaulted;
    // Guest memory beyond boot::default_memory_bytes() for so many vCPUs; null: none.
    std::uint64_t (*more_memory)(std::uint32_t vcpus) = nullptr;
    // Why its operations are not the work of all vCPUs at once, so that no scaling law is fitted to their
    // number; empty where they are.
    std::string_view not_parallel{};
};

} // namespace nestbed::stress
