// L2 guests that any vCPU may run, each on one at a time.
#include "stress/guest/l2_svm.hpp"
#include "stress/guest/l2_tables.hpp"
#include "stress/guest/l2_tenant.hpp"
#include "stress/guest/l2_vmx.hpp"

namespace nestbed::guest {

namespace {

namespace job = stress::wire::l2_tenants;

constexpr std::uint64_t most_turns = 8;  // before a tenant may move on
constexpr unsigned most_looks = 100'000; // until another vCPU, which may wait for its PU, has had it

template<typename Driver>
struct Lodging {
    Lodging(const typename Driver::Tables* tables, job::Tenant& told, std::uint64_t number,
            std::uint64_t seed)
        : tenant{tables, told, number, seed} {}

    std::uint64_t holder = 0; // a vCPU + 1; whoever holds it may touch the rest
    std::uint64_t last = 0;   // the same, of the one before
    Tenant<Driver> tenant;

    // Free, and another vCPU had it last.
    [[nodiscard]] bool came_from_another(std::uint64_t self) const {
        return load(last) != self && load(holder) == 0;
    }
    bool take(std::uint64_t self) {
        return load(holder) == 0 && compare_exchange(holder, std::uint64_t{0}, self);
    }
    // Where it was taken.
    void run(std::uint64_t self, std::uint64_t turns, bool to_end, job::Tenant& told) {
        if (last != 0 && last != self)
            ++told.moves;
        tenant.l2().arrive();
        tenant.mark(told.moves);
        for (std::uint64_t i = 0; i < turns && !tenant.over(); ++i)
            tenant.turn();
        if (to_end)
            tenant.end();
        tenant.l2().leave();
        store(last, self);
        store(holder, std::uint64_t{0});
    }
};

template<typename Driver>
void migrate() {
    const auto& mailbox = this_vcpu();
    const std::uint64_t self = mailbox.vcpu + 1;
    const auto& stopped = *pointer_to<std::uint64_t>(job_argument(job::stop));
    const auto own = job_argument(job::per_vcpu);
    const auto all = own * header().vcpus;
    auto* const told = pointer_to<job::Tenant>(job_argument(job::tenants));
    auto** const pool = pointer_to<Lodging<Driver>*>(job_argument(job::pool));
    Driver::enable();
    constexpr auto pages =
        (sizeof(Lodging<Driver>) + nestbed::wire::page_bytes - 1) / nestbed::wire::page_bytes;
    const auto spaces = Driver::address_spaces();
    for (std::uint64_t i = mailbox.vcpu * own; i < (mailbox.vcpu + 1) * own; ++i) {
        auto* const made = new (conform::allocate_pages(pages))
            Lodging<Driver>{shared_tables<Driver>(), told[i], i, job_argument(job::seed)};
        made->tenant.l2().use_address_space(static_cast<std::uint32_t>(i % spaces));
        made->tenant.l2().leave();
        store(pool[i], made);
    }

    SplitMix random{mix(job_argument(job::seed)) + mailbox.vcpu};
    // Half of the time one of a few that others want too, once another has run it: so it comes back to a vCPU
    // that has run no other since, and may have kept what it knew of it.
    const auto wanted = header().vcpus > 3 ? header().vcpus / 2 : 1;
    while (load(stopped) == 0) {
        const bool waits = random.below(2) == 0;
        const auto which = random.below(waits ? wanted : all);
        auto* const lodging = load(pool[which]);
        if (lodging == nullptr)
            continue;
        for (unsigned looks = 0; waits && looks < most_looks && !lodging->came_from_another(self); ++looks)
            pause();
        if (lodging->take(self))
            lodging->run(self, 1 + random.below(most_turns), false, told[which]);
    }
    // A tenant that another vCPU holds now is met by that one when it comes here.
    for (std::uint64_t i = 0; i < all; ++i)
        if (auto* const lodging = load(pool[i]); lodging != nullptr && lodging->take(self)) {
            if (lodging->tenant.over())
                store(lodging->holder, std::uint64_t{0});
            else
                lodging->run(self, 0, true, told[i]);
        }
}

} // namespace

NESTBED_JOB(l2_migrate_svm, "nested.l2_migrate_svm", "VMCBs that move between vCPUs",
            "APM volume 2, 15.15.2") {
    migrate<SvmDriver>();
}
NESTBED_JOB(l2_migrate_vmx, "nested.l2_migrate_vmx", "VMCSs that move between vCPUs",
            "SDM volume 3, Software Use of Virtual-Machine Control Structures") {
    migrate<VmxDriver>();
}

} // namespace nestbed::guest
