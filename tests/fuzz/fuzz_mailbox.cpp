// Any bytes as what a guest left in its record ring and in its mailbox.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/machine/guest_text.hpp"
#include "core/wire/mailbox.hpp"
#include "core/wire/ring.hpp"
#include "require.hpp"

using nestbed::fuzz::require;

namespace {

template<typename T>
T filled_from(const std::uint8_t* data, std::size_t size) {
    T value{};
    std::memcpy(&value, data, size < sizeof value ? size : sizeof value);
    return value;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const auto record = filled_from<nestbed::wire::Record>(data, size);
    const auto text = nestbed::machine::record_text(record);
    require(text.size() <= nestbed::wire::record_text_bytes && text.size() <= record.length);
    for (const char c : text)
        require(c >= ' ' && c <= '~');
    require(!nestbed::machine::describe_exception(filled_from<nestbed::wire::ExceptionReport>(data, size))
                 .empty());
    return 0;
}
