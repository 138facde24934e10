#include "core/machine/exit_text.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace nestbed::machine {

namespace {

constexpr std::array exit_names{
    std::pair{std::uint32_t{KVM_EXIT_UNKNOWN}, std::string_view{"KVM_EXIT_UNKNOWN"}},
    std::pair{std::uint32_t{KVM_EXIT_EXCEPTION}, std::string_view{"KVM_EXIT_EXCEPTION"}},
    std::pair{std::uint32_t{KVM_EXIT_IO}, std::string_view{"KVM_EXIT_IO"}},
    std::pair{std::uint32_t{KVM_EXIT_HYPERCALL}, std::string_view{"KVM_EXIT_HYPERCALL"}},
    std::pair{std::uint32_t{KVM_EXIT_DEBUG}, std::string_view{"KVM_EXIT_DEBUG"}},
    std::pair{std::uint32_t{KVM_EXIT_HLT}, std::string_view{"KVM_EXIT_HLT"}},
    std::pair{std::uint32_t{KVM_EXIT_MMIO}, std::string_view{"KVM_EXIT_MMIO"}},
    std::pair{std::uint32_t{KVM_EXIT_IRQ_WINDOW_OPEN}, std::string_view{"KVM_EXIT_IRQ_WINDOW_OPEN"}},
    std::pair{std::uint32_t{KVM_EXIT_SHUTDOWN}, std::string_view{"KVM_EXIT_SHUTDOWN"}},
    std::pair{std::uint32_t{KVM_EXIT_FAIL_ENTRY}, std::string_view{"KVM_EXIT_FAIL_ENTRY"}},
    std::pair{std::uint32_t{KVM_EXIT_INTR}, std::string_view{"KVM_EXIT_INTR"}},
    std::pair{std::uint32_t{KVM_EXIT_INTERNAL_ERROR}, std::string_view{"KVM_EXIT_INTERNAL_ERROR"}},
    std::pair{std::uint32_t{KVM_EXIT_SYSTEM_EVENT}, std::string_view{"KVM_EXIT_SYSTEM_EVENT"}},
    std::pair{std::uint32_t{KVM_EXIT_IOAPIC_EOI}, std::string_view{"KVM_EXIT_IOAPIC_EOI"}},
    std::pair{std::uint32_t{KVM_EXIT_X86_RDMSR}, std::string_view{"KVM_EXIT_X86_RDMSR"}},
    std::pair{std::uint32_t{KVM_EXIT_X86_WRMSR}, std::string_view{"KVM_EXIT_X86_WRMSR"}},
    std::pair{std::uint32_t{KVM_EXIT_X86_BUS_LOCK}, std::string_view{"KVM_EXIT_X86_BUS_LOCK"}},
    // Linux 6.7; older headers lack the name.
    std::pair{std::uint32_t{39}, std::string_view{"KVM_EXIT_MEMORY_FAULT"}},
};

std::string_view suberror_text(std::uint32_t suberror) {
    switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
        return "emulation failed";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
        return "simultaneous exceptions";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        return "an exit during event delivery that KVM cannot handle";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        return "an exit reason that KVM does not know";
    default:
        return "unknown suberror";
    }
}

std::string internal_error_text(const kvm_run& shared) {
    const auto count = std::min<std::size_t>(shared.internal.ndata, std::size(shared.internal.data));
    auto text = fmt::format("KVM_EXIT_INTERNAL_ERROR, suberror {} ({})", shared.internal.suberror,
                            suberror_text(shared.internal.suberror));
    for (std::size_t i = 0; i < count; ++i)
        text += fmt::format("{}{:#x}", i == 0 ? ", data " : " ", shared.internal.data[i]);
    return text;
}

} // namespace

std::string exit_text(std::uint32_t reason) {
    for (const auto& [number, name] : exit_names)
        if (number == reason)
            return std::string{name};
    return fmt::format("exit {}", reason);
}

std::string describe_fatal_exit(const kvm_run& shared) {
    switch (shared.exit_reason) {
    case KVM_EXIT_SHUTDOWN:
        return "KVM_EXIT_SHUTDOWN: a triple fault";
    case KVM_EXIT_INTERNAL_ERROR:
        return internal_error_text(shared);
    case KVM_EXIT_FAIL_ENTRY:
        return fmt::format("KVM_EXIT_FAIL_ENTRY, hardware reason {:#x}, on CPU {}",
                           std::uint64_t{shared.fail_entry.hardware_entry_failure_reason},
                           std::uint32_t{shared.fail_entry.cpu});
    case KVM_EXIT_SYSTEM_EVENT:
        return fmt::format("KVM_EXIT_SYSTEM_EVENT, type {}", std::uint32_t{shared.system_event.type});
    default:
        return fmt::format("{}, which no part of this machine asks for", exit_text(shared.exit_reason));
    }
}

std::string mp_state_text(std::uint32_t state) {
    switch (state) {
    case KVM_MP_STATE_RUNNABLE:
        return "runnable";
    case KVM_MP_STATE_UNINITIALIZED:
        return "uninitialized, waits for INIT";
    case KVM_MP_STATE_INIT_RECEIVED:
        return "INIT received, waits for SIPI";
    case KVM_MP_STATE_HALTED:
        return "halted";
    case KVM_MP_STATE_SIPI_RECEIVED:
        return "SIPI received";
    default:
        return fmt::format("mp_state {}", state);
    }
}

} // namespace nestbed::machine
