#include "nested/conform/place.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"
#include "core/kvm/kvm.hpp"
#include "nested/svm/features.hpp"

namespace nestbed::conform {

bool shows_vmx(const core::cpu::Table& table) {
    namespace cpu = core::cpu;
    const auto* const leaf = cpu::find(table, cpu::leaf::features);
    return leaf != nullptr && cpu::has_bit(leaf->ecx, cpu::feature::vmx);
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

Place choose_place(Where wanted, std::span<const std::string> extensions) {
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
        return {Where::lab, supported.error().message(), "svm"};
    if (!svm && !vmx)
        return {Where::lab, "this host's KVM offers neither SVM nor VMX to its guests", "svm"};
    if (!extensions.empty() && std::ranges::find(extensions, extension) == extensions.end())
        return {Where::lab,
                fmt::format("this host's KVM offers {0} to its guests, not {1}", svm ? "SVM" : "VMX",
                            svm ? "VMX" : "SVM"),
                "svm"};
    return {Where::host, fmt::format("this host's KVM offers {} to its guests", svm ? "SVM" : "VMX"),
            extension};
}

std::vector<std::string> extensions_of(std::span<const std::string> patterns) {
    std::vector<std::string> extensions;
    for (const auto& pattern : patterns)
        for (const auto* const extension : {"svm", "vmx"})
            if (pattern.starts_with(fmt::format("{}.", extension)))
                extensions.emplace_back(extension);
    return extensions;
}

} // namespace nestbed::conform
