#include "core/machine/vcpu_state.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <tuple>

#include <fmt/format.h>
#include <sys/ioctl.h>

#include "core/kvm/abi.hpp"
#include "core/kvm/ioctl.hpp"

namespace nestbed::machine {

namespace {

// The requests of one vCPU, until the first that is refused.
class Requests {
public:
    explicit Requests(const kvm::Vcpu& vcpu) : _vcpu{vcpu} {}

    template<typename T>
    void make(unsigned long request, std::string_view name, T* argument) {
        if (_status)
            _status =
                kvm::call(_vcpu.fd(), request, name, argument, fmt::format("APIC id {}", _vcpu.apic_id()))
                    .map([](int) {});
    }
    [[nodiscard]] const Status& status() const { return _status; }

private:
    const kvm::Vcpu& _vcpu;
    Status _status;
};

// Where the two structures agree, they are the same bytes.
constexpr std::size_t common_sregs = offsetof(kvm_sregs2, flags);
static_assert(offsetof(kvm_sregs, interrupt_bitmap) == common_sregs);

void read_sregs(Requests& requests, const StateLayout& layout, kvm_sregs2& to) {
    if (layout.sregs2)
        return requests.make(KVM_GET_SREGS2, "KVM_GET_SREGS2", &to);
    kvm_sregs old{};
    requests.make(KVM_GET_SREGS, "KVM_GET_SREGS", &old);
    std::memcpy(&to, &old, common_sregs);
}

void write_sregs(Requests& requests, const StateLayout& layout, const kvm_sregs2& from) {
    if (layout.sregs2)
        return requests.make(KVM_SET_SREGS2, "KVM_SET_SREGS2", &from);
    kvm_sregs old{};
    std::memcpy(&old, &from, common_sregs);
    requests.make(KVM_SET_SREGS, "KVM_SET_SREGS", &old);
}

// One by one, since KVM stops at the first that it does not have or does not take.
std::vector<kvm_msr_entry> read_msrs(const kvm::Vcpu& vcpu, const std::vector<std::uint32_t>& indexes) {
    std::vector<kvm_msr_entry> msrs;
    for (const auto index : indexes)
        if (const auto value = vcpu.msr(index))
            msrs.push_back({.index = index, .reserved = 0, .data = *value});
    return msrs;
}

void write_msrs(const kvm::Vcpu& vcpu, const std::vector<kvm_msr_entry>& msrs) {
    for (const auto& msr : msrs)
        std::ignore = vcpu.set_msr(msr.index, msr.data);
}

constexpr std::uint32_t ia32_feature_control = 0x3a;

// Of system calls, of paging, of SVM and VMX: what an L1 or L2 of ours sets. 0 is a value that each takes.
constexpr std::uint32_t forgotten_msrs[]{
    ia32_feature_control,
    0x174,       // IA32_SYSENTER_CS, _ESP, _EIP
    0x175,       //
    0x176,       //
    0x277,       // IA32_PAT
    0xc000'0081, // STAR, LSTAR, CSTAR, FMASK
    0xc000'0082, //
    0xc000'0083, //
    0xc000'0084, //
    0xc000'0102, // KERNEL_GS_BASE
    0xc000'0103, // TSC_AUX
    0xc001'0117, // VM_HSAVE_PA
};

// Bits of struct kvm_vcpu_events.flags that make KVM take what is written there.
constexpr std::uint32_t all_events = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;

// Outside guest mode and VMX operation, GIF set. What `state` was read with says whose it is.
std::vector<std::byte> nothing_nested(const VcpuState& state) {
    kvm::abi::NestedStateHeader header;
    std::memcpy(&header, state.nested.data(), sizeof header);
    header.size = sizeof header;
    std::memset(header.vendor, 0, sizeof header.vendor);
    if (header.format == KVM_STATE_NESTED_FORMAT_SVM) {
        header.flags = KVM_STATE_NESTED_GIF_SET;
    } else {
        header.flags = 0;
        header.vendor[0] = header.vendor[1] = ~std::uint64_t{0}; // vmxon_pa, vmcs12_pa
    }
    std::vector<std::byte> bytes(sizeof header);
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
}

} // namespace

Result<VcpuState> read_state(const kvm::Vcpu& vcpu, const StateLayout& layout) {
    VcpuState state;
    Requests requests{vcpu};
    requests.make(KVM_GET_MP_STATE, "KVM_GET_MP_STATE", &state.mp_state);
    requests.make(KVM_GET_REGS, "KVM_GET_REGS", &state.regs);
    read_sregs(requests, layout, state.sregs);
    requests.make(KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", &state.events);
    requests.make(KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS", &state.debug);
    requests.make(KVM_GET_LAPIC, "KVM_GET_LAPIC", &state.lapic);
    requests.make(KVM_GET_XCRS, "KVM_GET_XCRS", &state.xcrs);
    state.xsave.resize(layout.xsave_bytes);
    if (layout.xsave_bytes > sizeof(kvm::abi::XsaveArea))
        requests.make(kvm::abi::get_xsave2, "KVM_GET_XSAVE2", state.xsave.data());
    else
        requests.make(kvm::abi::get_xsave, "KVM_GET_XSAVE", state.xsave.data());
    kvm::abi::NestedStateHeader header;
    header.size = static_cast<std::uint32_t>(layout.nested_bytes);
    state.nested.resize(layout.nested_bytes);
    std::memcpy(state.nested.data(), &header, sizeof header);
    requests.make(kvm::abi::get_nested_state, "KVM_GET_NESTED_STATE", state.nested.data());
    state.msrs = read_msrs(vcpu, layout.msrs);
    if (!requests.status())
        return tl::unexpected{requests.status().error()};
    return state;
}

Status write_state(const kvm::Vcpu& vcpu, const StateLayout& layout, const VcpuState& state) {
    Requests requests{vcpu};
    // Without it there is no VMX operation to be in.
    for (const auto& msr : state.msrs)
        if (msr.index == ia32_feature_control)
            std::ignore = vcpu.set_msr(msr.index, msr.data);
    write_sregs(requests, layout, state.sregs);
    requests.make(kvm::abi::set_nested_state, "KVM_SET_NESTED_STATE", state.nested.data());
    requests.make(KVM_SET_REGS, "KVM_SET_REGS", &state.regs);
    requests.make(kvm::abi::set_xsave, "KVM_SET_XSAVE", state.xsave.data());
    requests.make(KVM_SET_XCRS, "KVM_SET_XCRS", &state.xcrs);
    requests.make(KVM_SET_LAPIC, "KVM_SET_LAPIC", &state.lapic);
    if (requests.status())
        write_msrs(vcpu, state.msrs);
    requests.make(KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", &state.events);
    requests.make(KVM_SET_MP_STATE, "KVM_SET_MP_STATE", &state.mp_state);
    requests.make(KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", &state.debug);
    return requests.status();
}

Status forget_state(const kvm::Vcpu& vcpu, const StateLayout& layout, const VcpuState& state) {
    Requests requests{vcpu};
    requests.make(kvm::abi::set_nested_state, "KVM_SET_NESTED_STATE", nothing_nested(state).data());
    // Real mode, as after a reset (SDM volume 3, "Processor State After Reset").
    constexpr std::uint64_t reset_cr0 = 0x6000'0010;
    auto sregs = state.sregs;
    const auto real = [](std::uint8_t type, std::uint16_t selector, std::uint64_t base) {
        kvm_segment segment{};
        segment.base = base;
        segment.limit = 0xffff;
        segment.selector = selector;
        segment.type = type;
        segment.present = 1;
        segment.s = 1;
        return segment;
    };
    sregs.cs = real(11, 0xf000, 0xffff'0000);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = real(3, 0, 0);
    sregs.tr = real(11, 0, 0);
    sregs.tr.s = 0;
    sregs.ldt = real(2, 0, 0);
    sregs.ldt.s = 0;
    sregs.gdt = sregs.idt = {.base = 0, .limit = 0xffff, .padding = {}};
    sregs.cr0 = reset_cr0;
    sregs.cr2 = sregs.cr3 = sregs.cr4 = sregs.cr8 = sregs.efer = sregs.flags = 0;
    write_sregs(requests, layout, sregs);
    kvm_regs regs{};
    regs.rip = 0xfff0;
    regs.rflags = 2;
    requests.make(KVM_SET_REGS, "KVM_SET_REGS", &regs);
    kvm_debugregs debug{};
    debug.dr6 = 0xffff'0ff0;
    debug.dr7 = 0x400;
    requests.make(KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", &debug);
    kvm_vcpu_events events{};
    events.flags = all_events;
    requests.make(KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", &events);
    for (const auto index : forgotten_msrs)
        std::ignore = vcpu.set_msr(index, 0);
    return requests.status();
}

} // namespace nestbed::machine
