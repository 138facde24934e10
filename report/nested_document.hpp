// What `nestbed check --nested --json` prints, and what two of them differ in.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/nested_offer.hpp"

namespace nestbed::report {

// docs/nested.schema.json describes it.
[[nodiscard]] nlohmann::ordered_json to_json(const NestedSeen& seen);

// Of such a document, what is compared: not the reason and the remedy, which are for people.
struct NestedDocument {
    std::string extension; // "none", "VMX", "SVM"
    std::map<std::string, std::uint64_t> numbers;
    std::map<std::string, bool> features;
    std::map<std::string, std::string> allowed; // by the control's feature: "0", "1", "0 or 1"
    std::map<std::string, std::string> msrs;    // by name: their values
};

// `name` is for the error. Errors: bad_input where it is no such document.
[[nodiscard]] Result<NestedDocument> parse_nested_document(std::string_view text, const std::string& name);

// A line for each difference, `a` and `b` being called by these names; empty where there is none. A feature
// that one of them does not know is one that it has not.
[[nodiscard]] std::vector<std::string> nested_differences(const NestedDocument& a, const std::string& a_name,
                                                          const NestedDocument& b, const std::string& b_name);

} // namespace nestbed::report
