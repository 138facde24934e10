#include "core/kvm/vm.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kvm/abi.hpp"
#include "core/kvm/kvm.hpp"
#include "tests/support/fake_ioctl.hpp"

namespace nestbed::kvm {
namespace {

using test::FakeIoctl;
using test::passed;
using testing::HasSubstr;

constexpr std::size_t shared_bytes = 3 * 4096;
static_assert(shared_bytes >= sizeof(kvm_run));

// A kernel that has one VM and vCPUs whose shared pages are plain files.
class FakeVm : public testing::Test {
protected:
    static int open_file() {
        const int fd = ::memfd_create("kvm_run", MFD_CLOEXEC);
        return fd >= 0 && ::ftruncate(fd, shared_bytes) == 0 ? fd : -errno;
    }
    static int answer_creation(unsigned long request) {
        switch (request) {
        case KVM_GET_API_VERSION:
            return KVM_API_VERSION;
        case KVM_GET_VCPU_MMAP_SIZE:
            return shared_bytes;
        case KVM_CREATE_VM:
            return ::open("/dev/null", O_RDWR | O_CLOEXEC);
        case KVM_CREATE_VCPU:
            return open_file();
        default:
            return -ENOTTY;
        }
    }
    static Vm make_vm() {
        const FakeIoctl fake{
            [](int, unsigned long request, unsigned long) { return answer_creation(request); }};
        return std::move(*Kvm::open("/dev/null")->create_vm());
    }
    Vcpu make_vcpu(std::uint32_t apic_id = 0) const {
        const FakeIoctl fake{
            [](int, unsigned long request, unsigned long) { return answer_creation(request); }};
        return std::move(*vm.create_vcpu(apic_id));
    }

    Vm vm = make_vm();
};

TEST_F(FakeVm, AnMsiThatNobodyTakesIsAnError) {
    const FakeIoctl fake{[](int, unsigned long, unsigned long) { return 0; }};
    const auto sent = vm.signal_msi(0x123, 0xf0);
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().kind, ErrorKind::check_failed);
    EXPECT_THAT(sent.error().asked, HasSubstr("APIC id 0x123, vector 0xf0"));
}

struct MsiCase {
    std::uint32_t apic_id;
    std::uint32_t low;
    std::uint32_t high;
};

// SDM volume 3, 11.11.1; Documentation/virt/kvm/api.rst, KVM_SIGNAL_MSI and KVM_CAP_X2APIC_API.
TEST_F(FakeVm, AnMsiHasAllBitsOfItsDestination) {
    for (const auto& [apic_id, low, high] :
         {MsiCase{0, 0xfee0'0000, 0}, MsiCase{1, 0xfee0'1000, 0}, MsiCase{0xff, 0xfeef'f000, 0},
          MsiCase{0x100, 0xfee0'0000, 0x100}, MsiCase{0x123, 0xfee2'3000, 0x100},
          MsiCase{0xffff'fffe, 0xfeef'e000, 0xffff'ff00}}) {
        kvm_msi seen{};
        const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
            seen = passed<kvm_msi>(argument);
            return request == KVM_SIGNAL_MSI ? 1 : -ENOTTY;
        }};
        EXPECT_TRUE(vm.signal_msi(apic_id, 0x31));
        EXPECT_EQ(seen.address_lo, low) << std::hex << apic_id;
        EXPECT_EQ(seen.address_hi, high) << std::hex << apic_id;
        EXPECT_EQ(seen.data, 0x31U) << "fixed, edge-triggered";
        EXPECT_EQ(seen.flags, 0U);
    }
}

TEST_F(FakeVm, ADoorbellIsAPortOfItsWidth) {
    kvm_ioeventfd seen{};
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        seen = passed<kvm_ioeventfd>(argument);
        return request == KVM_IOEVENTFD ? 0 : -ENOTTY;
    }};
    EXPECT_TRUE(vm.add_pio_eventfd(0x5e0, 4, 17));
    EXPECT_EQ(seen.addr, 0x5e0U);
    EXPECT_EQ(seen.len, 4U);
    EXPECT_EQ(seen.fd, 17);
    EXPECT_EQ(seen.flags, static_cast<std::uint32_t>(KVM_IOEVENTFD_FLAG_PIO)) << "any value rings it";
}

TEST_F(FakeVm, MemoryIsMappedWhereItWasAsked) {
    kvm_userspace_memory_region seen{};
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        seen = passed<kvm_userspace_memory_region>(argument);
        return request == KVM_SET_USER_MEMORY_REGION ? 0 : -ENOTTY;
    }};
    std::byte memory{};
    EXPECT_TRUE(vm.set_memory_region(3, 0x1'0000'0000, &memory, 0x20'0000));
    EXPECT_EQ(seen.slot, 3U);
    EXPECT_EQ(seen.guest_phys_addr, 0x1'0000'0000U);
    EXPECT_EQ(seen.memory_size, 0x20'0000U);
    EXPECT_EQ(seen.userspace_addr, reinterpret_cast<std::uint64_t>(&memory));
    EXPECT_EQ(seen.flags, 0U);
}

TEST_F(FakeVm, MemoryWhoseWritesAreLoggedSaysSo) {
    kvm_userspace_memory_region seen{};
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        seen = passed<kvm_userspace_memory_region>(argument);
        return request == KVM_SET_USER_MEMORY_REGION ? 0 : -ENOTTY;
    }};
    std::byte memory{};
    EXPECT_TRUE(vm.set_memory_region(3, 0x1000, &memory, 0x1000, KVM_MEM_LOG_DIRTY_PAGES));
    EXPECT_EQ(seen.flags, static_cast<std::uint32_t>(KVM_MEM_LOG_DIRTY_PAGES));
}

TEST_F(FakeVm, ADirtyLogHasABitForEachPage) {
    for (const std::uint64_t pages : {1U, 63U, 64U, 65U, 130U}) {
        std::uint32_t slot = 0;
        const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
            auto& log = passed<kvm_dirty_log>(argument);
            slot = log.slot;
            static_cast<std::uint64_t*>(log.dirty_bitmap)[(pages - 1) / 64] = std::uint64_t{1}
                                                                              << (pages - 1) % 64;
            return request == KVM_GET_DIRTY_LOG ? 0 : -ENOTTY;
        }};
        const auto bits = vm.dirty_log(5, pages);
        ASSERT_TRUE(bits) << bits.error().message();
        EXPECT_EQ(slot, 5U);
        ASSERT_EQ(bits->size(), (pages + 63) / 64);
        EXPECT_EQ(bits->back(), std::uint64_t{1} << (pages - 1) % 64);
    }
    const FakeIoctl fake{[](int, unsigned long, unsigned long) { return -ENXIO; }};
    const auto refused = vm.dirty_log(5, 1);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("KVM_GET_DIRTY_LOG(slot 5)"));
}

TEST_F(FakeVm, ResetDirtyRingsSaysHowMany) {
    const FakeIoctl fake{[](int, unsigned long request, unsigned long) {
        return request == KVM_RESET_DIRTY_RINGS ? 17 : -ENOTTY;
    }};
    EXPECT_EQ(vm.reset_dirty_rings(), 17);
}

TEST_F(FakeVm, AnIrqfdIsOfItsPin) {
    kvm_irqfd seen{};
    int answer = 0;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        seen = passed<kvm_irqfd>(argument);
        return request == KVM_IRQFD ? answer : -ENOTTY;
    }};
    EXPECT_TRUE(vm.add_irqfd(17, 3));
    EXPECT_EQ(seen.fd, 17U);
    EXPECT_EQ(seen.gsi, 3U);
    EXPECT_EQ(seen.flags, 0U);
    EXPECT_TRUE(vm.remove_irqfd(18, 4));
    EXPECT_EQ(seen.fd, 18U);
    EXPECT_EQ(seen.gsi, 4U);
    EXPECT_EQ(seen.flags, static_cast<std::uint32_t>(KVM_IRQFD_FLAG_DEASSIGN));
    answer = -EBUSY;
    EXPECT_FALSE(vm.add_irqfd(17, 3));
}

TEST_F(FakeVm, ACapabilityIsEnabledWithItsArgument) {
    kvm_enable_cap seen{};
    int answer = 0;
    const FakeIoctl fake{[&](int, unsigned long, unsigned long argument) {
        seen = passed<kvm_enable_cap>(argument);
        return answer;
    }};
    EXPECT_TRUE(vm.enable_cap(KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", 24));
    EXPECT_EQ(seen.cap, static_cast<std::uint32_t>(KVM_CAP_SPLIT_IRQCHIP));
    EXPECT_EQ(seen.args[0], 24U);
    answer = -EINVAL;
    const auto refused = vm.enable_cap(KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", 24);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP, 0x18)"));
}

TEST_F(FakeVm, AVcpusIdIsItsApicId) {
    unsigned long id = 0;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        id = argument;
        return answer_creation(request);
    }};
    const auto vcpu = vm.create_vcpu(0x2ff);
    ASSERT_TRUE(vcpu) << vcpu.error().message();
    EXPECT_EQ(id, 0x2ffU);
    EXPECT_EQ(vcpu->apic_id(), 0x2ffU);
    EXPECT_EQ(vcpu->shared_bytes(), shared_bytes);
}

TEST_F(FakeVm, AVcpuThatIsRefusedSaysWhatToDo) {
    const FakeIoctl fake{[](int, unsigned long, unsigned long) { return -EMFILE; }};
    const auto vcpu = vm.create_vcpu(5);
    ASSERT_FALSE(vcpu);
    EXPECT_EQ(vcpu.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(vcpu.error().message(), testing::AllOf(HasSubstr("KVM_CREATE_VCPU(APIC id 5)"),
                                                       HasSubstr("EMFILE"), HasSubstr("ulimit -n")));
}

bool is_mapped(const void* page) {
    unsigned char present = 0;
    return ::mincore(const_cast<void*>(page), 1, &present) == 0;
}

TEST_F(FakeVm, ASharedPageIsTheKernelsAndUnmappedOnce) {
    const kvm_run* first_page = nullptr;
    const kvm_run* second_page = nullptr;
    {
        auto first = make_vcpu(1);
        first.shared().immediate_exit = 1;
        std::uint8_t seen = 0;
        ASSERT_EQ(::pread(first.fd(), &seen, 1, offsetof(kvm_run, immediate_exit)), 1);
        EXPECT_EQ(seen, 1) << "what is written there, the kernel sees";
        first_page = &first.shared();
        auto second = make_vcpu(2);
        second_page = &second.shared();
        {
            auto moved = std::move(first);
            EXPECT_EQ(&moved.shared(), first_page);
            moved = std::move(second);
            EXPECT_EQ(moved.apic_id(), 2U);
            EXPECT_EQ(&moved.shared(), second_page);
        }
        EXPECT_FALSE(is_mapped(second_page));
    }
    EXPECT_FALSE(is_mapped(first_page));
}

TEST_F(FakeVm, RunTellsWhyItEnded) {
    const auto vcpu = make_vcpu();
    int answer = 0;
    int calls = 0;
    const FakeIoctl fake{[&](int fd, unsigned long request, unsigned long) {
        ++calls;
        return fd == vcpu.fd() && request == KVM_RUN ? answer : -ENOTTY;
    }};
    EXPECT_EQ(vcpu.run(), 0);
    answer = -EINTR;
    EXPECT_EQ(vcpu.run(), EINTR) << "a kick: not tried again";
    answer = -EFAULT;
    EXPECT_EQ(vcpu.run(), EFAULT);
    EXPECT_EQ(calls, 3);
}

TEST_F(FakeVm, AnMsrThatKvmDoesNotTakeIsRefused) {
    const auto vcpu = make_vcpu(9);
    kvm_msr_entry seen{};
    int answer = 1;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        auto& entry = passed<kvm_msr_entry>(argument + sizeof(abi::MsrsHeader));
        seen = entry;
        if (request == abi::get_msrs)
            entry.data = 0x1234'5678'9abc;
        return passed<abi::MsrsHeader>(argument).count == 1 ? answer : -EINVAL;
    }};
    EXPECT_TRUE(vcpu.set_msr(0x1a0, 0x8'0000'0001));
    EXPECT_EQ(seen.index, 0x1a0U);
    EXPECT_EQ(seen.data, 0x8'0000'0001U);
    EXPECT_EQ(vcpu.msr(0x10), 0x1234'5678'9abcU);
    EXPECT_EQ(seen.index, 0x10U);
    answer = 0; // how many were taken
    const auto set = vcpu.set_msr(0x1a0, 1);
    ASSERT_FALSE(set);
    EXPECT_THAT(set.error().message(), HasSubstr("KVM_SET_MSRS(MSR 0x1a0 = 0x1, APIC id 9)"));
    EXPECT_FALSE(vcpu.msr(0x10)) << "0 would be a value";
}

TEST_F(FakeVm, CpuidIsReadBackWithRoomForAllThatKvmHolds) {
    const auto vcpu = make_vcpu();
    std::uint32_t room = 0;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        auto& header = passed<abi::CpuidHeader>(argument);
        room = header.count;
        header.count = 2;
        return request == abi::get_cpuid2 ? 0 : -ENOTTY;
    }};
    const auto entries = vcpu.cpuid();
    ASSERT_TRUE(entries) << entries.error().message();
    EXPECT_EQ(entries->size(), 2U);
    EXPECT_GE(room, 256U) << "KVM_MAX_CPUID_ENTRIES";
}

} // namespace
} // namespace nestbed::kvm
