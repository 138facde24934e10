#include "nested/guest/events.hpp"

namespace nestbed::conform {

namespace {

constexpr std::uint32_t most_vcpus = 64; // of the tests that count
std::uint32_t taken[most_vcpus][256];

void count_one(std::uint64_t vector) {
    guest::add(taken[guest::this_vcpu().vcpu % most_vcpus][vector & 0xff], 1U);
}

constexpr std::uint64_t tsc_deadline_mode = std::uint64_t{2} << 17;

} // namespace

void count_interrupts(std::uint8_t vector) {
    guest::set_interrupt_handler(vector, &count_one);
}

std::uint32_t interrupts_taken_by(std::uint32_t vcpu, std::uint8_t vector) {
    return guest::load(taken[vcpu % most_vcpus][vector]);
}
std::uint32_t interrupts_taken(std::uint8_t vector) {
    return interrupts_taken_by(guest::this_vcpu().vcpu, vector);
}

void start_timer(std::uint64_t ticks, std::uint8_t vector) {
    guest::apic::write(guest::apic::Register::lvt_timer, tsc_deadline_mode | vector);
    guest::wrmsr(guest::apic::tsc_deadline_msr, guest::rdtsc() + ticks);
}

} // namespace nestbed::conform
