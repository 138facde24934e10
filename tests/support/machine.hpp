// What every test needs that runs a guest: KVM or the reason to skip, and a plan for this host.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "base/units.hpp"
#include "core/boot/placement.hpp"
#include "core/kvm/kvm.hpp"
#include "core/machine/machine.hpp"
#include "core/supervise/supervisor.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::test {

// Far beyond what any guest here takes, sanitizers and a busy host included.
inline constexpr std::chrono::milliseconds patience = std::chrono::minutes{2};

// Opens /dev/kvm, or skips the test and prints why.
class MachineTest : public testing::Test {
protected:
    void SetUp() override {
        auto opened = kvm::Kvm::open();
        if (!opened)
            GTEST_SKIP() << "needs a KVM that can be used: " << opened.error().message();
        _kvm.emplace(std::move(*opened));
        auto discovered = topology::discover("auto");
        ASSERT_TRUE(discovered) << discovered.error().message();
        _host = std::move(*discovered);
        auto created = supervise::Supervisor::create();
        ASSERT_TRUE(created) << created.error().message();
        _supervisor = std::move(*created);
    }

    [[nodiscard]] const kvm::Kvm& kvm() const { return *_kvm; }
    [[nodiscard]] const topology::Host& host() const { return _host; }
    [[nodiscard]] supervise::Supervisor& supervisor() const { return *_supervisor; }

    // With the least memory that the payload wants.
    [[nodiscard]] Result<topology::Plan> plan_for(std::uint32_t vcpus,
                                                  std::optional<topology::Shape> shape = {},
                                                  topology::Policy policy = topology::Policy::numa) const {
        return topology::plan({.vcpus = vcpus,
                               .memory_bytes = boot::default_memory_bytes(vcpus),
                               .policy = policy,
                               .page_size = topology::PageSize::base,
                               .shape = shape},
                              _host);
    }

    // Created and not yet booted. `payload` outlives it.
    [[nodiscard]] Result<machine::MachinePtr> create(const boot::Payload& payload,
                                                     topology::Plan plan) const {
        return machine::Machine::create(*_kvm, {.plan = std::move(plan), .payload = &payload, .nested = true},
                                        *_supervisor);
    }

    // A job on all vCPUs.
    [[nodiscard]] static Status run(machine::Machine& machine, std::string_view job,
                                    std::chrono::milliseconds deadline = patience) {
        return machine.run_job({.name = job,
                                .arguments = {},
                                .first_vcpu = 0,
                                .end_vcpu = machine.vcpus(),
                                .deadline = deadline});
    }

private:
    std::optional<kvm::Kvm> _kvm;
    topology::Host _host;
    std::unique_ptr<supervise::Supervisor> _supervisor;
};

} // namespace nestbed::test
