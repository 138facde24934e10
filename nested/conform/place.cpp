#include "nested/conform/place.hpp"

#include <fmt/format.h>

#include "core/kvm/kvm.hpp"
#include "nested/svm/features.hpp"

namespace nestbed::conform {

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
    if (wanted != Where::automatic)
        return {wanted, "as asked"};
    const auto supported =
        kvm::Kvm::open().and_then([](const kvm::Kvm& kvm) { return kvm.supported_cpuid(); });
    if (!supported)
        return {Where::lab, supported.error().message()};
    if (svm::shown_features(*supported).empty())
        return {Where::lab, "this host's KVM offers no SVM to its guests"};
    return {Where::host, "this host's KVM offers SVM to its guests"};
}

} // namespace nestbed::conform
