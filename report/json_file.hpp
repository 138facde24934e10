// JSON as a file that a person can read and that is there whole or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace nestbed::report {

// Two blanks of indent; an array of numbers, truth values and short strings is one line. Bytes that are no
// UTF-8 become U+FFFD, NaN and the infinities null. Ends in a newline.
[[nodiscard]] std::string dump(const nlohmann::ordered_json& document);

// Writes dump(document) to `path` through a file beside it, so that a reader sees the old content or the new.
// Makes the folders that are missing. Errors: bad_input where `path` cannot be written, host_lacks where the
// disk is full or broken.
[[nodiscard]] Status write_json_file(const std::filesystem::path& path,
                                     const nlohmann::ordered_json& document);

// Likewise for any text.
[[nodiscard]] Status write_text_file(const std::filesystem::path& path, std::string_view text);

} // namespace nestbed::report
