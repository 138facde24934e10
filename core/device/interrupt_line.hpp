// What devices ask of interrupt controllers, so that no device knows KVM.
#pragma once

#include <cstdint>

namespace nestbed::device {

// One wire with one driver. `true` is asserted, whatever voltage that is: the polarity that a guest programs
// changes nothing. An edge-triggered device sets true and then false.
struct InterruptLine {
    virtual ~InterruptLine() = default;
    virtual void set(bool level) = 0;
};

// A message-signalled interrupt as it is on the bus (SDM volume 3A, "Message Signalled Interrupts"): address
// bits 31:20 are 0xfee, 19:12 the destination, 2 its mode; data bits 7:0 are the vector, 10:8 the delivery
// mode, 14 assert, 15 level-triggered. Address bits 11:5 are destination bits 14:8 where the guest is shown
// KVM_FEATURE_MSI_EXT_DEST_ID (kernel, Documentation/virt/kvm/x86/cpuid.rst).
struct Message {
    std::uint32_t address_lo = 0;
    std::uint32_t address_hi = 0;
    std::uint32_t data = 0;

    friend bool operator==(const Message&, const Message&) = default;
};

struct MessageSink {
    virtual ~MessageSink() = default;
    virtual void send(const Message& message) = 0;
};

// The same interrupt as KVM_SIGNAL_MSI and KVM_SET_GSI_ROUTING want it with KVM_X2APIC_API_USE_32BIT_IDS:
// KVM does not look at address bits 11:5, it takes destination bits 31:8 from bits 31:8 of `address_hi`.
constexpr Message with_32bit_destination(Message message) {
    constexpr std::uint32_t extended = 0x7fU << 5;
    message.address_hi |= (message.address_lo & extended) << 3;
    message.address_lo &= ~extended;
    return message;
}

} // namespace nestbed::device
