#include "stress/payload.hpp"

#include <cstddef>
#include <span>

// Written by nestbed_payload() in core/guest/CMakeLists.txt.
extern "C" const std::byte stress_payload_image[];
extern "C" const std::byte stress_payload_image_end[];

namespace nestbed::stress {

Result<boot::Payload> embedded_payload() {
    return boot::read_payload(std::span{&stress_payload_image[0], &stress_payload_image_end[0]});
}

} // namespace nestbed::stress
