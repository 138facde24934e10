// What KVM offers to guests that are hypervisors, for people and for programs.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "core/cpu/table.hpp"
#include "nested/offer.hpp"

namespace nestbed::cli {

// `supported` is KVM_GET_SUPPORTED_CPUID, empty without KVM.
[[nodiscard]] std::string nested_text(const nested::Offer& offer, const core::cpu::Table& supported);
[[nodiscard]] nlohmann::ordered_json nested_json(const nested::Offer& offer,
                                                 const core::cpu::Table& supported);

} // namespace nestbed::cli
