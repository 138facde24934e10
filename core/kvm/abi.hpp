// The parts of KVM's ABI whose C declarations mean something else in C++.
//
// <linux/kvm.h> declares trailing arrays through __DECLARE_FLEX_ARRAY, with an empty struct in front: no
// bytes in C, one byte in C++. That moves the arrays and changes sizeof, and with it the request numbers made
// of it (uapi linux/stddef.h). So these structures are declared here, as headers that their entries follow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/kvm.h>
#include <sys/ioctl.h>

namespace nestbed::kvm::abi {

struct CpuidHeader { // struct kvm_cpuid2, then kvm_cpuid_entry2[]
    std::uint32_t count = 0;
    std::uint32_t padding = 0;
};
struct MsrsHeader { // struct kvm_msrs, then kvm_msr_entry[]
    std::uint32_t count = 0;
    std::uint32_t padding = 0;
};
struct MsrListHeader { // struct kvm_msr_list, then __u32[]
    std::uint32_t count = 0;
};
struct IrqRoutingHeader { // struct kvm_irq_routing, then kvm_irq_routing_entry[]
    std::uint32_t count = 0;
    std::uint32_t flags = 0;
};
struct XsaveArea { // struct kvm_xsave, then more where KVM_CAP_XSAVE2 says so
    std::uint32_t region[1024]{};
};
struct NestedStateHeader { // struct kvm_nested_state, then VMCB or VMCSs
    std::uint16_t flags = 0;
    std::uint16_t format = 0;
    std::uint32_t size = 0; // header included
    std::uint64_t vendor[15]{};
};
struct StatsDescriptor { // struct kvm_stats_desc, then the name
    std::uint32_t flags = 0;
    std::int16_t exponent = 0;
    std::uint16_t size = 0;
    std::uint32_t offset = 0;
    std::uint32_t bucket_size = 0;
};
static_assert(sizeof(CpuidHeader) == 8 && sizeof(MsrsHeader) == 8 && sizeof(MsrListHeader) == 4 &&
              sizeof(IrqRoutingHeader) == 8 && sizeof(StatsDescriptor) == 16 &&
              sizeof(NestedStateHeader) == 128 && sizeof(XsaveArea) == 4096);

inline constexpr unsigned long get_supported_cpuid = _IOWR(KVMIO, 0x05, CpuidHeader);
inline constexpr unsigned long get_msr_index_list = _IOWR(KVMIO, 0x02, MsrListHeader);
inline constexpr unsigned long get_msr_feature_index_list = _IOWR(KVMIO, 0x0a, MsrListHeader);
inline constexpr unsigned long get_msrs = _IOWR(KVMIO, 0x88, MsrsHeader);
inline constexpr unsigned long set_msrs = _IOW(KVMIO, 0x89, MsrsHeader);
inline constexpr unsigned long set_cpuid2 = _IOW(KVMIO, 0x90, CpuidHeader);
inline constexpr unsigned long set_gsi_routing = _IOW(KVMIO, 0x6a, IrqRoutingHeader);
inline constexpr unsigned long get_xsave = _IOR(KVMIO, 0xa4, XsaveArea);
inline constexpr unsigned long set_xsave = _IOW(KVMIO, 0xa5, XsaveArea);
inline constexpr unsigned long get_xsave2 = _IOR(KVMIO, 0xcf, XsaveArea);
inline constexpr unsigned long get_nested_state = _IOWR(KVMIO, 0xbe, NestedStateHeader);
inline constexpr unsigned long set_nested_state = _IOW(KVMIO, 0xbf, NestedStateHeader);
inline constexpr unsigned long get_cpuid2 = _IOWR(KVMIO, 0x91, CpuidHeader);

// A header and the entries after it, in one piece of memory.
template<typename Header, typename Entry>
class Counted {
public:
    explicit Counted(std::size_t entries) : _bytes(sizeof(Header) + entries * sizeof(Entry)) {
        Header header;
        header.count = static_cast<std::uint32_t>(entries);
        std::memcpy(_bytes.data(), &header, sizeof header);
    }
    explicit Counted(std::span<const Entry> entries) : Counted{entries.size()} {
        if (!entries.empty())
            std::memcpy(_bytes.data() + sizeof(Header), entries.data(), entries.size_bytes());
    }

    // For the ioctl.
    [[nodiscard]] std::byte* data() { return _bytes.data(); }

    // What the kernel left there, at most what there was room for.
    [[nodiscard]] std::vector<Entry> entries() const {
        Header header;
        std::memcpy(&header, _bytes.data(), sizeof header);
        const auto room = (_bytes.size() - sizeof header) / sizeof(Entry);
        std::vector<Entry> entries(header.count < room ? header.count : room);
        if (!entries.empty())
            std::memcpy(entries.data(), _bytes.data() + sizeof header, entries.size() * sizeof(Entry));
        return entries;
    }

private:
    std::vector<std::byte> _bytes; // operator new aligns it for any of these
};

using CpuidTable = Counted<CpuidHeader, kvm_cpuid_entry2>;
using Msrs = Counted<MsrsHeader, kvm_msr_entry>;
using IrqRoutes = Counted<IrqRoutingHeader, kvm_irq_routing_entry>;
using MsrList = Counted<MsrListHeader, std::uint32_t>;

} // namespace nestbed::kvm::abi
