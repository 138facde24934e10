#include "core/kvm/vcpu.hpp"

#include <cerrno>
#include <utility>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <fmt/format.h>

#include "core/kvm/abi.hpp"
#include "core/kvm/ioctl.hpp"

namespace nestbed::kvm {

namespace {

// Reads a whole register structure.
template<typename T>
Result<T> get(int fd, unsigned long request, std::string_view name) {
    T value{};
    const auto answer = call(fd, request, name, &value);
    if (!answer)
        return tl::unexpected{answer.error()};
    return value;
}

} // namespace

Result<Vcpu> Vcpu::map(Fd fd, std::size_t mmap_size, std::uint32_t apic_id) {
    void* const memory = ::mmap(nullptr, mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED)
        return fail_errno(ErrorKind::host_lacks,
                          fmt::format("map kvm_run of the vCPU with APIC id {}", apic_id),
                          "raise vm.max_map_count: `sudo sysctl -w vm.max_map_count=262144`");
    return Vcpu{std::move(fd), static_cast<kvm_run*>(memory), mmap_size, apic_id};
}

Vcpu::Vcpu(Vcpu&& other) noexcept
    : _fd{std::move(other._fd)}, _run{std::exchange(other._run, nullptr)},
      _mmap_size{other._mmap_size}, _apic_id{other._apic_id} {}

Vcpu& Vcpu::operator=(Vcpu&& other) noexcept {
    std::swap(_fd, other._fd);
    std::swap(_run, other._run);
    std::swap(_mmap_size, other._mmap_size);
    std::swap(_apic_id, other._apic_id);
    return *this;
}

Vcpu::~Vcpu() {
    if (_run != nullptr)
        ::munmap(_run, _mmap_size);
}

int Vcpu::run() const noexcept {
    return ::ioctl(_fd.get(), KVM_RUN, 0) < 0 ? errno : 0;
}

Status Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) const {
    abi::CpuidTable table{entries};
    return call(_fd.get(), abi::set_cpuid2, "KVM_SET_CPUID2", table.data(),
                fmt::format("{} entries, APIC id {}", entries.size(), _apic_id))
        .map([](int) {});
}

Result<std::vector<kvm_cpuid_entry2>> Vcpu::cpuid() const {
    constexpr std::size_t most = 256; // KVM_MAX_CPUID_ENTRIES
    abi::CpuidTable table{most};
    return call(_fd.get(), abi::get_cpuid2, "KVM_GET_CPUID2", table.data(),
                fmt::format("APIC id {}", _apic_id))
        .map([&](int) { return table.entries(); });
}

Status Vcpu::set_msr(std::uint32_t index, std::uint64_t value) const {
    const kvm_msr_entry entry{.index = index, .reserved = 0, .data = value};
    abi::Msrs msrs{std::span{&entry, 1}};
    const auto what = fmt::format("MSR {:#x} = {:#x}, APIC id {}", index, value, _apic_id);
    const auto set = call(_fd.get(), abi::set_msrs, "KVM_SET_MSRS", msrs.data(), what);
    if (!set)
        return tl::unexpected{set.error()};
    if (*set != 1)
        return fail(ErrorKind::host_lacks, fmt::format("KVM_SET_MSRS({})", what), "KVM refused it");
    return {};
}

Result<std::uint64_t> Vcpu::msr(std::uint32_t index) const {
    const kvm_msr_entry wanted{.index = index, .reserved = 0, .data = 0};
    abi::Msrs msrs{std::span{&wanted, 1}};
    const auto what = fmt::format("MSR {:#x}, APIC id {}", index, _apic_id);
    const auto read = call(_fd.get(), abi::get_msrs, "KVM_GET_MSRS", msrs.data(), what);
    if (!read)
        return tl::unexpected{read.error()};
    if (*read != 1)
        return fail(ErrorKind::host_lacks, fmt::format("KVM_GET_MSRS({})", what), "KVM has no such MSR");
    return msrs.entries().front().data;
}

Result<kvm_regs> Vcpu::regs() const {
    return get<kvm_regs>(_fd.get(), KVM_GET_REGS, "KVM_GET_REGS");
}

Status Vcpu::set_regs(const kvm_regs& regs) const {
    return call(_fd.get(), KVM_SET_REGS, "KVM_SET_REGS", &regs).map([](int) {});
}

Result<kvm_sregs> Vcpu::sregs() const {
    return get<kvm_sregs>(_fd.get(), KVM_GET_SREGS, "KVM_GET_SREGS");
}

Status Vcpu::set_sregs(const kvm_sregs& sregs) const {
    return call(_fd.get(), KVM_SET_SREGS, "KVM_SET_SREGS", &sregs).map([](int) {});
}

Result<std::uint32_t> Vcpu::mp_state() const {
    return get<kvm_mp_state>(_fd.get(), KVM_GET_MP_STATE, "KVM_GET_MP_STATE")
        .map([](const kvm_mp_state& state) { return state.mp_state; });
}

Result<kvm_lapic_state> Vcpu::lapic() const {
    return get<kvm_lapic_state>(_fd.get(), KVM_GET_LAPIC, "KVM_GET_LAPIC");
}

Result<kvm_vcpu_events> Vcpu::events() const {
    return get<kvm_vcpu_events>(_fd.get(), KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
}

Result<std::uint64_t> Vcpu::tsc_khz() const {
    return call(_fd.get(), KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0UL).map([](int khz) {
        return static_cast<std::uint64_t>(khz);
    });
}

Result<Fd> Vcpu::stats_fd() const {
    return call(_fd.get(), KVM_GET_STATS_FD, "KVM_GET_STATS_FD", 0UL, fmt::format("APIC id {}", _apic_id))
        .map([](int fd) { return Fd{fd}; });
}

Result<DirtyRing> Vcpu::map_dirty_ring(std::uint32_t entries) const {
    return DirtyRing::map(_fd.get(), entries);
}

} // namespace nestbed::kvm
