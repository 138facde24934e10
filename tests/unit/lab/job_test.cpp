#include "lab/job.hpp"

#include <string>

#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

TEST(Job, IsReadAsItWasWritten) {
    const Job job{.arguments = {"validate", "", "\xff\n\"", std::string{"a\0b", 3}},
                  .environment = {{"A", "1"}, {"B", "\xfe"}},
                  .working_directory = "/w\xff",
                  .result_roots = {"/w/results"},
                  .modules = {"/lab/kvm.ko"}};
    const auto read = parse_job(to_text(job));
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read->arguments, job.arguments);
    EXPECT_EQ(read->environment, job.environment);
    EXPECT_EQ(read->working_directory, job.working_directory);
    EXPECT_EQ(read->result_roots, job.result_roots);
    EXPECT_EQ(read->modules, job.modules);
}

TEST(Job, RefusesWhatIsNone) {
    for (const auto* const text : {"", "{", "[]", "{}", R"({"arguments": "x"})"})
        EXPECT_FALSE(parse_job(text)) << text;
}

} // namespace
} // namespace nestbed::lab
