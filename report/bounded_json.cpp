#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "report/document.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::json;

// A value in memory is 16 bytes and more, while "0," in the file is 2.
constexpr std::uint64_t most_values = 16'000'000;
// What is nested is copied and destroyed by functions that call themselves.
constexpr std::uint64_t most_levels = 64;

// Goes through a text without keeping any of it, and stops at the first thing that is too much.
class Survey : public nlohmann::json_sax<Json> {
public:
    bool null() override { return count(); }
    bool boolean(bool) override { return count(); }
    bool number_integer(number_integer_t) override { return count(); }
    bool number_unsigned(number_unsigned_t) override { return count(); }
    bool number_float(number_float_t, const string_t&) override { return count(); }
    bool string(string_t&) override { return count(); }
    bool binary(binary_t&) override { return count(); }
    bool key(string_t&) override { return true; }
    bool start_object(std::size_t) override { return descend(); }
    bool start_array(std::size_t) override { return descend(); }
    bool end_object() override { return ascend(); }
    bool end_array() override { return ascend(); }
    bool parse_error(std::size_t position, const std::string& token,
                     const nlohmann::detail::exception&) override {
        constexpr std::size_t most_letters = 40;
        _objection = fmt::format("no JSON at byte {}, behind \"{}\"", position,
                                 printable(std::string_view{token}.substr(
                                     token.size() > most_letters ? token.size() - most_letters : 0)));
        return false;
    }

    [[nodiscard]] const std::string& objection() const { return _objection; }

private:
    bool count() {
        if (++_values <= most_values)
            return true;
        _objection = fmt::format("more than {} values", most_values);
        return false;
    }

    bool descend() {
        if (++_level > most_levels) {
            _objection = fmt::format("more than {} levels of objects and arrays", most_levels);
            return false;
        }
        return count();
    }

    bool ascend() {
        --_level;
        return true;
    }

    std::uint64_t _values = 0;
    std::uint64_t _level = 0;
    std::string _objection;
};

} // namespace

Result<Json> parse_bounded_json(std::string_view text, const std::string& name) {
    Survey survey;
    if (!Json::sax_parse(text, &survey))
        return fail(ErrorKind::bad_input, fmt::format("read {}", printable(name)), survey.objection(),
                    "name a file that nestbed has written");
    return Json::parse(text, nullptr, false);
}

} // namespace nestbed::report
