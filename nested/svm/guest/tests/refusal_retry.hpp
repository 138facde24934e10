// Refusals of what KVM injects by an entry of its own.
#pragma once

#include "nested/guest/memory.hpp"
#include "nested/svm/event.hpp"
#include "nested/svm/guest/case.hpp"

namespace nestbed::svm {

// EVENTINJ of L1's is checked by the processor, when KVM enters L2. Where KVM has to turn back right before
// that, for a signal or another thread's turn, it keeps the event for the next entry, but loses one that is
// none (svm_cancel_injection() in arch/x86/kvm/svm/svm.c of Linux): L2 runs instead of being refused. Once in
// some thousand VMRUNs. So such a VMRUN is tried again, and fails a test where no try of four is refused.
class RefusalRetry {
public:
    // Before VMRUN.
    explicit RefusalRetry(L2& guest)
        : _guest{guest}, _registers{guest.registers}, _has_event{(guest.control().event_inj & event_valid) !=
                                                                 0} {
        if (_has_event)
            conform::copy_page(&written(), &guest.vmcb());
    }

    // After it. True: the guest is as it was, for another try.
    [[nodiscard]] bool again() {
        constexpr unsigned most = 3;
        if (!_has_event || static_cast<std::uint32_t>(_guest.control().exit_code) == 0xffff'ffffU ||
            _tries++ == most)
            return false;
        _guest.start_at([](void*) {}, nullptr); // for the return address that L2 has used up
        conform::copy_page(&_guest.vmcb(), &written());
        _guest.registers = _registers;
        return true;
    }

private:
    // One for all, since tests refuse in loops.
    static Vmcb& written() {
        static Vmcb* vmcb;
        if (vmcb == nullptr)
            vmcb = &conform::allocate<Vmcb>();
        return *vmcb;
    }

    L2& _guest;
    GeneralRegisters _registers;
    bool _has_event;
    unsigned _tries = 0;
};

} // namespace nestbed::svm
