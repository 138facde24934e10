// VMX_TEST(identifier, "vmx.group.case", "What must hold", "section", Options...) { code }
//
// The section is of SDM volume 3, by its title, since numbers move from edition to edition. Options are those
// of conform::Options, by name: .needs = "ept", .vcpus = 2. VMX_CASE takes a function instead of a body.
#pragma once

#include "nested/guest/case.hpp"
#include "nested/guest/check.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/l2.hpp"

#define VMX_CASE(identifier, name, title, section, function, ...)                                            \
    CONFORM_CASE(identifier, name, title, "SDM volume 3, " section, &::nestbed::vmx::enable, function,       \
                 __VA_ARGS__)

#define VMX_TEST(identifier, name, title, section, ...)                                                      \
    static void identifier##_body();                                                                         \
    VMX_CASE(identifier, name, title, section, &identifier##_body, __VA_ARGS__)                              \
    static void identifier##_body()
