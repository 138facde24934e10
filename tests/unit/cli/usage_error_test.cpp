#include "cli/usage_error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string answer(std::vector<std::string> words) {
    CLI::App app{"a program"};
    app.require_subcommand(1);
    int count = 0;
    app.add_subcommand("plan", "Plans")->add_option("--vcpus", count, "How many");
    auto* const place = app.add_subcommand("place", "Places");
    place->require_subcommand(1);
    place->add_subcommand("watch", "Watches")->add_option("image")->required();
    std::reverse(words.begin(), words.end());
    try {
        app.parse(words);
    } catch (const CLI::Error& error) {
        return usage_error(&app, error);
    }
    return "none";
}

TEST(UsageError, NamesTheWordAndTheCommand) {
    EXPECT_EQ(answer({"plan", "--frobnicate"}),
              "nestbed plan: The following argument was not expected: --frobnicate\n"
              "  `nestbed plan --help` has the options and examples\n");
    EXPECT_THAT(answer({"plan", "--vcpus", "many"}), testing::AllOf(HasSubstr("--vcpus"), HasSubstr("many")));
    EXPECT_EQ(answer({"place", "watch"}), "nestbed place watch: image is required\n"
                                          "  `nestbed place watch --help` has the options and examples\n");
}

TEST(UsageError, ListsTheCommandsWhereOneIsMissing) {
    EXPECT_THAT(answer({}), testing::AllOf(HasSubstr("nestbed: a command is missing\n"), HasSubstr("Plans"),
                                           HasSubstr("Places")));
    EXPECT_THAT(answer({"place"}), testing::AllOf(HasSubstr("nestbed place: a command is missing\n"),
                                                  HasSubstr("Usage: nestbed place ["), HasSubstr("Watches"),
                                                  Not(HasSubstr("Plans"))));
    EXPECT_THAT(answer({"frobnicate"}),
                testing::AllOf(HasSubstr("nestbed: there is no command frobnicate\n"), HasSubstr("Plans")));
}

} // namespace
} // namespace nestbed::cli
