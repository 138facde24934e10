#include "nested/profile.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/edit_distance.hpp"
#include "nested/svm/features.hpp"
#include "nested/vmx/features.hpp"

namespace nestbed::nested {

namespace {

struct Vendor {
    Extension extension;
    std::string_view name; // in profiles
};
constexpr std::array vendors{Vendor{Extension::svm, "svm"}, Vendor{Extension::vmx, "vmx"}};

std::vector<std::string_view> names_of(Extension extension) {
    if (extension == Extension::vmx)
        return vmx::feature_names();
    std::vector<std::string_view> names;
    for (const auto& feature : svm::features())
        names.push_back(feature.name);
    return names;
}

tl::unexpected<Error> refuse(std::string_view text, std::string found, std::string remedy) {
    return fail(ErrorKind::bad_input, fmt::format("--nested {}", text), std::move(found), std::move(remedy));
}

// Of "-npt,-vgif".
Result<std::vector<std::string>> parse_hidden(std::string_view text, std::string_view words,
                                              const Vendor& vendor) {
    const auto names = names_of(vendor.extension);
    std::vector<std::string> hidden;
    for (std::size_t at = 0; at <= words.size();) {
        const auto comma = std::min(words.find(',', at), words.size());
        const auto word = words.substr(at, comma - at);
        if (!word.starts_with('-'))
            return refuse(
                text, fmt::format("\"{}\" is no feature to hide", word),
                fmt::format("write a minus and a feature's name, as in {}:-{}", vendor.name, names.front()));
        const auto name = word.substr(1);
        if (std::ranges::find(names, name) == names.end())
            return refuse(text, fmt::format("{} has no feature \"{}\"", to_string(vendor.extension), name),
                          fmt::format("did you mean {}? `nestbed check --nested` names those that a host has",
                                      nearest(name, names)));
        hidden.emplace_back(name);
        at = comma + 1;
    }
    return hidden;
}

} // namespace

Result<Profile> parse_profile(std::string_view text) {
    if (text == "off")
        return Profile{.showing = Showing::off, .extension = Extension::none, .without = {}};
    if (text == "auto")
        return Profile{};
    if (text == "require")
        return Profile{.showing = Showing::require, .extension = Extension::none, .without = {}};
    const auto colon = text.find(':');
    const auto vendor = std::ranges::find(vendors, text.substr(0, colon), &Vendor::name);
    if (vendor == vendors.end())
        return refuse(
            text, "there is no such profile",
            "use off, auto, require, svm, vmx, or one of the last two without features: svm:-FEATURE,...");
    Profile profile{.showing = Showing::require, .extension = vendor->extension, .without = {}};
    if (colon == std::string_view::npos)
        return profile;
    return parse_hidden(text, text.substr(colon + 1), *vendor).map([&](std::vector<std::string> hidden) {
        profile.without = std::move(hidden);
        return profile;
    });
}

std::string to_string(const Profile& profile) {
    if (profile.showing == Showing::off)
        return "off";
    const auto vendor = std::ranges::find(vendors, profile.extension, &Vendor::extension);
    if (vendor == vendors.end())
        return profile.showing == Showing::require ? "require" : "auto";
    std::string text{vendor->name};
    for (std::size_t i = 0; i < profile.without.size(); ++i)
        text += fmt::format("{}-{}", i == 0 ? ":" : ",", profile.without[i]);
    return text;
}

Result<Shown> resolve(const Profile& profile, const Offer& offer) {
    if (profile.showing == Showing::off)
        return Shown{.nested = false, .hidden = {}};
    const bool fits = profile.extension == Extension::none ? offer.extension != Extension::none
                                                           : offer.extension == profile.extension;
    if (profile.showing == Showing::require && !fits)
        return fail(ErrorKind::host_lacks, fmt::format("show the guest --nested {}", to_string(profile)),
                    offer.extension == Extension::none
                        ? offer.reason
                        : fmt::format("this host's KVM offers {}", to_string(offer.extension)),
                    offer.remedy.empty() ? "run it in the lab: nestbed lab -- ..." : offer.remedy);
    Shown shown;
    if (profile.extension == Extension::vmx)
        shown.hidden.vmx = vmx::bits_to_hide(profile.without);
    else
        for (const auto& name : profile.without)
            if (const auto* const feature = svm::find_feature(name))
                shown.hidden.svm |= std::uint32_t{1} << feature->bit;
    return shown;
}

} // namespace nestbed::nested
