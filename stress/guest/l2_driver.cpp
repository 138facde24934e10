#include "stress/guest/l2_driver.hpp"

#include "nested/guest/l2_context.hpp"

namespace nestbed::guest {

namespace {
bool by_vmmcall;
} // namespace

void leave_l2_by_vmmcall(bool vmmcall) {
    by_vmmcall = vmmcall;
}

} // namespace nestbed::guest

// One payload has both vendors' L1, so that its L2 has to be told; the conformance payloads have one each.
extern "C" void nestbed::conform::l2_hypercall(std::uint64_t rax) {
    if (nestbed::guest::by_vmmcall)
        asm volatile("vmmcall" : "+a"(rax) : : "memory");
    else
        asm volatile("vmcall" : "+a"(rax) : : "memory");
}
