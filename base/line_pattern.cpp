#include "base/line_pattern.hpp"

#include <array>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <fmt/format.h>

#include "base/printable.hpp"

namespace nestbed {

namespace {

// A simple pattern needs a few steps for each byte.
constexpr std::uint32_t most_steps = 1'000'000;
constexpr std::uint32_t most_heap_kib = 1024;

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

} // namespace

void LinePattern::Free::operator()(pcre2_real_code_8* code) const noexcept {
    pcre2_code_free(code);
}

Result<LinePattern> LinePattern::compile(std::string_view text) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    auto* const code = pcre2_compile(bytes_of(text), text.size(), 0, &error, &offset, nullptr);
    if (code == nullptr) {
        std::array<unsigned char, 256> message{};
        pcre2_get_error_message(error, message.data(), message.size());
        return fail(ErrorKind::bad_input, fmt::format("use the regular expression \"{}\"", printable(text)),
                    fmt::format("{} at offset {}", reinterpret_cast<const char*>(message.data()), offset),
                    "write it as Perl would; characters such as ( [ * are escaped with a backslash");
    }
    return LinePattern{code};
}

bool LinePattern::matches(std::string_view line) const {
    const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits{
        pcre2_match_context_create(nullptr), &pcre2_match_context_free};
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data{
        pcre2_match_data_create(1, nullptr), &pcre2_match_data_free};
    if (!limits || !data)
        return false;
    pcre2_set_match_limit(limits.get(), most_steps);
    pcre2_set_heap_limit(limits.get(), most_heap_kib);
    return pcre2_match(_code.get(), bytes_of(line), line.size(), 0, 0, data.get(), limits.get()) >= 0;
}

} // namespace nestbed
