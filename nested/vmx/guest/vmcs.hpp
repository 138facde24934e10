// A VMCS as L1 has it: fields by name through VMREAD and VMWRITE of the current one.
#pragma once

#include <cstdint>

#include "nested/vmx/controls.hpp"
#include "nested/vmx/vmcs_field.hpp"

namespace nestbed::vmx {

// VMREAD and VMWRITE that a test does not doubt: one that fails is a failed expectation, once.
std::uint64_t read(Field field);
void write(Field field, std::uint64_t value);

inline void set(Field field, std::uint64_t bits) {
    write(field, read(field) | bits);
}
inline void clear(Field field, std::uint64_t bits) {
    write(field, read(field) & ~bits);
}

// From now on the first expectation that is not met keeps the current VMCS, as it is then, in the report.
void keep_vmcs_of_failures();

} // namespace nestbed::vmx
