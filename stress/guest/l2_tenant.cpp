#include "stress/guest/l2_tenant.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::l2_tenants;

constexpr std::uint64_t words = nestbed::wire::page_bytes / 8;
constexpr std::uint64_t words_a_step = 4;
constexpr std::uint32_t star = 0xc000'0081;

} // namespace

void TenantWork::note(std::uint64_t& count, std::uint64_t what, std::uint64_t expected, std::uint64_t seen) {
    if (tenant->wrong_replies + tenant->wrong_registers + tenant->wrong_words == 0) {
        tenant->first_wrong = what;
        tenant->expected = expected;
        tenant->seen = seen;
    }
    ++count;
}

void TenantWork::check_word(std::uint64_t index, std::uint64_t steps) {
    ++tenant->checked;
    if (const auto seen = load(page[index]); seen != word(index, steps))
        note(tenant->wrong_words, registers + 2 + index, word(index, steps), seen);
}

void TenantWork::check_es() {
    std::uint16_t seen = 0;
    std::uint64_t expected = 0;
    do { // L1 may change it at an exit in between
        expected = load(es);
        asm volatile("movw %%es, %0" : "=r"(seen) : : "memory");
    } while (load(es) != expected);
    ++tenant->checked;
    if (seen != expected)
        note(tenant->wrong_registers, registers + 1, expected, seen);
}

void TenantWork::step(SplitMix& random, std::uint64_t steps) {
    const auto kind = random.below(nested_paging ? kinds : kinds - 1);
    ProbeRegisters before;
    ProbeRegisters after;
    for (std::uint64_t i = 0; i < registers; ++i)
        before.value[i] = mix(canary + steps * registers + i);
    if (kind == Kind::msr)
        before.value[probe_rcx] = star;
    if (kind == Kind::io)
        before.value[probe_rdx] = nestbed::wire::exit_port;
    if (kind == Kind::nested_page_fault)
        before.value[probe_rdx] = l2_hole;
    const auto request = random.next();
    const auto reply = l2_probe(tenant_exit(kind, vmmcall).probe, request, &before, &after);
    ++tenant->made[kind];
    tenant->checked += registers + 1;
    if (reply != tenant_reply(canary, request))
        note(tenant->wrong_replies, registers, tenant_reply(canary, request), reply);
    for (std::uint64_t i = 0; i < registers; ++i)
        if (after.value[i] != before.value[i])
            note(tenant->wrong_registers, i, before.value[i], after.value[i]);
    check_es();
    for (std::uint64_t i = 0; i < words_a_step; ++i)
        check_word(random.below(words), steps);
}

void TenantWork::live() {
    SplitMix random{canary};
    std::uint64_t steps = 0;
    for (std::uint64_t i = 0; i < words; ++i)
        store(page[i], word(i, steps));
    while (load(stop) == 0) {
        step(random, steps);
        check_word(0, steps);
        store(page[0], word(0, ++steps));
    }
    for (std::uint64_t i = 0; i < words; ++i)
        check_word(i, steps);
}

} // namespace nestbed::guest
