// Many L2 guests a vCPU, entered in random order.
#include "stress/guest/l2_svm.hpp"
#include "stress/guest/l2_tables.hpp"
#include "stress/guest/l2_tenant.hpp"
#include "stress/guest/l2_vmx.hpp"

namespace nestbed::guest {

namespace {

namespace job = stress::wire::l2_tenants;

// The latest ticks of each kind of exit, on one vCPU.
class Samples {
public:
    Samples(std::uint32_t* first, std::uint64_t each) : _first{first}, _each{each} {}
    void add(std::uint64_t kind, std::uint64_t ticks) {
        if (_each == 0)
            return;
        constexpr std::uint64_t most = ~std::uint32_t{0};
        _first[kind * _each + _count[kind]++ % _each] =
            static_cast<std::uint32_t>(ticks < most ? ticks : most);
    }

private:
    std::uint32_t* _first;
    std::uint64_t _each;
    std::uint64_t _count[job::kinds]{};
};

template<typename Driver>
void swarm() {
    const auto& mailbox = this_vcpu();
    const auto& stopped = *pointer_to<std::uint64_t>(job_argument(job::stop));
    const auto count = job_argument(job::per_vcpu);
    const auto each = job_argument(job::samples_each);
    Samples samples{pointer_to<std::uint32_t>(job_argument(job::samples)) + mailbox.vcpu * job::kinds * each,
                    each};
    auto* const told = pointer_to<job::Tenant>(job_argument(job::tenants)) + mailbox.vcpu * count;
    Driver::enable();
    constexpr auto bytes = sizeof(Tenant<Driver>*);
    auto** const tenants = static_cast<Tenant<Driver>**>(
        conform::allocate_pages((count * bytes + nestbed::wire::page_bytes - 1) / nestbed::wire::page_bytes));
    constexpr auto pages =
        (sizeof(Tenant<Driver>) + nestbed::wire::page_bytes - 1) / nestbed::wire::page_bytes;
    const auto spaces = Driver::address_spaces();
    for (std::uint64_t i = 0; i < count; ++i) {
        tenants[i] = new (conform::allocate_pages(pages)) Tenant<Driver>{
            shared_tables<Driver>(), told[i], mailbox.vcpu * count + i, job_argument(job::seed)};
        tenants[i]->l2().use_address_space(static_cast<std::uint32_t>(i % spaces));
    }

    SplitMix random{mix(job_argument(job::seed)) + mailbox.vcpu};
    auto last = count;
    while (load(stopped) == 0) {
        const auto which = random.below(count);
        auto& tenant = *tenants[which];
        if (tenant.over())
            continue;
        if (which != last && count > spaces)
            tenant.l2().flush();
        last = which;
        const auto start = rdtsc();
        if (const auto kind = tenant.turn(); kind < job::kinds)
            samples.add(kind, rdtsc() - start);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        if (count > spaces)
            tenants[i]->l2().flush();
        tenants[i]->end();
    }
}

} // namespace

NESTBED_JOB(l2_swarm_svm, "nested.l2_swarm_svm", "Many L2 guests a vCPU, each with canaries of its own",
            "APM volume 2, 15.5, 15.20 and 15.25") {
    swarm<SvmDriver>();
}
NESTBED_JOB(l2_swarm_vmx, "nested.l2_swarm_vmx", "Many L2 guests a vCPU, each with canaries of its own",
            "SDM volume 3, VM Entries, VM Exits, and The Extended Page Table Mechanism (EPT)") {
    swarm<VmxDriver>();
}

} // namespace nestbed::guest
