// Any bytes as KVM's binary statistics.
#include <cstddef>
#include <cstdint>

#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "core/kvm/statistics.hpp"
#include "require.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const nestbed::Fd file{::memfd_create("statistics", MFD_CLOEXEC)};
    require(::write(file.get(), data, size) == static_cast<ssize_t>(size));
    const auto layout = nestbed::kvm::read_statistics_layout(file.get());
    if (!layout) {
        require(layout.error().kind == nestbed::ErrorKind::host_lacks);
        return 0;
    }
    const auto values = nestbed::kvm::read_statistics(file.get(), *layout);
    if (!values)
        return 0;
    require(values->size() * 8 == layout->data_bytes && layout->data_bytes <= size);
    for (const auto& entry : layout->entries) {
        require(entry.offset + std::uint64_t{entry.size} * 8 <= layout->data_bytes);
        static_cast<void>(nestbed::kvm::value_of(entry, *values));
    }
    return 0;
}
