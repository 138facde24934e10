#include "stress/setup.hpp"

#include <algorithm>
#include <utility>

#include "base/first_error.hpp"
#include "core/boot/placement.hpp"
#include "report/nested_offer.hpp"
#include "stress/payload.hpp"

namespace nestbed::stress {

namespace {

std::uint32_t choose_vcpus(const MachineRequest& request, std::uint32_t most) {
    if (request.all_vcpus)
        return most;
    if (request.vcpus)
        return *request.vcpus;
    if (request.shape)
        return static_cast<std::uint32_t>(topology::vcpu_count(*request.shape));
    return std::min(default_vcpus, most);
}

} // namespace

topology::PlanRequest plan_request(const MachineRequest& request, std::uint32_t most_vcpus) {
    const auto vcpus = choose_vcpus(request, most_vcpus);
    return {.vcpus = vcpus,
            .memory_bytes = request.memory_bytes.value_or(boot::default_memory_bytes(vcpus)),
            .policy = request.policy,
            .page_size = request.page_size,
            .shape = request.flat_shape ? topology::Shape{.cores = vcpus} : request.shape,
            .lying = request.lying_shape};
}

HostSeen look_at_host() {
    return {.host = topology::discover("auto"), .kvm = kvm::Kvm::open()};
}

Result<Setup> set_up(const MachineRequest& request, HostSeen seen) {
    auto payload = embedded_payload();
    if (auto all = first_error(seen.host, seen.kvm, payload); !all)
        return tl::unexpected{all.error()};
    const auto most = static_cast<std::uint32_t>(seen.kvm->check_extension(KVM_CAP_MAX_VCPUS));
    auto plan = topology::plan(plan_request(request, most), *seen.host);
    if (!plan)
        return tl::unexpected{plan.error()};
    const auto shown = nested::resolve(request.nested, report::nested_offer(*seen.kvm));
    if (!shown)
        return tl::unexpected{shown.error()};
    return Setup{.kvm = std::move(*seen.kvm),
                 .payload = std::move(*payload),
                 .plan = std::move(*plan),
                 .shown = *shown};
}

Result<machine::MachinePtr> create_machine(const Setup& setup, supervise::Supervisor& supervisor) {
    return machine::Machine::create(setup.kvm,
                                    {.plan = setup.plan,
                                     .payload = &setup.payload,
                                     .nested = setup.shown.nested,
                                     .hidden = setup.shown.hidden},
                                    supervisor);
}

} // namespace nestbed::stress
