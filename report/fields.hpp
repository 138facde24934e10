// Members of a JSON document that nobody vouches for, read with checks that say where something is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "report/stats.hpp"

namespace nestbed::report {

// The first thing in a document that is not as it should be: "sweep.points[3].vcpus: asked for a whole number
// of at most 65536, found a string". Empty: nothing so far.
struct Objection {
    std::string text;
};

// A value in a document and its place. Reading what is not there, or is of another kind, gives a value that
// means nothing (0, "", no elements) and notes it as the objection, unless there is one already: read
// everything, then ask for the objection once. The document and the objection outlive their fields.
class Field {
public:
    Field(const nlohmann::json& value, std::string place, Objection& objection)
        : _value{&value}, _place{std::move(place)}, _objection{&objection} {}

    // Of an object; a member that has to be there.
    [[nodiscard]] Field member(const char* name) const;
    // Empty where it is not there.
    [[nodiscard]] std::optional<Field> find(const char* name) const;
    [[nodiscard]] bool is_null() const { return _value->is_null(); }
    [[nodiscard]] bool is_string() const { return _value->is_string(); }
    [[nodiscard]] bool is_number() const { return _value->is_number(); }

    // The elements of an array, at most `most`.
    [[nodiscard]] std::vector<Field> elements(std::size_t most) const;
    struct Named;
    // The members of an object, in the order of their names, at most `most`.
    [[nodiscard]] std::vector<Named> members(std::size_t most) const;

    [[nodiscard]] bool truth() const;
    [[nodiscard]] std::uint64_t count(std::uint64_t most = UINT64_MAX) const;
    // count() for what is kept in 32 bits.
    [[nodiscard]] std::uint32_t small_count(std::uint32_t most = UINT32_MAX) const;
    [[nodiscard]] std::int64_t integer() const;
    // Null gives NaN.
    [[nodiscard]] double number() const;
    // number(), but 0 or more, or NaN.
    [[nodiscard]] double amount() const;
    [[nodiscard]] std::string text() const;
    // [low, high].
    [[nodiscard]] Interval interval() const;

    [[nodiscard]] std::vector<std::string> texts(std::size_t most) const;
    [[nodiscard]] std::vector<double> numbers(std::size_t most) const;
    [[nodiscard]] std::vector<std::uint64_t> counts(std::size_t most) const;
    [[nodiscard]] std::vector<std::uint32_t> small_counts(std::size_t most) const;

    // Notes that this value is not what it should be.
    void object(std::string_view asked) const;
    void object(std::string_view asked, std::string_view found) const;

    [[nodiscard]] const nlohmann::json& json() const { return *_value; }
    [[nodiscard]] const std::string& place() const { return _place; }

private:
    [[nodiscard]] bool has_at_most(std::size_t most) const;

    const nlohmann::json* _value;
    std::string _place;
    Objection* _objection;
};

struct Field::Named {
    std::string name;
    Field value;
};

} // namespace nestbed::report
