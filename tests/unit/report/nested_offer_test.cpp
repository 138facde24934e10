#include "report/nested_offer.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kvm/abi.hpp"
#include "tests/support/fake_ioctl.hpp"

namespace nestbed::report {
namespace {

using core::cpu::MsrValue;
using test::FakeIoctl;
using test::passed;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr const char* no_system = "/no/such/system";

// A KVM that has these feature MSRs, of which some cannot be read, and shows VMX or not.
class NestedOfferTest : public testing::Test {
protected:
    int answer(unsigned long request, unsigned long argument) {
        switch (request) {
        case KVM_GET_API_VERSION:
            return KVM_API_VERSION;
        case kvm::abi::get_supported_cpuid: {
            passed<kvm::abi::CpuidHeader>(argument).count = 1;
            auto& entry = passed<kvm_cpuid_entry2>(argument + sizeof(kvm::abi::CpuidHeader));
            entry = {};
            entry.function = 1;
            entry.ecx = shows_vmx ? 1U << 5 : 0;
            return 0;
        }
        case kvm::abi::get_msr_feature_index_list:
            passed<kvm::abi::MsrListHeader>(argument).count = static_cast<std::uint32_t>(listed.size());
            std::memcpy(reinterpret_cast<void*>(argument + sizeof(kvm::abi::MsrListHeader)), listed.data(),
                        listed.size() * sizeof(listed[0]));
            return 0;
        case kvm::abi::get_msrs: {
            auto& entry = passed<kvm_msr_entry>(argument + sizeof(kvm::abi::MsrsHeader));
            read.insert(entry.index);
            entry.data = 0x1'0000'0000 + entry.index;
            return unreadable.contains(entry.index) ? 0 : 1;
        }
        default:
            return -ENOTTY;
        }
    }

    bool shows_vmx = true;
    std::vector<std::uint32_t> listed{0x480, 0x10a, 0x48b, 0x8b, 0x493, 0x494};
    std::set<std::uint32_t> unreadable;
    std::set<std::uint32_t> read;
    FakeIoctl fake{
        [this](int, unsigned long request, unsigned long argument) { return answer(request, argument); }};
    kvm::Kvm kvm = std::move(*kvm::Kvm::open("/dev/null"));
};

TEST_F(NestedOfferTest, ReadsTheCapabilityMsrsThatKvmLists) {
    const auto seen = look_at_nested(kvm, no_system);
    EXPECT_EQ(seen.offer.extension, nested::Extension::vmx);
    EXPECT_THAT(seen.vmx, ElementsAre(MsrValue{0x480, 0x1'0000'0480}, MsrValue{0x48b, 0x1'0000'048b},
                                      MsrValue{0x493, 0x1'0000'0493}));
    EXPECT_THAT(read, ElementsAre(0x480, 0x48b, 0x493)) << "and no other";
    EXPECT_EQ(seen.supported_cpuid.size(), 1U);
}

TEST_F(NestedOfferTest, LeavesOutWhatCannotBeRead) {
    unreadable = {0x48b};
    EXPECT_THAT(vmx_capabilities(kvm),
                ElementsAre(MsrValue{0x480, 0x1'0000'0480}, MsrValue{0x493, 0x1'0000'0493}));
}

TEST_F(NestedOfferTest, TellsNoMsrsWhereNestingIsOff) {
    shows_vmx = false;
    const auto seen = look_at_nested(kvm, no_system);
    EXPECT_EQ(seen.offer.extension, nested::Extension::none);
    EXPECT_THAT(seen.vmx, IsEmpty());
}

} // namespace
} // namespace nestbed::report
