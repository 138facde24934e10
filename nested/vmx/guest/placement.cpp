#include "nested/vmx/guest/placement.hpp"

#include <utility>

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/modes.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::physical;

namespace {

constexpr std::uint32_t code_32 = 0xc09b;
constexpr std::uint32_t data_32 = 0xc093;

void set_segment(Field selector, Field access, std::uint16_t value, std::uint32_t rights) {
    write(selector, value);
    write(access, rights);
}

} // namespace

void move_to_ring_3(L2& guest) {
    using nestbed::wire::user_code_selector;
    using nestbed::wire::user_data_selector;
    set_segment(Field::guest_cs_selector, Field::guest_cs_access_rights, user_code_selector, 0xa0fb);
    set_segment(Field::guest_ss_selector, Field::guest_ss_access_rights, user_data_selector, 0xc0f3);
    set_segment(Field::guest_ds_selector, Field::guest_ds_access_rights, user_data_selector, 0xc0f3);
    set_segment(Field::guest_es_selector, Field::guest_es_access_rights, user_data_selector, 0xc0f3);
    auto& context = guest.context();
    write(Field::guest_rsp, physical(context.user_stack) + sizeof context.user_stack - 8);
}

void place_32(L2& guest, const Snippet& snippet) {
    place(guest, snippet);
    set_legacy_paging_mode(guest, snippet.address(), read(Field::guest_rsp));
    auto* const gdt = reinterpret_cast<std::uint64_t*>(guest.context().gdt);
    gdt[flat_code_32 / 8] = 0x00cf'9b00'0000'ffff;
    gdt[flat_data_32 / 8] = 0x00cf'9300'0000'ffff;
    gdt[data_not_present / 8] = 0x00cf'1300'0000'ffff;
    set_segment(Field::guest_cs_selector, Field::guest_cs_access_rights, flat_code_32, code_32);
    for (const auto& [selector, access] : {std::pair{Field::guest_ss_selector, Field::guest_ss_access_rights},
                                           {Field::guest_ds_selector, Field::guest_ds_access_rights},
                                           {Field::guest_es_selector, Field::guest_es_access_rights}})
        set_segment(selector, access, flat_data_32, data_32);
    auto* registers = &guest.registers.rax;
    for (unsigned i = 0; i < 15; ++i)
        registers[i] &= 0xffff'ffff;
}

void handle_by_skipping(L2& guest, const Snippet& snippet) {
    guest.context().value[15] = snippet.end();
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip = conform::l2_context().value[15];
        return true;
    };
}

bool expect_operand(L2& guest, const Snippet& snippet, const Operand& operand, const char* file,
                    std::uint32_t line) {
    const auto before = guest.registers;
    if (!guest.run_to(operand.reason, "the instruction", file, line))
        return false;
    expect_equal(read(Field::guest_rip), snippet.address(), "guest RIP", file, line);
    expect_equal(read(Field::exit_instruction_length), snippet.end() - snippet.address(),
                 "VM-exit instruction length", file, line);
    expect_equal(read(Field::exit_qualification) & operand.qualification_mask, operand.qualification,
                 "exit qualification, where it is defined", file, line);
    if (operand.information.mask != 0)
        expect_equal(read(Field::exit_instruction_information) & operand.information.mask,
                     operand.information.value, "VM-exit instruction information, where it is defined", file,
                     line);
    for (unsigned i = 0; i < 15; ++i)
        expect_equal((&guest.registers.rax)[i], (&before.rax)[i],
                     conform::Text{"general register ", i, " (RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8...)"},
                     file, line);
    return true;
}

} // namespace nestbed::vmx
