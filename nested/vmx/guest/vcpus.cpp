#include "nested/vmx/guest/vcpus.hpp"

#include "nested/vmx/guest/l1.hpp"

namespace nestbed::vmx {

namespace {

// Those that differ between vCPUs; RIP is the same and RSP is written at each entry.
constexpr Field of_the_vcpu[]{Field::host_cr3,         Field::host_gs_base,     Field::host_fs_base,
                              Field::host_tr_base,     Field::host_gdtr_base,   Field::host_idtr_base,
                              Field::host_gs_selector, Field::host_tr_selector, Field::host_cr0,
                              Field::host_cr4};

} // namespace

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
