// What several results, each had for itself, come to together.
#pragma once

#include "base/error.hpp"

namespace nestbed {

// The first of their errors in the order given; nothing where all of them hold.
template<typename... T>
[[nodiscard]] Status first_error(const Result<T>&... results) {
    const Error* first = nullptr;
    const auto look_at = [&](const auto& result) {
        if (first == nullptr && !result)
            first = &result.error();
    };
    (look_at(results), ...);
    if (first != nullptr)
        return tl::unexpected{*first};
    return {};
}

} // namespace nestbed
