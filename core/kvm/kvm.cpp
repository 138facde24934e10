#include "core/kvm/kvm.hpp"

#include <cerrno>
#include <span>
#include <utility>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "core/kvm/abi.hpp"
#include "core/kvm/ioctl.hpp"

namespace nestbed::kvm {

namespace {

std::string remedy_for_open(int error) {
    switch (error) {
    case ENOENT:
        return "load the module with `sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`; if that says "
               "\"not "
               "supported\", enable virtualization in the firmware (or nesting in the hypervisor around this "
               "host)";
    case EACCES:
    case EPERM:
        return "join the group that owns it: `sudo usermod -aG kvm $USER`, then log in again (or run as "
               "root)";
    case ENODEV:
    case ENXIO:
        return "the device node is there without its driver: `sudo modprobe kvm_intel` or `sudo modprobe "
               "kvm_amd`";
    default:
        return "look into `dmesg | grep -i kvm`";
    }
}

} // namespace

Result<Kvm> Kvm::open(const std::string& path) {
    Fd fd{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
    if (!fd)
        return fail(ErrorKind::host_lacks, "open " + path, errno_text(errno), remedy_for_open(errno));
    const int version = ::ioctl(fd.get(), KVM_GET_API_VERSION, 0);
    if (version < 0)
        return fail(ErrorKind::host_lacks, "ask " + path + " for its API version (KVM_GET_API_VERSION)",
                    errno_text(errno), "this is no KVM device; make sure that nothing is mounted over it");
    if (version != KVM_API_VERSION)
        return fail(ErrorKind::host_lacks, "use " + path,
                    fmt::format("API version {}, this program speaks {}", version, KVM_API_VERSION),
                    "use a Linux 2.6.22 or newer");
    return Kvm{std::move(fd)};
}

int Kvm::check_extension(int capability) const {
    const int answer = ::ioctl(_fd.get(), KVM_CHECK_EXTENSION, capability);
    return answer < 0 ? 0 : answer;
}

Result<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
    // KVM answers E2BIG until the array is large enough.
    for (std::size_t entries = 128; entries <= 4096; entries *= 2) {
        abi::CpuidTable table{entries};
        if (::ioctl(_fd.get(), abi::get_supported_cpuid, table.data()) == 0)
            return table.entries();
        if (errno != E2BIG && errno != ENOMEM)
            break;
    }
    return fail_errno(ErrorKind::host_lacks, "KVM_GET_SUPPORTED_CPUID");
}

std::vector<std::uint32_t> Kvm::feature_msrs() const {
    constexpr std::size_t most = 1024;
    abi::MsrList list{most};
    if (::ioctl(_fd.get(), abi::get_msr_feature_index_list, list.data()) != 0)
        return {};
    return list.entries();
}

Result<std::vector<std::uint32_t>> Kvm::state_msrs() const {
    constexpr std::size_t most = 1024;
    abi::MsrList list{most};
    return call(_fd.get(), abi::get_msr_index_list, "KVM_GET_MSR_INDEX_LIST", list.data()).map([&](int) {
        return list.entries();
    });
}

Result<std::uint64_t> Kvm::feature_msr(std::uint32_t index) const {
    const kvm_msr_entry wanted{.index = index, .reserved = 0, .data = 0};
    abi::Msrs msrs{std::span{&wanted, 1}};
    const auto what = fmt::format("feature MSR {:#x}", index);
    const auto read = call(_fd.get(), abi::get_msrs, "KVM_GET_MSRS", msrs.data(), what);
    if (!read)
        return tl::unexpected{read.error()};
    if (*read != 1)
        return fail(ErrorKind::host_lacks, fmt::format("KVM_GET_MSRS({})", what), "not offered");
    return msrs.entries().front().data;
}

Result<std::size_t> Kvm::vcpu_mmap_size() const {
    return call(_fd.get(), KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", 0UL).and_then([](int size) {
        // A page at the least holds struct kvm_run; less would let us read past the mapping.
        if (static_cast<std::size_t>(size) < sizeof(kvm_run))
            return Result<std::size_t>{fail(ErrorKind::host_lacks, "KVM_GET_VCPU_MMAP_SIZE",
                                            fmt::format("{} bytes, less than struct kvm_run", size))};
        return Result<std::size_t>{static_cast<std::size_t>(size)};
    });
}

Result<Vm> Kvm::create_vm() const {
    const auto size = vcpu_mmap_size();
    if (!size)
        return tl::unexpected{size.error()};
    const auto fd = call(_fd.get(), KVM_CREATE_VM, "KVM_CREATE_VM", 0UL, "type 0",
                         "too many open files or too little memory; see `ulimit -n` and `free -h`");
    if (!fd)
        return tl::unexpected{fd.error()};
    return Vm{Fd{*fd}, *size};
}

} // namespace nestbed::kvm
