// Exit qualifications (SDM volume 3, "Basic VM-Exit Information", and the tables after it). Compiles
// freestanding.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

namespace detail {

constexpr bool bit(std::uint64_t value, unsigned number) {
    return (value >> number & 1) != 0;
}

constexpr std::uint8_t field(std::uint64_t value, unsigned low, unsigned width) {
    return static_cast<std::uint8_t>(value >> low & ((std::uint64_t{1} << width) - 1));
}

} // namespace detail

enum class CrAccessType : std::uint8_t { mov_to_cr, mov_from_cr, clts, lmsw };

struct CrAccess {
    std::uint8_t number = 0; // of the control register
    CrAccessType type = CrAccessType::mov_to_cr;
    bool lmsw_from_memory = false;
    std::uint8_t gpr = 0; // of the MOV, numbered as in instructions: 0 is RAX, 4 is RSP
    std::uint16_t lmsw_source = 0;
};

constexpr CrAccess decode_cr_access(std::uint64_t qualification) {
    return {detail::field(qualification, 0, 4), static_cast<CrAccessType>(detail::field(qualification, 4, 2)),
            detail::bit(qualification, 6), detail::field(qualification, 8, 4),
            static_cast<std::uint16_t>(qualification >> 16)};
}

struct MovDr {
    std::uint8_t number = 0; // of the debug register
    bool from_dr = false;
    std::uint8_t gpr = 0;
};

constexpr MovDr decode_mov_dr(std::uint64_t qualification) {
    return {detail::field(qualification, 0, 3), detail::bit(qualification, 4),
            detail::field(qualification, 8, 4)};
}

struct Io {
    std::uint8_t bytes = 0; // 1, 2 or 4
    bool in = false;
    bool string = false;
    bool repeated = false;
    bool immediate = false; // the port is part of the instruction, not in DX
    std::uint16_t port = 0;
};

constexpr Io decode_io(std::uint64_t qualification) {
    return {static_cast<std::uint8_t>(detail::field(qualification, 0, 3) + 1),
            detail::bit(qualification, 3),
            detail::bit(qualification, 4),
            detail::bit(qualification, 5),
            detail::bit(qualification, 6),
            static_cast<std::uint16_t>(qualification >> 16)};
}

struct EptViolation {
    bool read = false; // what was tried
    bool write = false;
    bool fetch = false;
    bool readable = false; // what the EPT entries allow
    bool writable = false;
    bool executable = false;
    bool user_executable = false;      // with mode-based execute control only
    bool linear_address_valid = false; // the guest-linear address field is
    bool final_address = false; // the translation of that address; else an access to a paging-structure entry
    bool user_mode_address = false; // the next three with advanced VM-exit information only
    bool writable_address = false;
    bool execute_disable_address = false;
    bool nmi_unblocking = false; // by the IRET that faulted
    bool shadow_stack = false;
    bool shadow_stack_allowed = false; // bit 60 of the EPT entry
    bool paging_verification = false;
    bool asynchronous = false; // to the execution of instructions
};

constexpr EptViolation decode_ept_violation(std::uint64_t qualification) {
    const auto bit = [qualification](unsigned number) { return detail::bit(qualification, number); };
    return {bit(0), bit(1),  bit(2),  bit(3),  bit(4),  bit(5),  bit(6),  bit(7), bit(8),
            bit(9), bit(10), bit(11), bit(12), bit(13), bit(14), bit(15), bit(16)};
}

// Of a #DB. As DR6, but set where DR6 has BLD and RTM clear.
struct Debug {
    std::uint8_t breakpoints = 0; // B3 to B0
    bool bus_lock = false;        // BLD
    bool debug_register = false;  // BD
    bool single_step = false;     // BS
    bool rtm = false;             // in a transactional region
};

constexpr Debug decode_debug(std::uint64_t qualification) {
    return {detail::field(qualification, 0, 4), detail::bit(qualification, 11),
            detail::bit(qualification, 13), detail::bit(qualification, 14), detail::bit(qualification, 16)};
}

enum class TaskSwitchSource : std::uint8_t { call, iret, jmp, task_gate };

struct TaskSwitch {
    std::uint16_t selector = 0;
    TaskSwitchSource source = TaskSwitchSource::call;
};

constexpr TaskSwitch decode_task_switch(std::uint64_t qualification) {
    return {static_cast<std::uint16_t>(qualification),
            static_cast<TaskSwitchSource>(detail::field(qualification, 30, 2))};
}

// Of an access to the APIC-access page. Other values are reserved.
enum class ApicAccessType : std::uint8_t {
    linear_read = 0,
    linear_write = 1,
    linear_fetch = 2,
    linear_event_delivery = 3,
    linear_monitoring = 4,
    physical_event_delivery = 10,
    physical_monitoring_or_trace = 11,
    physical_instruction = 15, // fetch or execution
};

struct ApicAccess {
    std::uint16_t offset = 0; // in the page; of linear accesses only
    ApicAccessType type = ApicAccessType::linear_read;
    bool asynchronous = false;
};

constexpr ApicAccess decode_apic_access(std::uint64_t qualification) {
    return {static_cast<std::uint16_t>(qualification & 0xfff),
            static_cast<ApicAccessType>(detail::field(qualification, 12, 4)), detail::bit(qualification, 16)};
}

// Of a VM entry that failed due to invalid guest state. After a failure of MSR loading the qualification is
// the number of the entry in the list instead, from 1.
enum class EntryFailure : std::uint8_t {
    other = 0,
    pdpte = 2,
    nmi_injection = 3, // blocked by STI
    vmcs_link_pointer = 4,
};

} // namespace nestbed::vmx
