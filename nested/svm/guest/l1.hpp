// What makes a vCPU an SVM host: EFER.SVME, its host save area, and the state that VMRUN does not switch.
#pragma once

#include <cstdint>

#include "nested/svm/vmcb.hpp"

namespace nestbed::svm {

// On the calling vCPU (APM volume 2, 15.4 and 15.30.4). May be called again.
void enable();

// This vCPU's; null before enable().
struct Host {
    void* save_area; // VM_HSAVE_PA
    Vmcb* state;     // VMSAVE of L1, for the VMLOAD after each exit
};
Host& this_host();

// CPUID Fn8000_000A EDX as this vCPU sees it.
std::uint32_t svm_features();

// Width of physical addresses in bits (CPUID Fn8000_0008 EAX[7:0]).
unsigned physical_address_bits();

// Registers whose value tests compare before and after. In L1.
std::uint64_t read_dr6();
std::uint64_t read_dr7();
void write_dr6(std::uint64_t value);
void write_dr7(std::uint64_t value);

} // namespace nestbed::svm
