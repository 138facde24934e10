#include "core/device/redirection_entry.hpp"

#include <cstdint>

#include <gtest/gtest.h>

namespace nestbed::device {
namespace {

// An entry as Linux fills it in for an APIC id of up to 15 bits (struct IO_APIC_route_entry).
constexpr std::uint64_t destination(std::uint32_t apic_id) {
    return std::uint64_t{apic_id & 0xff} << 56 | std::uint64_t{apic_id >> 8} << 49;
}

struct Case {
    const char* what;
    std::uint64_t entry;
    Message message;
    Message for_kvm;
};

TEST(RedirectionEntry, MessageOf) {
    const Case cases[] = {
        {"after reset", 0x1'0000, {0xfee0'0000, 0, 0}, {0xfee0'0000, 0, 0}},
        {"vector", 0x34, {0xfee0'0000, 0, 0x34}, {0xfee0'0000, 0, 0x34}},
        {"the mask is not in the message", 0x1'0034, {0xfee0'0000, 0, 0x34}, {0xfee0'0000, 0, 0x34}},
        {"polarity neither", 0x2034, {0xfee0'0000, 0, 0x34}, {0xfee0'0000, 0, 0x34}},
        {"level is asserted as well", 0x8034, {0xfee0'0000, 0, 0xc034}, {0xfee0'0000, 0, 0xc034}},
        {"remote IRR is not in the message", 0xc034, {0xfee0'0000, 0, 0xc034}, {0xfee0'0000, 0, 0xc034}},
        {"logical", 0x834, {0xfee0'0004, 0, 0x34}, {0xfee0'0004, 0, 0x34}},
        {"lowest priority, level", 0x8134, {0xfee0'0000, 0, 0xc134}, {0xfee0'0000, 0, 0xc134}},
        {"SMI is an edge", 0x8200, {0xfee0'0000, 0, 0x200}, {0xfee0'0000, 0, 0x200}},
        {"NMI is an edge", 0x8400, {0xfee0'0000, 0, 0x400}, {0xfee0'0000, 0, 0x400}},
        {"INIT is an edge", 0x8500, {0xfee0'0000, 0, 0x500}, {0xfee0'0000, 0, 0x500}},
        {"ExtINT is an edge", 0x8700, {0xfee0'0000, 0, 0x700}, {0xfee0'0000, 0, 0x700}},
        {"CPU 1", destination(1) | 0x34, {0xfee0'1000, 0, 0x34}, {0xfee0'1000, 0, 0x34}},
        {"CPU 254", destination(254) | 0x34, {0xfeef'e000, 0, 0x34}, {0xfeef'e000, 0, 0x34}},
        {"CPU 255", destination(255) | 0x34, {0xfeef'f000, 0, 0x34}, {0xfeef'f000, 0, 0x34}},
        {"CPU 256", destination(256) | 0x34, {0xfee0'0020, 0, 0x34}, {0xfee0'0000, 0x100, 0x34}},
        {"CPU 257", destination(257) | 0x34, {0xfee0'1020, 0, 0x34}, {0xfee0'1000, 0x100, 0x34}},
        {"CPU 288", destination(288) | 0x34, {0xfee2'0020, 0, 0x34}, {0xfee2'0000, 0x100, 0x34}},
        {"CPU 1023", destination(1023) | 0x34, {0xfeef'f060, 0, 0x34}, {0xfeef'f000, 0x300, 0x34}},
        {"CPU 32767", destination(0x7fff) | 0x34, {0xfeef'ffe0, 0, 0x34}, {0xfeef'f000, 0x7f00, 0x34}},
        {"the remapping bit is not passed on", 1ULL << 48, {0xfee0'0000, 0, 0}, {0xfee0'0000, 0, 0}},
    };
    for (const auto& [what, entry, message, for_kvm] : cases) {
        const auto found = message_of({entry});
        EXPECT_EQ(found, message) << what << std::hex << ": " << found.address_lo << ' ' << found.data;
        const auto translated = with_32bit_destination(found);
        EXPECT_EQ(translated, for_kvm)
            << what << std::hex << ": " << translated.address_lo << ' ' << translated.address_hi;
    }
}

struct Write {
    const char* what;
    std::uint64_t before;
    bool high;
    std::uint32_t value;
    std::uint64_t after;
};

TEST(RedirectionEntry, WrittenByHalves) {
    const Write cases[] = {
        {"low leaves high alone", 0x1200'0000'0001'0000, false, 0x45, 0x1200'0000'0000'0045},
        {"high leaves low alone", 0x0000'0000'0001'a845, true, 0x3400'0000, 0x3400'0000'0001'a845},
        {"reserved bits stay zero", 0, false, 0xffff'ffff, 0x1'afff},
        {"above too", 0, true, 0xffff'ffff, 0xfffe'0000'0000'0000},
        {"remote IRR cannot be set", 0x8045, false, 0xc045, 0x8045},
        {"nor cleared", 0xc045, false, 0x8045, 0xc045},
        {"except by making it an edge", 0xc045, false, 0x0045, 0x0045},
        {"or what has no EOI", 0xc045, false, 0x8445, 0x8445},
        {"it survives a new destination", 0xc045, true, 0x0100'0000, 0x0100'0000'0000'c045},
        {"delivery status cannot be set", 0x45, false, 0x1045, 0x45},
    };
    for (const auto& [what, before, high, value, after] : cases) {
        const RedirectionEntry entry{before};
        EXPECT_EQ((high ? entry.with_high(value) : entry.with_low(value)).bits, after) << what;
    }
}

TEST(RedirectionEntry, IsMaskedAfterReset) {
    const RedirectionEntry entry;
    EXPECT_TRUE(entry.masked());
    EXPECT_FALSE(entry.level_triggered());
    EXPECT_FALSE(entry.remote_irr());
}

} // namespace
} // namespace nestbed::device
