#include "nested/conform/payload.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

// Written by nestbed_payload() in core/guest/CMakeLists.txt.
extern "C" const std::byte svm_payload_image[];
extern "C" const std::byte svm_payload_image_end[];
extern "C" const std::byte vmx_payload_image[];
extern "C" const std::byte vmx_payload_image_end[];

namespace nestbed::conform {

const boot::Payload& Payloads::of(std::string_view test) const {
    return extension_of(test) == "vmx" ? vmx : svm;
}

Result<Payloads> payloads() {
    auto svm = boot::read_payload(std::span{&svm_payload_image[0], &svm_payload_image_end[0]});
    if (!svm)
        return tl::unexpected{svm.error()};
    auto vmx = boot::read_payload(std::span{&vmx_payload_image[0], &vmx_payload_image_end[0]});
    if (!vmx)
        return tl::unexpected{vmx.error()};
    return Payloads{std::move(*svm), std::move(*vmx)};
}

Result<std::vector<Case>> all_cases(const Payloads& payloads) {
    auto svm = cases_of(payloads.svm);
    if (!svm)
        return svm;
    auto vmx = cases_of(payloads.vmx);
    if (!vmx)
        return vmx;
    // "svm" comes before "vmx".
    std::ranges::move(*vmx, std::back_inserter(*svm));
    return svm;
}

Result<std::vector<Case>> all_cases() {
    return payloads().and_then([](const Payloads& both) { return all_cases(both); });
}

} // namespace nestbed::conform
