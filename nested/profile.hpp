// What a guest is shown of nested virtualization, as a user asks for it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/cpu/hidden.hpp"
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
    std::vector<std::string> without;      // its features to hide, by their names in svm/ or vmx/features.hpp
};

// Of "off", "auto", "require", "svm", "vmx", or "svm:-npt,-vgif", which requires SVM and hides features.
// Errors: bad_input, with the name that is most like one that there is none of.
[[nodiscard]] Result<Profile> parse_profile(std::string_view text);

// The same as text.
[[nodiscard]] std::string to_string(const Profile& profile);

struct Shown {
    bool nested = true; // VMX and SVM bits are left as KVM offers them
    core::cpu::HiddenNested hidden;
};

// Errors: host_lacks where the profile requires what `offer` says KVM has not.
[[nodiscard]] Result<Shown> resolve(const Profile& profile, const Offer& offer);

} // namespace nestbed::nested
