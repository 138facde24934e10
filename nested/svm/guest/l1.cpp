#include "nested/svm/guest/l1.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

namespace {
constexpr std::uint32_t most_vcpus = 4096; // of KVM; the table is in .bss
Host hosts[most_vcpus];
} // namespace

Host& this_host() {
    return hosts[guest::this_vcpu().vcpu % most_vcpus];
}

void enable() {
    guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) | msr::efer_bit::svme);
    auto& host = this_host();
    if (host.save_area == nullptr) {
        host.save_area = conform::allocate_pages(1);
        host.state = &conform::allocate<Vmcb>();
    }
    guest::wrmsr(msr::vm_hsave_pa, conform::physical(host.save_area));
    vmsave(conform::physical(host.state));
}

std::uint32_t svm_features() {
    return guest::cpuid(0x8000'000a, 0).edx;
}

unsigned physical_address_bits() {
    return guest::cpuid(0x8000'0008, 0).eax & 0xff;
}

std::uint64_t read_dr6() {
    std::uint64_t value = 0;
    asm volatile("movq %%dr6, %0" : "=r"(value));
    return value;
}
std::uint64_t read_dr7() {
    std::uint64_t value = 0;
    asm volatile("movq %%dr7, %0" : "=r"(value));
    return value;
}
void write_dr6(std::uint64_t value) {
    asm volatile("movq %0, %%dr6" : : "r"(value));
}
void write_dr7(std::uint64_t value) {
    asm volatile("movq %0, %%dr7" : : "r"(value));
}

} // namespace nestbed::svm
