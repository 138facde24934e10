// What an L1 hypervisor includes of VMX has to compile as a payload does.
#include "nested/vmx/capability.hpp"
#include "nested/vmx/capability_names.hpp"
#include "nested/vmx/control_names.hpp"
#include "nested/vmx/controls.hpp"
#include "nested/vmx/event.hpp"
#include "nested/vmx/exit_reason.hpp"
#include "nested/vmx/instruction_error.hpp"
#include "nested/vmx/instruction_information.hpp"
#include "nested/vmx/qualification.hpp"
#include "nested/vmx/vmcs_field.hpp"
#include "nested/vmx/vmcs_names.hpp"

namespace nestbed::vmx {

static_assert(find_field(0x681e)->field == Field::guest_rip);
static_assert(name_of(ExitReason::cpuid) != nullptr);
static_assert(name_of(InstructionError::vmcall_in_root) != nullptr);
static_assert(decode_io(0x0060'0008).port == 0x60);
static_assert(decode_event(event(EventType::nmi, 2)).vector == 2);
static_assert(decode_instruction_information(1U << 10).register_operand);
static_assert(decode_basic(0x00da'0400'0000'0004).bytes == 0x400);
static_assert(capability_name(msr::misc) != nullptr);
static_assert(decode_exit_reason(1U << 31).entry_failure);

} // namespace nestbed::vmx
