// What a guest is shown of nested virtualization, as a user asks for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/cpu/table.hpp"
#include "nested/offer.hpp"

namespace nestbed::nested {

enum class Showing {
    off,       // neither VMX nor SVM
    automatic, // whichever KVM offers
    require,   // the same, and an error where it offers none
};

struct Profile {
    Showing showing = Showing::automatic;
    Extension extension = Extension::none; // the one that must be offered; none: either
    std::vector<std::string> without;      // its features to hide, by their names in nested/svm/features.hpp
};

// Of "off", "auto", "require", "svm", or "svm:-npt,-vgif", which requires SVM and hides features. Errors:
// bad_input, with the names that there are.
[[nodiscard]] Result<Profile> parse_profile(std::string_view text);

// The same as text.
[[nodiscard]] std::string to_string(const Profile& profile);

struct Shown {
    bool nested = true;           // VMX and SVM bits are left as KVM offers them
    std::uint32_t hidden_svm = 0; // bits of CPUID Fn8000_000A EDX to clear
};

// Errors: host_lacks where the profile requires what `offer` says KVM has not.
[[nodiscard]] Result<Shown> resolve(const Profile& profile, const Offer& offer);

} // namespace nestbed::nested
