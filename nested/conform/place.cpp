#include "nested/conform/place.hpp"

#include <fmt/format.h>

#include "core/cpu/table.hpp"
#include "core/kvm/kvm.hpp"
#include "nested/svm/features.hpp"

namespace nestbed::conform {

bool shows_vmx(const core::cpu::Table& table) {
    constexpr unsigned vmx = 5; // CPUID.1:ECX
    const auto* const leaf = core::cpu::find(table, 1);
    return leaf != nullptr && (leaf->ecx >> vmx & 1) != 0;
}

Result<Where> parse_where(const std::string& text) {
    if (text == "auto")
        return Where::automatic;
    if (text == "host")
        return Where::host;
    if (text == "lab")
        return Where::lab;
    return fail(ErrorKind::bad_input, "run tests at \"" + text + "\"", "there is no such place",
                "use auto, host or lab");
}

Place choose_place(Where wanted) {
    if (wanted == Where::lab)
        return {wanted, "as asked", "svm"};
    const auto supported =
        kvm::Kvm::open().and_then([](const kvm::Kvm& kvm) { return kvm.supported_cpuid(); });
    const bool svm = supported && !svm::shown_features(*supported).empty();
    const bool vmx = supported && !svm && shows_vmx(*supported);
    const auto* const extension = vmx ? "vmx" : "svm";
    if (wanted == Where::host)
        return {wanted, "as asked", extension};
    if (!supported)
        return {Where::lab, supported.error().message(), extension};
    if (!svm && !vmx)
        return {Where::lab, "this host's KVM offers neither SVM nor VMX to its guests", extension};
    return {Where::host, fmt::format("this host's KVM offers {} to its guests", svm ? "SVM" : "VMX"),
            extension};
}

} // namespace nestbed::conform
