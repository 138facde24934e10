// A machine for guests that nobody here wrote: a chassis, the devices of a PC, its ACPI tables and an image.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "core/boot/e820.hpp"
#include "core/boot/foreign_image.hpp"
#include "core/cpu/hidden.hpp"
#include "core/cpu/shown_cpu.hpp"
#include "core/device/ending.hpp"
#include "core/kvm/kvm.hpp"
#include "core/machine/chassis.hpp"
#include "core/pc/devices.hpp"
#include "core/supervise/supervisor.hpp"
#include "topology/plan.hpp"

namespace nestbed::pc {

struct PcSpec {
    topology::Plan plan;
    bool nested = true;                  // show VMX or SVM where KVM offers it
    core::cpu::HiddenNested hidden = {}; // of it, then
    core::cpu::ShownCpu shown = {};      // where it is not all that KVM supports
    machine::Presence memory = machine::Presence::on_touch;
    // Views of what outlives create().
    std::span<const std::byte> image;
    std::span<const std::byte> initrd = {}; // empty: none
    std::string image_name = {};            // for a multiboot image's command line
    std::string command_line = {};
    boot::BootProtocol protocol = boot::BootProtocol::automatic;
    DeviceSpec devices = {};
};

// How a guest's life ended.
struct PcEnding {
    enum class Kind {
        power_off,
        reset,
        exit_code,    // what the image wrote to the debug exit port
        triple_fault, // KVM_EXIT_SHUTDOWN: how some guests reset, and how all end that lost their way
    };
    Kind kind = Kind::power_off;
    std::uint64_t exit_code = 0;
};

[[nodiscard]] std::string to_string(const PcEnding& ending); // "powered off", "exit code 3", ...

class Pc;
using PcPtr = std::unique_ptr<Pc, machine::Retire>;

class Pc {
public:
    // Everything up to the first instruction. Errors: those of Chassis::create() and of load_foreign().
    [[nodiscard]] static Result<PcPtr> create(const kvm::Kvm& kvm, PcSpec spec,
                                              supervise::Supervisor& supervisor);
    Pc(const Pc&) = delete;
    Pc& operator=(const Pc&) = delete;
    Pc(Pc&&) = delete;
    Pc& operator=(Pc&&) = delete;
    // After a stop() that succeeded; Retire sees to that.
    ~Pc() = default;

    void start() { _chassis->let_run(); }

    // Until the guest ends its machine, or `condition` holds, which is looked at whenever a device rings;
    // nothing then. Errors: those of Chassis::await(): deadline, cancelled, or check_failed where a vCPU
    // cannot run on.
    [[nodiscard]] Result<std::optional<PcEnding>> await_ending(const std::function<bool()>& condition,
                                                               std::chrono::milliseconds deadline);
    // From any thread: has the condition looked at.
    void ring() { _chassis->ring(); }

    [[nodiscard]] Status stop() {
        auto stopped = _chassis->stop();
        if (stopped && _devices) // none where create() came no further than the memory
            _devices->quiesce();
        return stopped;
    }
    // Stops all vCPUs and describes them, a line each: registers, mp_state, last exits.
    [[nodiscard]] std::vector<std::string> diagnose();

    // Bytes that a person types, or another machine sends; how many there was room for.
    [[nodiscard]] std::size_t type(std::span<const std::byte> bytes) { return _devices->type(bytes); }
    void flush_console() { _devices->flush_console(); }

    [[nodiscard]] const machine::Chassis& chassis() const noexcept { return *_chassis; }
    [[nodiscard]] const std::string& protocol() const noexcept { return _protocol; }
    [[nodiscard]] const std::vector<boot::E820Entry>& e820() const noexcept { return _e820; }

private:
    explicit Pc(std::unique_ptr<machine::Chassis> chassis) : _chassis{std::move(chassis)} {}

    [[nodiscard]] Status attach_devices(const PcSpec& spec);
    [[nodiscard]] Status load(const PcSpec& spec);

    // The devices' threads and the vCPUs' use each other: stop() ends the vCPUs first, and then the devices.
    std::unique_ptr<machine::Chassis> _chassis;
    std::unique_ptr<Devices> _devices;
    boot::EntryState _bsp;
    std::string _protocol;
    std::vector<boot::E820Entry> _e820;
};

} // namespace nestbed::pc
