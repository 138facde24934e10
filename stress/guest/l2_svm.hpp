// L2 of SVM for drivers; see l2_driver.hpp.
#pragma once

#include "core/guest/runtime.hpp"
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
    static bool has_nested_paging() { return (svm::svm_features() & 1) != 0; }
    static void enable() { svm::enable(); }
    static Tables make_tables() {
        Tables tables{svm::PageSize::m2};
        tables.entry(l2_hole, 1) = 0;
        return tables;
    }
    static void hypercall() {
        std::uint64_t rax = 0;
        asm volatile("vmmcall" : "+a"(rax) : : "memory");
    }

    // Leaves by CPUID, VMMCALL, I/O to the exit port, RDMSR of STAR and, with tables, where they have a hole.
    explicit SvmDriver(const Tables* tables) {
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
    }
    conform::L2Exit enter() {
        _code = _l2.enter_lean();
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

private:
    svm::L2 _l2;
    svm::ExitCode _code{};
};

} // namespace nestbed::guest
