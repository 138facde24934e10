// `nestbed boot`: a guest that nobody here wrote, from its image to its end.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/boot/foreign_image.hpp"
#include "core/pc/pc.hpp"
#include "core/supervise/supervisor.hpp"
#include "report/run_result.hpp"
#include "stress/setup.hpp"

namespace nestbed::guests {

struct BootRequest {
    stress::MachineRequest machine; // one vCPU unless told otherwise
    core::cpu::ShownCpu cpu;        // where it is not all that KVM supports
    std::string image;              // path
    std::string initrd;             // path; empty: none
    std::string command_line;
    boot::BootProtocol protocol = boot::BootProtocol::automatic;
    std::vector<virtio::DiskSpec> disks;
    bool random = true;                // a virtio-rng
    bool prefault = false;             // all memory before the start, as the main job has it
    std::optional<std::string> expect; // a regular expression; the first line that matches ends the run
    std::optional<std::chrono::milliseconds> timeout; // from the start of the vCPUs; empty: none
};

// Called on the control thread but where it says otherwise.
struct BootObserver {
    std::function<void(const report::RunResult&)> planned; // host, machine and plan are known
    std::function<void(pc::Pc&)> started;                  // may be typed to from now on, until `ended`
    std::function<void()> ended;
    std::function<void()> hurry = {}; // it was ended from outside: `console` shall wait for nobody any more
    std::function<void(std::span<const std::byte>)> console;             // from vCPU threads, one at a time
    std::function<void(std::span<const std::byte>)> second_console = {}; // the same of COM2; empty: no COM2
    std::function<void(const report::CheckResult&)> checked;
};

struct BootResult {
    report::RunResult run;
    std::optional<pc::PcEnding> ending; // empty where the guest did not end its machine
    std::optional<double> first_line_s; // from the call of boot() to the end of the console's first line
};

// Memory that a guest gets when nobody says, in bytes: what Linux needs for so many vCPUs, and to work with.
[[nodiscard]] std::uint64_t default_guest_memory(std::uint32_t vcpus);

// Always returns what is known, whatever went wrong on the way; the outcome says what that was.
[[nodiscard]] BootResult boot(const BootRequest& request, supervise::Supervisor& supervisor,
                              const BootObserver& observer);

} // namespace nestbed::guests
