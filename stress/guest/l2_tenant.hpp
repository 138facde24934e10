// An L2 guest that leaves by random exits and watches over its registers and its memory, and what its L1 does
// for it. With nested paging, every tenant sees its own page at the same guest-physical address.
#pragma once

#include <cstdint>
#include <new>

#include "core/guest/runtime.hpp"
#include "nested/guest/l2_exit.hpp"
#include "nested/guest/memory.hpp"
#include "stress/guest/l2_driver.hpp"
#include "stress/guest/l2_probe.hpp"
#include "stress/guest/splitmix.hpp"
#include "stress/wire/l2_tenants.hpp"

namespace nestbed::guest {

// What a kind of exit is to L2, which executes it, and to L1, which sees it.
struct TenantExit {
    Probe probe;
    conform::L2Exit exit;
    std::uint64_t instruction_bytes;
};
constexpr TenantExit tenant_exit(std::uint64_t kind, bool vmmcall) {
    using namespace stress::wire::l2_tenants;
    switch (kind) {
    case Kind::cpuid:
        return {Probe::cpuid, conform::L2Exit::cpuid, 2};
    case Kind::hypercall:
        return {vmmcall ? Probe::vmmcall : Probe::vmcall, conform::L2Exit::hypercall, 3};
    case Kind::io:
        return {Probe::out, conform::L2Exit::io, 1};
    case Kind::msr:
        return {Probe::rdmsr, conform::L2Exit::msr, 2};
    default:
        return {Probe::load, conform::L2Exit::nested_page_fault, 3};
    }
}

// L1's answer in RAX.
constexpr std::uint64_t tenant_reply(std::uint64_t canary, std::uint64_t request) {
    return mix(canary ^ request);
}

// What L2 works on, in its memory.
struct TenantWork {
    stress::wire::l2_tenants::Tenant* tenant;
    std::uint64_t* page; // at its address in L2
    std::uint64_t canary;
    std::uint64_t stop; // 1: come to the end
    std::uint64_t es;   // selector that L1 has put into ES
    bool nested_paging;
    bool vmmcall;

    // In L2.
    void live();

private:
    void step(SplitMix& random, std::uint64_t steps);
    void check_word(std::uint64_t index, std::uint64_t steps);
    void check_es();
    void note(std::uint64_t& count, std::uint64_t what, std::uint64_t expected, std::uint64_t seen);
    // The first word counts steps, the others stay.
    [[nodiscard]] std::uint64_t word(std::uint64_t index, std::uint64_t steps) const {
        return mix(canary + (index == 0 ? steps << 32 : index));
    }
};

template<typename Driver>
class Tenant {
public:
    // `tables` are what the tenants share, null without nested paging. `number` tells it from all others.
    Tenant(const typename Driver::Tables* tables, stress::wire::l2_tenants::Tenant& told,
           std::uint64_t number, std::uint64_t seed)
        : _tables{own_tables(tables)}, _l2{_tables, L2Kind::whole}, _told{told}, _random{mix(seed) ^ number} {
        auto* const page = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        _work = {&told, page, mix(seed + ~number), 0, 0, _tables != nullptr, Driver::uses_vmmcall};
        if (_tables != nullptr) {
            Driver::map(*_tables, l2_window, conform::physical(page));
            _work.page = pointer_to<std::uint64_t>(l2_window);
        }
        _body = {&_work};
        _l2.start(_body);
        mark(0);
    }
    Tenant(const Tenant&) = delete;
    Tenant& operator=(const Tenant&) = delete;

    [[nodiscard]] Driver& l2() { return _l2; }
    [[nodiscard]] bool over() const { return _over; }
    // Puts another selector into ES, on the vCPU that L2 is on; a segment of L1's choice has no other use in
    // 64-bit mode. Any number will do.
    void mark(std::uint64_t number) {
        const auto selector = static_cast<std::uint16_t>((number % 4096 + 1) << 3);
        _l2.set_es(selector);
        store(_work.es, std::uint64_t{selector});
    }

    // Enters it once and does what it left for. Where it was for an exit of its own, says which kind; else
    // `kinds`.
    std::uint64_t turn() {
        using namespace stress::wire::l2_tenants;
        const auto exit = _l2.enter();
        if (exit == conform::L2Exit::interrupt)
            return kinds; // for L1
        if (exit == conform::L2Exit::hypercall && _l2.at_end()) {
            finish(true);
            return kinds;
        }
        for (std::uint64_t kind = 0; kind < kinds; ++kind) {
            const auto expected = tenant_exit(kind, Driver::uses_vmmcall);
            if (expected.exit != exit)
                continue;
            _l2.set_rax(tenant_reply(_work.canary, _l2.rax()));
            _l2.skip(expected.instruction_bytes);
            ++_told.handled[kind];
            if (_random.below(4) == 0) {
                const auto which = _random.below(vectors);
                _l2.inject(static_cast<std::uint8_t>(first_vector + which));
                ++_told.injected[which];
            }
            return kind;
        }
        ++_told.strange;
        _told.strange_code = _l2.code();
        finish(false); // there is no telling how to go on
        return kinds;
    }

    // Lets it come to its end.
    void end() {
        store(_work.stop, std::uint64_t{1});
        while (!_over)
            turn();
    }

private:
    struct Body {
        TenantWork* work;
        void operator()() const { work->live(); }
    };

    static typename Driver::Tables* own_tables(const typename Driver::Tables* shared) {
        if (shared == nullptr)
            return nullptr;
        auto* const own = new (conform::allocate_pages(1)) typename Driver::Tables{*shared};
        own->own_path(l2_window);
        return own;
    }
    void finish(bool ended) {
        using namespace stress::wire::l2_tenants;
        _over = true;
        _told.ended = ended ? 1 : 0;
        const auto& context = _l2.context();
        _told.stray = context.delivered;
        for (std::uint64_t i = 0; i < vectors; ++i) {
            _told.delivered[i] = context.interrupts[first_vector + i];
            _told.stray -= _told.delivered[i];
        }
    }

    typename Driver::Tables* _tables;
    Driver _l2;
    stress::wire::l2_tenants::Tenant& _told;
    SplitMix _random;
    TenantWork _work{};
    Body _body{};
    bool _over = false;
};

} // namespace nestbed::guest
