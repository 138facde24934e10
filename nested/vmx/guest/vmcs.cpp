#include "nested/vmx/guest/vmcs.hpp"

#include "nested/guest/check.hpp"
#include "nested/vmx/guest/instructions.hpp"
#include "nested/wire/vmcs_image.hpp"

namespace nestbed::vmx {

namespace {

using nested::wire::VmcsEntry;
using nested::wire::VmcsImage;

VmcsImage& image(std::uint8_t (&page)[4096]) {
    return *reinterpret_cast<VmcsImage*>(page);
}

void note(VmcsImage& to, std::uint32_t encoding, std::uint64_t value) {
    for (auto& entry : to.entries) {
        if (entry.present != 0 && entry.encoding != encoding)
            continue;
        entry = {encoding, 1, value};
        return;
    }
}

// All that there is: the highest index is in IA32_VMX_VMCS_ENUM, and none is above this.
constexpr std::uint32_t most_indexes = 64;

void keep(nested::wire::Report& report) {
    auto& after = image(report.after);
    for (auto& entry : after.entries)
        entry = {};
    std::uint32_t next = 0;
    for (std::uint32_t width = 0; width < 4; ++width)
        for (std::uint32_t type = 0; type < 4; ++type)
            for (std::uint32_t index = 0; index < most_indexes; ++index) {
                const auto encoding = encode({static_cast<Width>(width), static_cast<FieldType>(type),
                                              static_cast<std::uint16_t>(index), Access::full});
                std::uint64_t value = 0;
                if (next < nested::wire::most_vmcs_entries && vmread(encoding, value) == Outcome::succeed)
                    after.entries[next++] = {encoding, 1, value};
            }
}

} // namespace

std::uint64_t read(Field field) {
    std::uint64_t value = 0;
    const auto outcome = vmread(static_cast<std::uint32_t>(field), value);
    if (outcome != Outcome::succeed)
        conform::expect_equal(
            outcome, Outcome::succeed,
            conform::Text{"VMREAD of field ", conform::Hex{static_cast<std::uint32_t>(field)}});
    return value;
}

void write(Field field, std::uint64_t value) {
    const auto outcome = vmwrite(static_cast<std::uint32_t>(field), value);
    if (outcome != Outcome::succeed)
        conform::expect_equal(
            outcome, Outcome::succeed,
            conform::Text{"VMWRITE of field ", conform::Hex{static_cast<std::uint32_t>(field)}});
    auto& report = conform::report();
    if (report.frozen == 0)
        note(image(report.written), static_cast<std::uint32_t>(field), value);
}

void keep_vmcs_of_failures() {
    conform::keep_control_structure = &keep;
}

} // namespace nestbed::vmx
