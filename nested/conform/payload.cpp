#include "nested/conform/payload.hpp"

#include <cstddef>
#include <span>

// Written by nestbed_payload() in core/guest/CMakeLists.txt.
extern "C" const std::byte svm_payload_image[];
extern "C" const std::byte svm_payload_image_end[];

namespace nestbed::conform {

Result<boot::Payload> svm_payload() {
    return boot::read_payload(std::span{&svm_payload_image[0], &svm_payload_image_end[0]});
}

} // namespace nestbed::conform
