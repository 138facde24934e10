#include "nested/vmx/exit_text.hpp"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "nested/vmx/event.hpp"
#include "nested/vmx/exit_reason.hpp"
#include "nested/vmx/instruction_error.hpp"
#include "nested/vmx/instruction_information.hpp"
#include "nested/vmx/qualification.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::array gpr_names{"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                               "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};

using Flag = std::pair<bool, std::string_view>;

std::string join(std::initializer_list<Flag> flags) {
    std::vector<std::string_view> words;
    for (const auto& [set, word] : flags)
        if (set)
            words.push_back(word);
    return fmt::format("{}", fmt::join(words, ", "));
}

std::string_view gpr(std::uint8_t number) {
    return gpr_names.at(number & 15U);
}

std::string cr_access_text(std::uint64_t qualification) {
    const auto access = decode_cr_access(qualification);
    switch (access.type) {
    case CrAccessType::mov_to_cr:
        return fmt::format("MOV to CR{} from {}", access.number, gpr(access.gpr));
    case CrAccessType::mov_from_cr:
        return fmt::format("MOV from CR{} to {}", access.number, gpr(access.gpr));
    case CrAccessType::clts:
        return "CLTS";
    case CrAccessType::lmsw:
        break;
    }
    return fmt::format("LMSW of {:#x} from {}", access.lmsw_source,
                       access.lmsw_from_memory ? "memory" : "a register");
}

std::string mov_dr_text(std::uint64_t qualification) {
    const auto mov = decode_mov_dr(qualification);
    return mov.from_dr ? fmt::format("MOV from DR{} to {}", mov.number, gpr(mov.gpr))
                       : fmt::format("MOV to DR{} from {}", mov.number, gpr(mov.gpr));
}

std::string io_text(std::uint64_t qualification) {
    const auto io = decode_io(qualification);
    return fmt::format("{}{}{}, {} byte{}, port {:#x}{}", io.repeated ? "REP " : "", io.in ? "IN" : "OUT",
                       io.string ? "S" : "", io.bytes, io.bytes == 1 ? "" : "s", io.port,
                       io.immediate ? ", immediate" : "");
}

std::string ept_violation_text(std::uint64_t qualification) {
    const auto ept = decode_ept_violation(qualification);
    auto text = join({{ept.read, "read"}, {ept.write, "write"}, {ept.fetch, "fetch"}});
    if (text.empty())
        text = "no access";
    text += fmt::format(", allowed {}{}{}{}", ept.readable ? 'r' : '-', ept.writable ? 'w' : '-',
                        ept.executable ? 'x' : '-', ept.user_executable ? 'u' : '-');
    const auto more =
        join({{ept.linear_address_valid && ept.final_address, "translation of a linear address"},
              {ept.linear_address_valid && !ept.final_address, "walk of a linear address"},
              {ept.user_mode_address, "user-mode address"},
              {ept.writable_address, "writable address"},
              {ept.execute_disable_address, "execute-disable address"},
              {ept.nmi_unblocking, "NMI unblocking due to IRET"},
              {ept.shadow_stack, "shadow-stack access"},
              {ept.shadow_stack_allowed, "supervisor shadow stack"},
              {ept.paging_verification, "guest-paging verification"},
              {ept.asynchronous, "asynchronous"}});
    return more.empty() ? text : text + ", " + more;
}

std::string debug_text(std::uint64_t qualification) {
    const auto debug = decode_debug(qualification);
    return join({{(debug.breakpoints & 1) != 0, "B0"},
                 {(debug.breakpoints & 2) != 0, "B1"},
                 {(debug.breakpoints & 4) != 0, "B2"},
                 {(debug.breakpoints & 8) != 0, "B3"},
                 {debug.bus_lock, "BLD"},
                 {debug.debug_register, "BD"},
                 {debug.single_step, "BS"},
                 {debug.rtm, "RTM"}});
}

std::string task_switch_text(std::uint64_t qualification) {
    constexpr std::array sources{"CALL", "IRET", "JMP", "a task gate"};
    const auto task = decode_task_switch(qualification);
    return fmt::format("to TSS selector {:#x} by {}", task.selector,
                       sources.at(static_cast<std::size_t>(task.source)));
}

std::string_view name_of(ApicAccessType type) {
    switch (type) {
    case ApicAccessType::linear_read:
        return "linear data read";
    case ApicAccessType::linear_write:
        return "linear data write";
    case ApicAccessType::linear_fetch:
        return "linear instruction fetch";
    case ApicAccessType::linear_event_delivery:
        return "linear access during event delivery";
    case ApicAccessType::linear_monitoring:
        return "linear access for monitoring";
    case ApicAccessType::physical_event_delivery:
        return "guest-physical access during event delivery";
    case ApicAccessType::physical_monitoring_or_trace:
        return "guest-physical access for monitoring or trace";
    case ApicAccessType::physical_instruction:
        return "guest-physical access by an instruction";
    }
    return "access of a reserved type";
}

std::string apic_access_text(std::uint64_t qualification) {
    const auto access = decode_apic_access(qualification);
    return fmt::format("{}, offset {:#x}{}", name_of(access.type), access.offset,
                       access.asynchronous ? ", asynchronous" : "");
}

std::string entry_failure_text(std::uint64_t qualification) {
    switch (static_cast<EntryFailure>(qualification)) {
    case EntryFailure::pdpte:
        return "loading the PDPTEs";
    case EntryFailure::nmi_injection:
        return "NMI injected under blocking by STI";
    case EntryFailure::vmcs_link_pointer:
        return "VMCS link pointer";
    case EntryFailure::other:
        break;
    }
    return {};
}

bool is_debug_exception(std::uint32_t information) {
    constexpr std::uint8_t db = 1;
    const auto event = decode_event(information);
    const bool exception =
        event.type == EventType::hardware_exception || event.type == EventType::privileged_software_exception;
    return event.valid && exception && event.vector == db;
}

std::string_view name_of(EventType type) {
    switch (type) {
    case EventType::external_interrupt:
        return "external interrupt";
    case EventType::nmi:
        return "NMI";
    case EventType::hardware_exception:
        return "hardware exception";
    case EventType::software_interrupt:
        return "software interrupt";
    case EventType::privileged_software_exception:
        return "privileged software exception";
    case EventType::software_exception:
        return "software exception";
    case EventType::other:
        return "other event";
    }
    return "reserved type";
}

std::string memory_operand(const InstructionInformation& seen) {
    constexpr std::array segments{"ES", "CS", "SS", "DS", "FS", "GS", "segment 6", "segment 7"};
    std::vector<std::string> parts;
    if (seen.has_base)
        parts.emplace_back(gpr(seen.base));
    if (seen.has_index)
        parts.push_back(fmt::format("{} * {}", gpr(seen.index), 1U << seen.scale));
    parts.emplace_back("displacement");
    return fmt::format("[{}] in {}, {}-bit addresses", fmt::join(parts, " + "),
                       segments.at(static_cast<std::size_t>(seen.segment) & 7U), seen.address_bytes * 8U);
}

// What is common to the instructions whose operand is a register or memory.
std::string operand(const InstructionInformation& seen) {
    return seen.register_operand ? std::string{gpr(seen.register1)} : memory_operand(seen);
}

} // namespace

std::string exit_reason_text(std::uint32_t exit_reason) {
    const auto reason = decode_exit_reason(exit_reason);
    const auto number = static_cast<unsigned>(reason.basic);
    const auto* const name = name_of(reason.basic);
    auto text = name == nullptr ? fmt::format("reason {}", number) : fmt::format("{} ({})", name, number);
    const auto flags = join({{reason.busy_shadow_stack, "prematurely busy shadow stack"},
                             {reason.bus_lock, "bus lock"},
                             {reason.enclave_mode, "enclave mode"},
                             {reason.pending_mtf, "pending MTF"},
                             {reason.from_vmx_root, "from VMX root operation"},
                             {reason.entry_failure, "entry failure"}});
    return flags.empty() ? text : text + ", " + flags;
}

std::string instruction_error_text(std::uint32_t error) {
    if (error == 0)
        return {};
    const auto* const name = name_of(static_cast<InstructionError>(error));
    return name == nullptr ? fmt::format("error {}", error) : fmt::format("{} ({})", name, error);
}

std::string event_text(std::uint32_t information) {
    const auto event = decode_event(information);
    if (!event.valid)
        return information == 0 ? "" : "not valid";
    const auto flags = join({{event.error_code, "error code"},
                             {event.nmi_unblocking, "NMI unblocking due to IRET"},
                             {event.nested, "nested exception"}});
    return fmt::format("{}, vector {}{}{}", name_of(event.type), event.vector, flags.empty() ? "" : ", ",
                       flags);
}

std::string qualification_text(std::uint32_t exit_reason, std::uint64_t qualification,
                               std::uint32_t interruption_information) {
    switch (decode_exit_reason(exit_reason).basic) {
    case ExitReason::exception_or_nmi:
        return is_debug_exception(interruption_information) ? debug_text(qualification) : "";
    case ExitReason::task_switch:
        return task_switch_text(qualification);
    case ExitReason::control_register_access:
        return cr_access_text(qualification);
    case ExitReason::mov_dr:
        return mov_dr_text(qualification);
    case ExitReason::io_smi:
    case ExitReason::io_instruction:
        return io_text(qualification);
    case ExitReason::entry_failure_guest_state:
        return entry_failure_text(qualification);
    case ExitReason::entry_failure_msr_loading:
        return fmt::format("entry {} of the list", qualification);
    case ExitReason::apic_access:
        return apic_access_text(qualification);
    case ExitReason::ept_violation:
        return ept_violation_text(qualification);
    default:
        return {};
    }
}

std::string instruction_information_text(std::uint32_t exit_reason, std::uint32_t information) {
    constexpr std::array table_accesses{"SGDT", "SIDT", "LGDT", "LIDT"};
    constexpr std::array selector_accesses{"SLDT", "STR", "LLDT", "LTR"};
    constexpr std::array sizes{"16-bit", "32-bit", "64-bit", "size 3"};
    const auto seen = decode_instruction_information(information);
    switch (decode_exit_reason(exit_reason).basic) {
    case ExitReason::gdtr_or_idtr_access:
        return fmt::format("{} of {}", table_accesses.at(seen.identity & 3U), memory_operand(seen));
    case ExitReason::ldtr_or_tr_access:
        return fmt::format("{} of {}", selector_accesses.at(seen.identity & 3U), operand(seen));
    case ExitReason::invept:
    case ExitReason::invpcid:
    case ExitReason::invvpid:
        return fmt::format("{}, type in {}", memory_operand(seen), gpr(seen.register2));
    case ExitReason::vmread:
    case ExitReason::vmwrite:
        return fmt::format("{}, field in {}", operand(seen), gpr(seen.register2));
    case ExitReason::vmclear:
    case ExitReason::vmptrld:
    case ExitReason::vmptrst:
    case ExitReason::vmxon:
    case ExitReason::xsaves:
    case ExitReason::xrstors:
        return memory_operand(seen);
    case ExitReason::rdrand:
    case ExitReason::rdseed:
        return fmt::format("{}, {}", gpr(seen.register1), sizes.at(seen.operand_size & 3U));
    default:
        return {};
    }
}

} // namespace nestbed::vmx
