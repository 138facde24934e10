#include "nested/vmx/vmcs_field.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "nested/vmx/vmcs_names.hpp"

namespace nestbed::vmx {
namespace {

struct EncodingCase {
    std::uint32_t encoding;
    Encoding parts;
    std::string name;
};

// One of the first and one of the last in each table of SDM volume 3, appendix B.
const EncodingCase cases[]{
    {0x0000, {Width::bits16, FieldType::control, 0, Access::full}, "Virtual-processor identifier (VPID)"},
    {0x0008, {Width::bits16, FieldType::control, 4, Access::full}, "Last PID-pointer index"},
    {0x0800, {Width::bits16, FieldType::guest_state, 0, Access::full}, "Guest ES selector"},
    {0x0812, {Width::bits16, FieldType::guest_state, 9, Access::full}, "PML index"},
    {0x0c0c, {Width::bits16, FieldType::host_state, 6, Access::full}, "Host TR selector"},
    {0x2000, {Width::bits64, FieldType::control, 0, Access::full}, "Address of I/O bitmap A"},
    {0x201a, {Width::bits64, FieldType::control, 13, Access::full}, "EPT pointer (EPTP)"},
    {0x201b, {Width::bits64, FieldType::control, 13, Access::high}, "EPT pointer (EPTP)"},
    {0x2044, {Width::bits64, FieldType::control, 34, Access::full}, "Secondary VM-exit controls"},
    {0x2400, {Width::bits64, FieldType::read_only_data, 0, Access::full}, "Guest-physical address"},
    {0x2800, {Width::bits64, FieldType::guest_state, 0, Access::full}, "VMCS link pointer"},
    {0x2818, {Width::bits64, FieldType::guest_state, 12, Access::full}, "Guest IA32_PKRS"},
    {0x2c00, {Width::bits64, FieldType::host_state, 0, Access::full}, "Host IA32_PAT"},
    {0x4000, {Width::bits32, FieldType::control, 0, Access::full}, "Pin-based VM-execution controls"},
    {0x4022, {Width::bits32, FieldType::control, 17, Access::full}, "PLE_Window"},
    {0x4400, {Width::bits32, FieldType::read_only_data, 0, Access::full}, "VM-instruction error"},
    {0x440e, {Width::bits32, FieldType::read_only_data, 7, Access::full}, "VM-exit instruction information"},
    {0x4826, {Width::bits32, FieldType::guest_state, 19, Access::full}, "Guest activity state"},
    {0x482e, {Width::bits32, FieldType::guest_state, 23, Access::full}, "VMX-preemption timer value"},
    {0x4c00, {Width::bits32, FieldType::host_state, 0, Access::full}, "Host IA32_SYSENTER_CS"},
    {0x6000, {Width::natural, FieldType::control, 0, Access::full}, "CR0 guest/host mask"},
    {0x6400, {Width::natural, FieldType::read_only_data, 0, Access::full}, "Exit qualification"},
    {0x640a, {Width::natural, FieldType::read_only_data, 5, Access::full}, "Guest-linear address"},
    {0x681e, {Width::natural, FieldType::guest_state, 15, Access::full}, "Guest RIP"},
    {0x6c16, {Width::natural, FieldType::host_state, 11, Access::full}, "Host RIP"},
};

TEST(VmcsField, EncodingsComeApartAndTogetherAgain) {
    for (const auto& [encoding, parts, name] : cases) {
        EXPECT_EQ(decode_encoding(encoding), parts) << name;
        EXPECT_EQ(encode(parts), encoding) << name;
        const auto* const field = find_field(encoding);
        ASSERT_NE(field, nullptr) << name;
        EXPECT_EQ(field->name, name);
    }
}

TEST(VmcsField, AreAllThatThereAreOnce) {
    EXPECT_EQ(std::size(vmcs_fields), 205U);
    std::set<std::string_view> names;
    std::uint32_t last = 0;
    for (const auto& field : vmcs_fields) {
        const auto encoding = static_cast<std::uint32_t>(field.field);
        EXPECT_TRUE(&field == vmcs_fields || encoding > last) << field.name;
        last = encoding;
        EXPECT_TRUE(names.insert(field.name).second) << field.name;
        EXPECT_TRUE(is_well_formed(encoding)) << field.name;
        EXPECT_EQ(decode_encoding(field.field).access, Access::full) << field.name;
        EXPECT_EQ(encode(decode_encoding(field.field)), encoding) << field.name;
        EXPECT_EQ(find_field(encoding), &field);
    }
}

TEST(VmcsField, NamesAndEncodingsAgreeOnTheArea) {
    for (const auto& field : vmcs_fields) {
        const std::string_view name{field.name};
        const auto type = decode_encoding(field.field).type;
        if (name.starts_with("Host "))
            EXPECT_EQ(type, FieldType::host_state) << name;
        else if (name.starts_with("Guest ") && name != "Guest deadline shadow")
            EXPECT_EQ(type, FieldType::guest_state) << name;
        else if (name.starts_with("Guest-")) // addresses of an exit
            EXPECT_EQ(type, FieldType::read_only_data) << name;
        else
            EXPECT_NE(type, FieldType::host_state) << name;
    }
}

TEST(VmcsField, TotalsByWidthAndType) {
    std::size_t totals[4][4]{};
    for (const auto& field : vmcs_fields) {
        const auto parts = decode_encoding(field.field);
        ++totals[static_cast<std::size_t>(parts.width)][static_cast<std::size_t>(parts.type)];
    }
    // Control, read-only data, guest state, host state.
    const std::size_t expected[4][4]{{6, 0, 11, 7}, {39, 3, 23, 13}, {19, 8, 23, 1}, {8, 6, 23, 15}};
    for (std::size_t width = 0; width < 4; ++width)
        for (std::size_t type = 0; type < 4; ++type)
            EXPECT_EQ(totals[width][type], expected[width][type]) << width << ' ' << type;
}

TEST(VmcsField, OnlyFieldsOf64BitsHaveAHighHalf) {
    EXPECT_EQ(high(Field::tsc_offset), 0x2011U);
    EXPECT_EQ(find_field(0x2011), find_field(0x2010));
    for (const std::uint32_t odd : {0x0001U, 0x4001U, 0x6001U}) {
        EXPECT_FALSE(is_well_formed(odd)) << odd;
        EXPECT_EQ(find_field(odd), nullptr) << odd;
    }
}

TEST(VmcsField, WhatTheManualDoesNotHaveIsNotFound) {
    for (const std::uint32_t none : {0x000eU, 0x2048U, 0x6c1eU})
        EXPECT_TRUE(is_well_formed(none) && find_field(none) == nullptr) << none;
    for (const std::uint32_t malformed : {0x1000U, 0x8000U, 0x1'0000U, 0x8000'6400U, ~0U}) {
        EXPECT_FALSE(is_well_formed(malformed)) << malformed;
        EXPECT_EQ(find_field(malformed), nullptr) << malformed;
    }
}

} // namespace
} // namespace nestbed::vmx
