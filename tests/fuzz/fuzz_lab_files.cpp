// Any bytes as a kernel image, as a kernel module, and as texts that other programs print.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/units.hpp"
#include "core/boot/kernel_image.hpp"
#include "lab/bochs.hpp"
#include "lab/distribution.hpp"
#include "lab/job.hpp"
#include "lab/libraries.hpp"
#include "lab/modules.hpp"
#include "require.hpp"

using nestbed::fuzz::require;
using namespace nestbed::lab;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span{data, size});
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    if (const auto release = nestbed::boot::kernel_release(bytes))
        require(!release->empty() && release->size() <= 64);
    if (const auto info = read_module_info(bytes))
        for (const auto& name : info->depends)
            require(!name.empty() && name.find('-') == std::string::npos);
    for (const auto& name : kernel_dependencies(text))
        require(name.starts_with("linux-image-") || name.starts_with("linux-modules-"));
    if (const auto paths = parse_loaded_objects(text))
        for (const auto& path : *paths)
            require(path.is_absolute());
    if (const auto memory = bochs_memory(bytes, 1, 64 * nestbed::MiB, "x"))
        require(memory->size() < 64 * nestbed::MiB);
    for (const auto& name : parse_built_in(text))
        require(name.find('/') == std::string::npos);
    static_cast<void>(belongs_to_kernel(text));
    if (const auto job = parse_job(text))
        require(parse_job(to_text(*job)).has_value());
    return 0;
}
