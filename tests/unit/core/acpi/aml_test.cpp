#include "core/acpi/aml.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::acpi::aml {
namespace {

Bytes of(std::initializer_list<int> numbers) {
    Bytes bytes;
    for (const auto each : numbers)
        bytes.push_back(static_cast<std::byte>(each));
    return bytes;
}

struct Case {
    std::string name;
    Bytes encoded;
    Bytes expected;
};

class Aml : public testing::TestWithParam<Case> {};

TEST_P(Aml, IsEncodedAsInChapter20) {
    EXPECT_EQ(GetParam().encoded, GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    PackageLength, Aml,
    testing::Values(Case{"Nothing", package_length(0), of({0x01})},
                    Case{"LargestInOneByte", package_length(62), of({0x3f})},
                    Case{"SmallestInTwo", package_length(63), of({0x41, 0x04})},
                    Case{"LargestInTwo", package_length(0xfff - 2), of({0x4f, 0xff})},
                    Case{"SmallestInThree", package_length(0xfff - 1), of({0x81, 0x00, 0x01})},
                    Case{"LargestInThree", package_length(0xfffff - 3), of({0x8f, 0xff, 0xff})},
                    Case{"SmallestInFour", package_length(0xfffff - 2), of({0xc1, 0x00, 0x00, 0x01})},
                    Case{"LargestInFour", package_length(0xfffffff - 4), of({0xcf, 0xff, 0xff, 0xff})}),
    [](const auto& test_case) { return test_case.param.name; });

INSTANTIATE_TEST_SUITE_P(Names, Aml,
                         testing::Values(Case{"Root", name_string("\\"), of({'\\'})},
                                         Case{"Full", name_string("COM1"), of({'C', 'O', 'M', '1'})},
                                         Case{"Padded", name_string("\\_SB"), of({'\\', '_', 'S', 'B', '_'})},
                                         Case{"Two", name_string("\\_SB.A"),
                                              of({'\\', 0x2e, '_', 'S', 'B', '_', 'A', '_', '_', '_'})},
                                         Case{"Three", name_string("A.BC.DEF"),
                                              of({0x2f, 3, 'A', '_', '_', '_', 'B', 'C', '_', '_', 'D', 'E',
                                                  'F', '_'})}),
                         [](const auto& test_case) { return test_case.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Data, Aml,
    testing::Values(Case{"Zero", integer(0), of({0x00})}, Case{"One", integer(1), of({0x01})},
                    Case{"Byte", integer(2), of({0x0a, 2})},
                    Case{"LargestByte", integer(0xff), of({0x0a, 0xff})},
                    Case{"Word", integer(0x100), of({0x0b, 0x00, 0x01})},
                    Case{"LargestWord", integer(0xffff), of({0x0b, 0xff, 0xff})},
                    Case{"Dword", integer(0x12345678), of({0x0c, 0x78, 0x56, 0x34, 0x12})},
                    Case{"LargestDword", integer(0xffffffff), of({0x0c, 0xff, 0xff, 0xff, 0xff})},
                    Case{"Qword", integer(0x123456789abcdef0),
                         of({0x0e, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12})},
                    Case{"String", string("ab"), of({0x0d, 'a', 'b', 0})},
                    Case{"EisaId", eisa_id("PNP0501"), of({0x0c, 0x41, 0xd0, 0x05, 0x01})},
                    Case{"SmallEisaId", eisa_id("PNP0000"), of({0x0c, 0x41, 0xd0, 0x00, 0x00})},
                    Case{"EisaIdWithLetters", eisa_id("PNP0C0F"), of({0x0c, 0x41, 0xd0, 0x0c, 0x0f})},
                    Case{"Package", package({integer(5), integer(0)}), of({0x12, 0x05, 2, 0x0a, 5, 0})}),
    [](const auto& test_case) { return test_case.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Objects, Aml,
    testing::Values(Case{"Name", name("_UID", integer(1)), of({0x08, '_', 'U', 'I', 'D', 1})},
                    Case{"Scope", scope("\\_SB", name("A", integer(0))),
                         of({0x10, 0x0c, '\\', '_', 'S', 'B', '_', 0x08, 'A', '_', '_', '_', 0})},
                    Case{"Device", device("COM1", name("A", integer(0))),
                         of({0x5b, 0x82, 0x0b, 'C', 'O', 'M', '1', 0x08, 'A', '_', '_', '_', 0})}),
    [](const auto& test_case) { return test_case.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Resources, Aml,
    testing::Values(Case{"None", resource_template({}), of({0x11, 0x05, 0x0a, 2, 0x79, 0})},
                    Case{"IoPorts", io_ports(0x3f8, 8), of({0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8})},
                    Case{"Memory", memory32_fixed(0xd0001000, 0x200),
                         of({0x86, 9, 0, 1, 0x00, 0x10, 0x00, 0xd0, 0x00, 0x02, 0x00, 0x00})},
                    Case{"Interrupt", edge_interrupt(0x104), of({0x89, 6, 0, 3, 1, 0x04, 0x01, 0, 0})}),
    [](const auto& test_case) { return test_case.param.name; });

} // namespace
} // namespace nestbed::acpi::aml
