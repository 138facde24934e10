#include "nested/profile.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "nested/svm/features.hpp"

namespace nestbed::nested {

namespace {

constexpr std::string_view svm_prefix = "svm:";

tl::unexpected<Error> refuse(std::string_view text, std::string found) {
    std::vector<std::string_view> names;
    for (const auto& feature : svm::features())
        names.push_back(feature.name);
    return fail(ErrorKind::bad_input, fmt::format("--nested {}", text), std::move(found),
                fmt::format("use off, auto, require, or svm:-FEATURE,... with {}", fmt::join(names, ", ")));
}

} // namespace

Result<Profile> parse_profile(std::string_view text) {
    if (text == "off")
        return Profile{.showing = Showing::off, .extension = Extension::none, .without = {}};
    if (text == "auto")
        return Profile{};
    if (text == "require")
        return Profile{.showing = Showing::require, .extension = Extension::none, .without = {}};
    Profile profile{.showing = Showing::require, .extension = Extension::svm, .without = {}};
    if (text == "svm")
        return profile;
    if (!text.starts_with(svm_prefix))
        return refuse(text, "there is no such profile");
    for (auto at = svm_prefix.size(); at <= text.size();) {
        const auto comma = std::min(text.find(',', at), text.size());
        const auto word = text.substr(at, comma - at);
        if (!word.starts_with('-'))
            return refuse(text, fmt::format("\"{}\" is no feature to hide", word));
        if (svm::find_feature(word.substr(1)) == nullptr)
            return refuse(text, fmt::format("SVM has no feature \"{}\"", word.substr(1)));
        profile.without.emplace_back(word.substr(1));
        at = comma + 1;
    }
    return profile;
}

std::string to_string(const Profile& profile) {
    if (profile.showing == Showing::off)
        return "off";
    if (profile.extension == Extension::none)
        return profile.showing == Showing::require ? "require" : "auto";
    std::string text = "svm";
    for (std::size_t i = 0; i < profile.without.size(); ++i)
        text += fmt::format("{}-{}", i == 0 ? ":" : ",", profile.without[i]);
    return text;
}

Result<Shown> resolve(const Profile& profile, const Offer& offer) {
    if (profile.showing == Showing::off)
        return Shown{.nested = false, .hidden_svm = 0};
    const bool fits = profile.extension == Extension::none ? offer.extension != Extension::none
                                                           : offer.extension == profile.extension;
    if (profile.showing == Showing::require && !fits)
        return fail(ErrorKind::host_lacks, fmt::format("show the guest --nested {}", to_string(profile)),
                    offer.extension == Extension::none
                        ? offer.reason
                        : fmt::format("this host's KVM offers {}", to_string(offer.extension)),
                    offer.remedy.empty() ? "run it in the lab: nestbed lab -- ..." : offer.remedy);
    Shown shown;
    for (const auto& name : profile.without)
        if (const auto* const feature = svm::find_feature(name))
            shown.hidden_svm |= std::uint32_t{1} << feature->bit;
    return shown;
}

} // namespace nestbed::nested
