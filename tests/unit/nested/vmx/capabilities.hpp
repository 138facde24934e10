// What KVM might offer: capability MSRs in the shape that a recent Intel server gives them.
#pragma once

#include "nested/vmx/features.hpp"

namespace nestbed::vmx::test {

inline const Capabilities example{
    {0x480, 0x00da'0400'11e5'7ed0}, // 1024 bytes, write-back, INS and OUTS, TRUE MSRs
    {0x481, 0x0000'00ff'0000'0016},
    {0x482, 0xfff9'fffe'0401'e172},
    {0x483, 0x017f'ffff'0003'6dff},
    {0x484, 0x0001'f3ff'0000'11ff},
    {0x485, 0x0000'0000'6004'0165}, // 4 CR3 targets, timer by bit 5
    {0x486, 0x8000'0021},
    {0x487, 0xffff'ffff},
    {0x488, 0x2000},
    {0x489, 0x0037'7fff},
    {0x48a, 0x2e},
    {0x48b, 0x0213'7cff'0000'0000},
    {0x48c, 0x0000'0f01'0633'4141},
    {0x48d, 0x0000'00ff'0000'0016},
    {0x48e, 0xfff9'fffe'0400'6172},
    {0x48f, 0x017f'ffff'0003'6dfb},
    {0x490, 0x0001'f3ff'0000'11fb},
    {0x491, 0x1},
};

} // namespace nestbed::vmx::test
