// SVM's instructions (APM volume 3). All take physical addresses in RAX.
#pragma once

#include <cstdint>

namespace nestbed::svm {

inline void stgi() {
    asm volatile("stgi" : : : "memory");
}
inline void clgi() {
    asm volatile("clgi" : : : "memory");
}
inline void vmload(std::uint64_t vmcb) {
    asm volatile("vmload %%rax" : : "a"(vmcb) : "memory");
}
inline void vmsave(std::uint64_t vmcb) {
    asm volatile("vmsave %%rax" : : "a"(vmcb) : "memory");
}
// Alone: L2 gets all general registers as they are and must change none but RAX and RSP. For tests of VMRUN
// itself; guests are run by L2::run().
inline void vmrun(std::uint64_t vmcb) {
    asm volatile("vmrun %%rax" : : "a"(vmcb) : "memory", "cc");
}
inline void vmmcall(std::uint64_t rax) {
    asm volatile("vmmcall" : "+a"(rax) : : "memory");
}
inline void invlpga(std::uint64_t address, std::uint32_t asid) {
    asm volatile("invlpga %%rax, %%ecx" : : "a"(address), "c"(asid) : "memory");
}
inline void skinit(std::uint32_t eax) {
    asm volatile("skinit %%eax" : : "a"(eax) : "memory");
}

} // namespace nestbed::svm
