// What this host's KVM offers to guests that are hypervisors.
#pragma once

#include <filesystem>

#include "core/kvm/kvm.hpp"
#include "nested/offer.hpp"

namespace nestbed::report {

// `sysroot` is where the vendor module and its parameters are looked up.
[[nodiscard]] nested::Offer nested_offer(const kvm::Kvm& kvm, const std::filesystem::path& sysroot = "/");

} // namespace nestbed::report
