// Registers conformance tests, so that a test stands in one place: name, what it needs, code and
// expectations.
#pragma once

#include <cstdint>

#include "core/guest/runtime.hpp"
#include "nested/wire/conform.hpp"

namespace nestbed::conform {

struct Options {
    const char* needs =
        ""; // features beyond the extension itself, "npt,nrip_save": see nested/svm/features.hpp
    std::uint32_t vcpus = 1; // each of them runs the test
    nested::wire::Ending ending = nested::wire::Ending::returns;
    bool enable = true; // false: the test turns the extension on itself
};

// Waits for the interrupt that announced the job, so that it does not come in the middle of a test, prepares
// the vCPU, and runs the body.
void run_case(bool enable, void (*enable_extension)(), void (*body)());

// Tells the host that what follows is what the test is about; for Ending::shutdown and ::stopped.
void announce();

} // namespace nestbed::conform

// CONFORM_CASE(identifier, name, title, manual and section, enable function, body function, Options...)
#define CONFORM_CASE(identifier, case_name, case_title, case_reference, enable_extension, body, ...)         \
    static constexpr ::nestbed::conform::Options identifier##_options{__VA_ARGS__};                          \
    static void identifier##_job() {                                                                         \
        ::nestbed::conform::run_case(identifier##_options.enable, enable_extension, body);                   \
    }                                                                                                        \
    /* Static: tests in different files may share an identifier, their names may not. */                     \
    [[gnu::section(".nestbed.jobs"),                                                                         \
      gnu::used]] static const ::nestbed::wire::JobDescriptor identifier##_descriptor{                       \
        case_name,                                                                                           \
        case_title,                                                                                          \
        case_reference,                                                                                      \
        &identifier##_job,                                                                                   \
        identifier##_options.needs,                                                                          \
        identifier##_options.vcpus,                                                                          \
        static_cast<std::uint32_t>(identifier##_options.ending)};
