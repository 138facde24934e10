#include "report/fields.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::json;

const Json nothing; // what a member that is missing reads as

// Short enough for a line; a name or a text may be a megabyte.
std::string excerpt(std::string_view text) {
    constexpr std::size_t most = 40;
    return text.size() <= most ? printable(text) : printable(text.substr(0, most)) + "...";
}

std::string describe(const Json& value) {
    if (value.is_string())
        return fmt::format("\"{}\"", excerpt(value.get_ref<const std::string&>()));
    if (value.is_number())
        return value.dump();
    if (value.is_array())
        return fmt::format("an array of {}", value.size());
    return value.is_null() ? "null" : fmt::format("{} {}", value.is_object() ? "an" : "a", value.type_name());
}

std::string below(const std::string& place, std::string_view name) {
    return place.empty() ? excerpt(name) : place + "." + excerpt(name);
}

std::optional<std::uint64_t> count_of(const Json& value, std::uint64_t most) {
    // A negative integer is not unsigned to the library.
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
        return std::nullopt;
    return value.get<std::uint64_t>();
}

std::string whole_number(std::uint64_t most) {
    return most == UINT64_MAX ? "a whole number" : fmt::format("a whole number of at most {}", most);
}

} // namespace

void Field::object(std::string_view asked) const {
    object(asked, describe(*_value));
}

void Field::object(std::string_view asked, std::string_view found) const {
    if (_objection->text.empty())
        _objection->text =
            fmt::format("{}: asked for {}, found {}", _place.empty() ? "the document" : _place, asked, found);
}

Field Field::member(const char* name) const {
    if (auto found = find(name))
        return *std::move(found);
    const Field missing{nothing, below(_place, name), *_objection};
    missing.object("it", "no such member");
    return missing;
}

std::optional<Field> Field::find(const char* name) const {
    if (!_value->is_object()) {
        object("an object");
        return std::nullopt;
    }
    const auto found = _value->find(name);
    if (found == _value->end())
        return std::nullopt;
    return Field{*found, below(_place, name), *_objection};
}

bool Field::has_at_most(std::size_t most) const {
    if (_value->size() <= most)
        return true;
    object(fmt::format("at most {} elements", most), fmt::format("{}", _value->size()));
    return false;
}

std::vector<Field> Field::elements(std::size_t most) const {
    std::vector<Field> fields;
    if (!_value->is_array())
        object("an array");
    else if (has_at_most(most))
        for (const auto& element : *_value)
            fields.emplace_back(element, fmt::format("{}[{}]", _place, fields.size()), *_objection);
    return fields;
}

std::vector<Field::Named> Field::members(std::size_t most) const {
    std::vector<Named> fields;
    if (!_value->is_object())
        object("an object");
    else if (has_at_most(most))
        for (const auto& [name, value] : _value->items())
            fields.push_back({.name = name, .value = Field{value, below(_place, name), *_objection}});
    return fields;
}

bool Field::truth() const {
    if (_value->is_boolean())
        return _value->get<bool>();
    object("true or false");
    return false;
}

std::uint64_t Field::count(std::uint64_t most) const {
    if (const auto value = count_of(*_value, most))
        return *value;
    object(whole_number(most));
    return 0;
}

std::uint32_t Field::small_count(std::uint32_t most) const {
    return static_cast<std::uint32_t>(count(most));
}

std::int64_t Field::integer() const {
    if (_value->is_number_integer() && (!_value->is_number_unsigned() || count_of(*_value, INT64_MAX)))
        return _value->get<std::int64_t>();
    object("an integer of 64 bits");
    return 0;
}

double Field::number() const {
    if (_value->is_number())
        return _value->get<double>();
    if (!_value->is_null())
        object("a number or null");
    return std::numeric_limits<double>::quiet_NaN();
}

double Field::amount() const {
    const auto value = number();
    if (value < 0)
        object("0 or more");
    return value;
}

std::string Field::text() const {
    if (_value->is_string())
        return _value->get<std::string>();
    object("a string");
    return {};
}

Interval Field::interval() const {
    const auto ends = numbers(2);
    if (ends.size() == 2 && !(ends[0] > ends[1]))
        return {.low = ends[0], .high = ends[1]};
    object("two numbers, the lower one first");
    return {};
}

std::vector<std::string> Field::texts(std::size_t most) const {
    std::vector<std::string> values;
    for (const auto& element : elements(most))
        values.push_back(element.text());
    return values;
}

// Straight from the document: a place for each of a million numbers would cost more than they do.
std::vector<double> Field::numbers(std::size_t most) const {
    std::vector<double> values;
    if (!_value->is_array())
        object("an array");
    else if (has_at_most(most))
        for (const auto& element : *_value)
            values.push_back(
                element.is_number()
                    ? element.get<double>()
                    : Field{element, fmt::format("{}[{}]", _place, values.size()), *_objection}.number());
    return values;
}

std::vector<std::uint64_t> Field::counts(std::size_t most) const {
    std::vector<std::uint64_t> values;
    if (!_value->is_array())
        object("an array");
    else if (has_at_most(most))
        for (const auto& element : *_value)
            values.push_back(
                element.is_number_unsigned()
                    ? element.get<std::uint64_t>()
                    : Field{element, fmt::format("{}[{}]", _place, values.size()), *_objection}.count());
    return values;
}

std::vector<std::uint32_t> Field::small_counts(std::size_t most) const {
    std::vector<std::uint32_t> values;
    for (const auto value : counts(most)) {
        if (value > UINT32_MAX)
            object("numbers of 32 bits", fmt::format("{}", value));
        values.push_back(static_cast<std::uint32_t>(value));
    }
    return values;
}

} // namespace nestbed::report
