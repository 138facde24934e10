// L2 of SVM for drivers; see l2_driver.hpp.
#pragma once

#include "core/guest/runtime.hpp"
#include "nested/guest/events.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/l1.hpp"
#include "nested/svm/guest/l2.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"
#include "stress/guest/l2_driver.hpp"

namespace nestbed::guest {

class SvmDriver {
public:
    using Tables = svm::NestedPageTables;
    static constexpr bool uses_vmmcall = true;
    static bool has_nested_paging() { return (svm::svm_features() & 1) != 0; }
    static void enable() { svm::enable(); }
    static Tables make_tables() {
        Tables tables{svm::PageSize::m2};
        tables.entry(l2_hole, 1) = 0;
        tables.entry(l2_window, 1) = 0;
        return tables;
    }
    static void map(Tables& tables, std::uint64_t guest_physical, std::uint64_t page) {
        store(tables.entry(guest_physical, 1),
              page | svm::npt_bit::present | svm::npt_bit::write | svm::npt_bit::user);
    }
    // Address spaces that L2 guests of one vCPU can have at the same time: ASIDs but 0, which is L1's (APM
    // volume 2, 15.25.1 and appendix E.4.9).
    static std::uint32_t address_spaces() {
        const auto asids = cpuid(0x8000'000a, 0).ebx;
        return asids > 1 ? asids - 1 : 1;
    }
    static void hypercall() {
        std::uint64_t rax = 0;
        asm volatile("vmmcall" : "+a"(rax) : : "memory");
    }

    // Leaves by CPUID, VMMCALL, I/O to the exit port, RDMSR of STAR and, with tables, where they have a hole.
    explicit SvmDriver(const Tables* tables, L2Kind kind = L2Kind::lean)
        : _kind{kind}, _kept{kind == L2Kind::whole && (svm::svm_features() >> 5 & 1) != 0 ? all_kept : 0} {
        _l2.intercept(svm::Intercept::cpuid);
        _l2.intercept(svm::Intercept::ioio_prot);
        _l2.intercept(svm::Intercept::msr_prot);
        for (std::uint32_t port = wire::exit_port; port < wire::exit_port + 4; ++port)
            _l2.iopm()[port / 8] = static_cast<std::uint8_t>(_l2.iopm()[port / 8] | 1U << port % 8);
        // Two bits an MSR, 0xC0000000 to 0xC0001FFF from byte 0x800 (APM volume 2, 15.11).
        constexpr auto bit = (svm::msr::star - 0xc000'0000U) * 2;
        _l2.msrpm()[0x800 + bit / 8] =
            static_cast<std::uint8_t>(_l2.msrpm()[0x800 + bit / 8] | 1U << bit % 8);
        if (tables != nullptr)
            tables->use_in(_l2);
    }

    template<typename Body>
    void start(Body& body) {
        _l2.start(body);
        if (_kind == L2Kind::whole)
            _l2.save().rflags = conform::rflags_fixed | conform::rflags_if;
    }
    // Which of address_spaces() it is in. Guests that share one are flushed when they take turns.
    void use_address_space(std::uint32_t which) { _l2.control().asid = which + 1; }
    // All that is cached of its translations goes at the next entry.
    void flush() { _l2.control().tlb_control = 1; }
    // From one vCPU to another: leave() on the first, then arrive() on the second (APM volume 2, 15.15.2).
    void leave() {}
    void arrive() {
        _l2.control().clean = 0;
        flush();
    }
    // L2 takes this interrupt before its next instruction. After an exit that was L2's own doing, since L2
    // then has interrupts on; of whole guests.
    void inject(std::uint8_t vector) {
        _l2.control().event_inj = svm::event(svm::EventType::interrupt, vector);
    }
    // A canary in state that a processor may keep by the clean bits.
    void set_es(std::uint16_t selector) { _l2.save().es.selector = selector; }
    conform::L2Exit enter() {
        auto& control = _l2.control();
        if (_kind == L2Kind::lean) {
            _code = _l2.enter_lean();
        } else {
            _code = _l2.enter();
            // An exit in the middle of a delivery: the event is to be delivered once more (APM volume 2,
            // 15.7.2).
            control.event_inj =
                (control.exit_int_info & svm::event_valid) != 0 ? std::uint64_t{control.exit_int_info} : 0;
        }
        control.tlb_control = 0;
        control.clean = _kept; // until someone changes more than RIP, RAX and the event
        switch (_code) {
        case svm::ExitCode::cpuid:
            return conform::L2Exit::cpuid;
        case svm::ExitCode::vmmcall:
            return conform::L2Exit::hypercall;
        case svm::ExitCode::ioio:
            return conform::L2Exit::io;
        case svm::ExitCode::msr:
            return conform::L2Exit::msr;
        case svm::ExitCode::npf:
            return conform::L2Exit::nested_page_fault;
        case svm::ExitCode::intr:
            return conform::L2Exit::interrupt;
        default:
            return conform::L2Exit::other;
        }
    }
    // EXITCODE.
    [[nodiscard]] std::uint64_t code() const { return static_cast<std::uint64_t>(_code); }
    [[nodiscard]] bool at_end() const { return _l2.at_end(); }
    // Over the instruction that left; SVM does not say everywhere how long it is.
    void skip(std::uint64_t bytes) { _l2.skip(bytes); }
    [[nodiscard]] std::uint64_t rax() { return _l2.save().rax; }
    void set_rax(std::uint64_t value) { _l2.save().rax = value; }
    [[nodiscard]] conform::L2Context& context() { return _l2.context(); }

private:
    // Of a VMCB that has not changed (APM volume 2, 15.15.3; clean bits are CPUID Fn8000_000A EDX[5]).
    static constexpr std::uint64_t all_kept =
        svm::clean::intercepts | svm::clean::iopm | svm::clean::asid | svm::clean::tpr | svm::clean::np |
        svm::clean::crx | svm::clean::drx | svm::clean::dt | svm::clean::seg | svm::clean::cr2;

    L2Kind _kind;
    std::uint64_t _kept;
    svm::L2 _l2;
    svm::ExitCode _code{};
};

} // namespace nestbed::guest
