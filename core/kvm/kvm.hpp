// /dev/kvm itself: what the host can do, and new virtual machines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <linux/kvm.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/kvm/vm.hpp"

namespace nestbed::kvm {

class Kvm {
public:
    // Errors: host_lacks, telling a missing device from one that may not be opened and from a foreign API
    // version.
    [[nodiscard]] static Result<Kvm> open(const std::string& path = "/dev/kvm");

    // KVM_CHECK_EXTENSION; 0 where absent, as the kernel answers for what it does not know.
    [[nodiscard]] int check_extension(int capability) const;

    // KVM_GET_SUPPORTED_CPUID.
    [[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;

    // KVM_GET_MSR_FEATURE_INDEX_LIST; empty where the kernel has no such list.
    [[nodiscard]] std::vector<std::uint32_t> feature_msrs() const;

    // KVM_GET_MSR_INDEX_LIST: what a vCPU's state has in MSRs. Errors: host_lacks.
    [[nodiscard]] Result<std::vector<std::uint32_t>> state_msrs() const;

    // One feature MSR by KVM_GET_MSRS on /dev/kvm. Errors: host_lacks when KVM does not offer it.
    [[nodiscard]] Result<std::uint64_t> feature_msr(std::uint32_t index) const;

    // Bytes of a vCPU's shared kvm_run mapping.
    [[nodiscard]] Result<std::size_t> vcpu_mmap_size() const;

    [[nodiscard]] Result<Vm> create_vm() const;

private:
    explicit Kvm(Fd fd) : _fd{std::move(fd)} {}

    Fd _fd;
};

} // namespace nestbed::kvm
