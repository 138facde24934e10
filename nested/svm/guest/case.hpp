// SVM_TEST(identifier, "svm.group.case", "What must hold", "15.5.1", Options...) { code }
//
// The section is of APM volume 2. Options are those of conform::Options, by name: .needs = "npt", .vcpus = 2.
// SVM_CASE takes a function instead of a body, for tests that differ in a number only.
#pragma once

#include "nested/guest/case.hpp"
#include "nested/guest/check.hpp"
#include "nested/svm/guest/l1.hpp"
#include "nested/svm/guest/l2.hpp"

#define SVM_CASE(identifier, name, title, section, function, ...)                                            \
    CONFORM_CASE(identifier, name, title, "APM volume 2, " section, &::nestbed::svm::enable, function,       \
                 __VA_ARGS__)

#define SVM_TEST(identifier, name, title, section, ...)                                                      \
    static void identifier##_body();                                                                         \
    SVM_CASE(identifier, name, title, section, &identifier##_body, __VA_ARGS__)                              \
    static void identifier##_body()
