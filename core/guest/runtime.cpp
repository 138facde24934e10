#include "core/guest/runtime.hpp"

#include "core/guest/apic.hpp"
#include "core/wire/ring.hpp"

namespace nestbed::guest {

namespace {

const wire::BootBlock& boot_block() {
    auto* block = reinterpret_cast<const wire::BootBlock*>(wire::boot_block_gpa);
    asm("" : "+r"(block)); // not a null-pointer offset that the compiler may reason about
    return *block;
}

// ICR write to delivery of the next, SDM volume 3, 9.4.4.1: 200 us between the SIPIs of old; 10 us do for any
// processor with an x2APIC.
constexpr std::uint64_t between_sipis_us = 10;

void wait_us(std::uint64_t microseconds) {
    const auto until = rdtsc() + header().tsc_khz * microseconds / 1000;
    while (rdtsc() < until)
        pause();
}

} // namespace

wire::Header& header() {
    return *pointer_to<wire::Header>(boot_block().header);
}

wire::Mailbox& mailbox_of(std::uint32_t vcpu) {
    return *pointer_to<wire::Mailbox>(pointer_to<const std::uint64_t>(header().vcpu_blocks)[vcpu]);
}

void ring_doorbell() {
    out32(wire::doorbell_port, 1);
}

void log(const char* text) {
    auto& ring = *pointer_to<wire::Ring>(header().ring);
    // A ticket is taken only where its slot is free, so that the reader never meets one that stays silent.
    std::uint64_t ticket = 0;
    do {
        ticket = load(ring.head);
        if (ticket - load(ring.tail) >= wire::ring_slots) {
            add(ring.dropped, std::uint64_t{1});
            return;
        }
    } while (!compare_exchange(ring.head, ticket, ticket + 1));
    auto& record = ring.slots[ticket % wire::ring_slots];
    std::uint32_t length = 0;
    while (length < wire::record_text_bytes && text[length] != '\0') {
        record.text[length] = text[length];
        ++length;
    }
    record.vcpu = this_vcpu().vcpu & 0xff'ffffU;
    record.kind = static_cast<std::uint32_t>(wire::RecordKind::log) & 0xffU;
    record.length = length;
    store(record.ready, ticket + 1);
    ring_doorbell();
}

void start_other_vcpus() {
    using namespace apic;
    auto& shared = header();
    shared.tsc_init = rdtsc();
    write(Register::interrupt_command, command(0, Shorthand::all_but_self, Delivery::init, 0));
    const auto startup = command(0, Shorthand::all_but_self, Delivery::startup, wire::sipi_vector);
    write(Register::interrupt_command, startup);
    wait_us(between_sipis_us);
    write(Register::interrupt_command, startup);
    shared.tsc_sipi = rdtsc();
}

extern "C" void enter_user(void (*function)(void*), void* argument, std::uint64_t user_stack,
                           std::uint64_t* tss_rsp0);

void run_in_user_mode(void (*function)(void*), void* argument) {
    const auto block = this_vcpu().self;
    // RSP0 is at offset 4 of the 64-bit TSS, unaligned (SDM volume 3, figure 8-11).
    enter_user(function, argument, block + wire::percpu_user_stack_top,
               pointer_to<std::uint64_t>(block + wire::percpu_tss + 4));
}

} // namespace nestbed::guest
