#include "nested/vmx/guest/vcpus.hpp"

#include "nested/vmx/guest/l1.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::uint32_t most_vcpus = 64; // of the tests that count
std::uint32_t taken[most_vcpus][256];

void count_one(std::uint64_t vector) {
    guest::add(taken[guest::this_vcpu().vcpu % most_vcpus][vector & 0xff], 1U);
}

// Those that differ between vCPUs; RIP is the same and RSP is written at each entry.
constexpr Field of_the_vcpu[]{Field::host_cr3,         Field::host_gs_base,     Field::host_fs_base,
                              Field::host_tr_base,     Field::host_gdtr_base,   Field::host_idtr_base,
                              Field::host_gs_selector, Field::host_tr_selector, Field::host_cr0,
                              Field::host_cr4};

} // namespace

void count_in_l1(std::uint8_t vector) {
    guest::set_interrupt_handler(vector, &count_one);
}

std::uint32_t counted_in_l1(std::uint32_t vcpu, std::uint8_t vector) {
    return guest::load(taken[vcpu % most_vcpus][vector]);
}

void take_host_state(L2& own, L2& moved) {
    constexpr unsigned count = sizeof of_the_vcpu / sizeof of_the_vcpu[0];
    std::uint64_t values[count];
    own.load();
    for (unsigned i = 0; i < count; ++i)
        values[i] = read(of_the_vcpu[i]);
    moved.load();
    for (unsigned i = 0; i < count; ++i)
        write(of_the_vcpu[i], values[i]);
}

} // namespace nestbed::vmx
