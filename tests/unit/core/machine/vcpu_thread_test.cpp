#include "core/machine/vcpu_thread.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kvm/abi.hpp"
#include "core/kvm/kvm.hpp"
#include "core/wire/layout.hpp"
#include "tests/support/fake_ioctl.hpp"

namespace nestbed::machine {
namespace {

using test::FakeIoctl;
using test::passed;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::size_t shared_bytes = 4 * 4096;

// Remembers what a guest wrote to its ports.
class Recorder final : public device::PortDevice {
public:
    void access(const device::PortAccess& access) override {
        bytes.push_back(access.data.size());
        if (access.out)
            values.push_back(access.data.front());
        else
            std::ranges::fill(access.data, std::byte{0x42});
    }
    std::vector<std::size_t> bytes;
    std::vector<std::byte> values;
};

// A vCPU whose kernel is this test: a list of what each KVM_RUN does and returns. After the last, one that
// waits for a kick.
class VcpuThreadTest : public testing::Test {
protected:
    using Run = std::function<int(kvm_run&)>;

    void SetUp() override {
        prepare_kick_signal();
        ASSERT_TRUE(events.open());
        plan.vcpus.resize(2);
        plan.vcpus[1].vcpu = 1;
        plan.vcpus[1].apic_id = 1;
        plan.shape = {.sockets = 1, .dies = 1, .cores = 2, .threads = 1};
        ports.attach(0x5e4, 4, recorder);
        context.vm = &vm;
        context.plan = &plan;
        context.cpuid = &cpuid;
        context.ports = &ports;
        context.mmio = &mmio;
        context.events = &events;
        context.bsp.mode = boot::EntryMode::long_mode;
        context.bsp.rip = 0x10'0040;
        context.bsp.cr3 = 0x12'3000;
    }
    void TearDown() override { EXPECT_TRUE(stop()); }

    int answer(int fd, unsigned long request, unsigned long argument) {
        switch (request) {
        case KVM_GET_API_VERSION:
            return KVM_API_VERSION;
        case KVM_GET_VCPU_MMAP_SIZE:
            return shared_bytes;
        case KVM_CREATE_VM:
            return ::open("/dev/null", O_RDWR | O_CLOEXEC);
        case KVM_CREATE_VCPU: {
            if (create_fails != 0)
                return -create_fails;
            const int page = ::memfd_create("kvm_run", MFD_CLOEXEC);
            return ::ftruncate(page, shared_bytes) == 0 ? page : -errno;
        }
        case kvm::abi::get_cpuid2:
            passed<kvm::abi::CpuidHeader>(argument).count = 0;
            return 0;
        case KVM_GET_SREGS:
            passed<kvm_sregs>(argument) = {};
            passed<kvm_sregs>(argument).apic_base = 0xfee0'0800;
            return 0;
        case KVM_SET_SREGS:
            sregs = passed<kvm_sregs>(argument);
            return 0;
        case KVM_SET_REGS:
            regs = passed<kvm_regs>(argument);
            return 0;
        case kvm::abi::set_msrs: {
            const auto& entry = passed<kvm_msr_entry>(argument + sizeof(kvm::abi::MsrsHeader));
            if (entry.index == refused_msr)
                return 0; // of them were set
            msrs[entry.index] = entry.data;
            set_before_cpuid = set_before_cpuid || !has_cpuid;
            return 1;
        }
        case kvm::abi::get_msrs: {
            auto& entry = passed<kvm_msr_entry>(argument + sizeof(kvm::abi::MsrsHeader));
            entry.data = msrs[entry.index] | added_by_kvm;
            return 1;
        }
        case kvm::abi::set_cpuid2:
            has_cpuid = true;
            return 0;
        case KVM_GET_REGS:
            passed<kvm_regs>(argument) = {};
            passed<kvm_regs>(argument).rip = 0x1234;
            return 0;
        case KVM_GET_MP_STATE:
            passed<kvm_mp_state>(argument).mp_state = KVM_MP_STATE_HALTED;
            return 0;
        case KVM_GET_TSC_KHZ:
            return 2'500'000;
        case KVM_RUN:
            return run(fd);
        case kvm::abi::get_nested_state:
            passed<kvm::abi::NestedStateHeader>(argument) = {
                .flags = KVM_STATE_NESTED_GUEST_MODE, .format = KVM_STATE_NESTED_FORMAT_SVM, .size = 128};
            return 0;
        case kvm::abi::set_nested_state:
            nested_flags.push_back(passed<kvm::abi::NestedStateHeader>(argument).flags);
            return nested_flags.size() == nested_refused ? -EINVAL : 0;
        default:
            return 0;
        }
    }

    int run(int fd) {
        if (!shared)
            shared = static_cast<kvm_run*>(
                ::mmap(nullptr, shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        if (next < runs.size())
            return runs[next++](**shared);
        // As KVM: immediate_exit ends it before it begins, a signal later.
        sigset_t kick;
        sigemptyset(&kick);
        sigaddset(&kick, SIGRTMIN);
        ::pthread_sigmask(SIG_BLOCK, &kick, nullptr);
        if (__atomic_load_n(&(*shared)->immediate_exit, __ATOMIC_ACQUIRE) == 0) {
            in_guest = true;
            const timespec patience{20, 0};
            ::sigtimedwait(&kick, nullptr, &patience);
        }
        ::pthread_sigmask(SIG_UNBLOCK, &kick, nullptr);
        return -EINTR;
    }

    // Up to its first KVM_RUN.
    void start(std::uint32_t vcpu = 0) {
        thread.emplace(context, vcpu);
        ASSERT_TRUE(thread->start());
        ASSERT_EQ(event().kind, VcpuEvent::Kind::ready);
        context.started = 1;
        context.started.notify_all();
    }
    bool stop() {
        if (!thread)
            return true;
        context.stop = true;
        context.stop.notify_all();
        std::uint32_t not_started = 0;
        context.started.compare_exchange_strong(not_started, 2);
        context.started.notify_all();
        thread->kick();
        timespec deadline{};
        ::clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += 15;
        return thread->join(deadline);
    }
    // The next one; a failure where none comes.
    VcpuEvent event() {
        while (pending.empty()) {
            pollfd one{.fd = events.fd(), .events = POLLIN, .revents = 0};
            if (::poll(&one, 1, 15'000) != 1) {
                ADD_FAILURE() << "no event came";
                return {.vcpu = ~0U, .kind = VcpuEvent::Kind::failed, .error = {}, .exit_reason = {}};
            }
            pending = events.take_all();
        }
        auto first = std::move(pending.front());
        pending.erase(pending.begin());
        return first;
    }
    // Runs what `runs` has and returns how it went on: died with an error, or none where it runs on.
    std::optional<Error> ended() {
        runs.push_back([this](kvm_run&) {
            events.push(
                {.vcpu = 77, .kind = VcpuEvent::Kind::ready, .error = {}, .exit_reason = {}}); // got this far
            return -EINTR;
        });
        start();
        const auto first = event();
        return first.kind == VcpuEvent::Kind::died ? std::optional{first.error} : std::nullopt;
    }

    static Run io(std::uint8_t direction, std::uint16_t port, std::uint8_t size, std::uint32_t count,
                  std::uint64_t offset) {
        return [=](kvm_run& shared_page) {
            shared_page.exit_reason = KVM_EXIT_IO;
            shared_page.io.direction = direction;
            shared_page.io.port = port;
            shared_page.io.size = size;
            shared_page.io.count = count;
            shared_page.io.data_offset = offset;
            return 0;
        };
    }
    static Run exit_with(std::uint32_t reason) {
        return [=](kvm_run& shared_page) {
            shared_page.exit_reason = reason;
            return 0;
        };
    }

    FakeIoctl fake{[this](int fd, unsigned long request, unsigned long argument) {
        return answer(fd, request, argument);
    }};
    kvm::Vm vm = std::move(*kvm::Kvm::open("/dev/null")->create_vm());
    topology::Plan plan;
    core::cpu::Table cpuid;
    Recorder recorder;
    device::PortBus ports;
    device::MmioBus mmio;
    supervise::EventQueue<VcpuEvent> events;
    VcpuContext context;
    std::vector<VcpuEvent> pending;

    std::vector<Run> runs;
    std::size_t next = 0;
    int create_fails = 0;
    std::map<std::uint32_t, std::uint64_t> msrs;
    std::uint32_t refused_msr = 0;
    std::uint64_t added_by_kvm = 0;
    std::vector<std::uint16_t> nested_flags; // of each KVM_SET_NESTED_STATE
    std::size_t nested_refused = 0;          // the how-manieth of them, from 1
    bool has_cpuid = false;
    bool set_before_cpuid = false;
    std::optional<kvm_run*> shared;
    kvm_sregs sregs{};
    kvm_regs regs{};
    std::atomic<bool> in_guest{false};
    std::optional<VcpuThread> thread;
};

TEST_F(VcpuThreadTest, TheBspStartsIn64BitModeWithItsX2apicOn) {
    start();
    ASSERT_TRUE(stop());
    EXPECT_EQ(regs.rip, 0x10'0040U);
    EXPECT_EQ(regs.rflags, 2U) << "interrupts off";
    EXPECT_EQ(sregs.cr3, 0x12'3000U);
    EXPECT_EQ(sregs.efer & 0x500, 0x500U) << "LMA and LME";
    EXPECT_EQ(sregs.cr0 & 0x8000'0001, 0x8000'0001U) << "PG and PE";
    EXPECT_EQ(sregs.cr4 & 0x20, 0x20U) << "PAE";
    EXPECT_EQ(sregs.cs.l, 1);
    EXPECT_EQ(sregs.apic_base, 0xfee0'0c00U);
    EXPECT_EQ(thread->tsc_khz(), 2'500'000U);
}

TEST_F(VcpuThreadTest, AnApWaitsForItsSipiWithItsX2apicOn) {
    start(1);
    ASSERT_TRUE(stop());
    EXPECT_EQ(regs.rip, 0U) << "left as KVM made it";
    EXPECT_EQ(sregs.efer, 0U);
    EXPECT_EQ(sregs.apic_base, 0xfee0'0c00U);
    EXPECT_EQ(thread->tsc_khz(), 0U);
}

TEST_F(VcpuThreadTest, AVcpuThatCannotBeMadeSaysWhy) {
    create_fails = EMFILE;
    thread.emplace(context, 1);
    ASSERT_TRUE(thread->start());
    const auto failed = event();
    EXPECT_EQ(failed.kind, VcpuEvent::Kind::failed);
    EXPECT_EQ(failed.vcpu, 1U);
    EXPECT_THAT(failed.error.message(), HasSubstr("EMFILE"));
    ASSERT_TRUE(stop());
}

TEST_F(VcpuThreadTest, MsrsAreWrittenOnceThereIsCpuid) {
    context.msrs = {{.name = "IA32_FEATURE_CONTROL", .index = 0x3a, .value = 0x5},
                    {.name = "IA32_OTHER", .index = 0x77, .value = 1}};
    context.capabilities = {{0x48b, 0x12}, {0x48c, 0x34}};
    refused_msr = 0x77;
    start(1);
    ASSERT_TRUE(stop());
    EXPECT_THAT(
        msrs, ElementsAre(testing::Pair(0x3a, 0x5), testing::Pair(0x48b, 0x12), testing::Pair(0x48c, 0x34)));
    EXPECT_FALSE(set_before_cpuid) << "KVM knows no VMX of a vCPU before";
    EXPECT_THAT(thread->refused_msrs(), ElementsAre("IA32_OTHER (0x77) = 0x1")) << "and no harm done";
}

TEST_F(VcpuThreadTest, ACapabilityThatKvmRefusesIsFatal) {
    context.capabilities = {{0x48b, 0x12}};
    refused_msr = 0x48b;
    thread.emplace(context, 1);
    ASSERT_TRUE(thread->start());
    const auto failed = event();
    EXPECT_EQ(failed.kind, VcpuEvent::Kind::failed);
    EXPECT_EQ(failed.error.kind, ErrorKind::host_lacks);
    EXPECT_THAT(failed.error.message(), HasSubstr("MSR 0x48b = 0x12"));
    ASSERT_TRUE(stop());
}

TEST_F(VcpuThreadTest, ACapabilityThatReadsBackOtherwiseIsFatal) {
    context.capabilities = {{0x48b, 0x12}};
    added_by_kvm = 0x100;
    thread.emplace(context, 1);
    ASSERT_TRUE(thread->start());
    const auto failed = event();
    EXPECT_EQ(failed.kind, VcpuEvent::Kind::failed);
    EXPECT_EQ(failed.error.kind, ErrorKind::host_lacks);
    EXPECT_THAT(failed.error.message(), HasSubstr("MSR 0x48b reads 0x112 after 0x12 was written"));
    ASSERT_TRUE(stop());
}

TEST_F(VcpuThreadTest, AnOutTakesTheStateAwayAndGivesItBack) {
    context.state =
        StateLayout{.msrs = {0x174, 0xc000'0081}, .nested_bytes = 128, .xsave_bytes = 4096, .sregs2 = false};
    msrs = {{0x174, 0x10}, {0xc000'0081, 0x1234}};
    bool completed = false;
    runs = {io(KVM_EXIT_IO_OUT, wire::reload_port, 4, 1, 4096),
            [&](kvm_run& page) {
                completed = page.immediate_exit == 1 && nested_flags.empty();
                return -EINTR;
            },
            [&](kvm_run& page) {
                completed = completed && page.immediate_exit == 0;
                return -EINTR;
            }};
    EXPECT_FALSE(ended());
    ASSERT_TRUE(stop());
    EXPECT_TRUE(completed) << "the OUT, before anything is read, and then the guest goes on";
    EXPECT_THAT(nested_flags, ElementsAre(KVM_STATE_NESTED_GIF_SET, KVM_STATE_NESTED_GUEST_MODE));
    EXPECT_EQ(regs.rip, 0x1234U) << "as it was read";
    EXPECT_EQ(msrs[0x174], 0x10U);
    EXPECT_EQ(msrs[0xc000'0081], 0x1234U);
    EXPECT_EQ(msrs[0xc000'0082], 0U) << "not in the list, so forgotten";
}

TEST_F(VcpuThreadTest, NestedStateThatKvmDoesNotTakeBackIsAFinding) {
    context.state = StateLayout{.msrs = {}, .nested_bytes = 128, .xsave_bytes = 4096, .sregs2 = false};
    nested_refused = 2;
    runs = {io(KVM_EXIT_IO_OUT, wire::reload_port, 4, 1, 4096), [](kvm_run&) { return -EINTR; }};
    const auto error = ended();
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind, ErrorKind::check_failed);
    EXPECT_THAT(error->message(), HasSubstr("KVM_SET_NESTED_STATE"));
    EXPECT_THAT(error->message(), HasSubstr("EINVAL"));
}

TEST_F(VcpuThreadTest, WithoutNestedStateTheGuestIsToldSo) {
    std::uint32_t answer = ~0U;
    runs = {io(KVM_EXIT_IO_OUT, wire::reload_port, 4, 1, 4096),
            io(KVM_EXIT_IO_IN, wire::reload_port, 4, 1, 4096), [&](kvm_run& page) {
                std::memcpy(&answer, reinterpret_cast<std::byte*>(&page) + 4096, sizeof answer);
                return -EINTR;
            }};
    EXPECT_FALSE(ended());
    EXPECT_EQ(answer, 0U);
    EXPECT_TRUE(nested_flags.empty());
}

TEST_F(VcpuThreadTest, AKickEndsAHaltByImmediateExitAndSignal) {
    start();
    for (int i = 0; i < 15'000 && !in_guest; ++i)
        ::poll(nullptr, 0, 1);
    ASSERT_TRUE(in_guest);
    ASSERT_TRUE(stop());
    EXPECT_EQ((*shared)->immediate_exit, 1) << "for a kick that comes before KVM_RUN";
    EXPECT_EQ(event().kind, VcpuEvent::Kind::stopped);
    EXPECT_FALSE(thread->snapshot()) << "nobody wanted one";
}

TEST_F(VcpuThreadTest, AKickAfterItsEndHarmsNothing) {
    start();
    context.stop = true;
    context.stop.notify_all();
    thread->kick();
    const auto task = "/proc/self/task/" + std::to_string(thread->tid());
    for (int i = 0; i < 15'000 && ::access(task.c_str(), F_OK) == 0; ++i)
        ::poll(nullptr, 0, 1);
    ASSERT_NE(::access(task.c_str(), F_OK), 0);
    thread->kick(); // its shared page is unmapped
    ASSERT_TRUE(stop());
}

TEST_F(VcpuThreadTest, NeverStartedItLeavesWithoutRunning) {
    thread.emplace(context, 0);
    ASSERT_TRUE(thread->start());
    ASSERT_EQ(event().kind, VcpuEvent::Kind::ready);
    ASSERT_TRUE(stop());
    EXPECT_FALSE(shared) << "no KVM_RUN";
}

TEST_F(VcpuThreadTest, PortsGetWholeAccesses) {
    runs = {io(KVM_EXIT_IO_OUT, 0x5e4, 4, 1, 4096), io(KVM_EXIT_IO_OUT, 0x5e4, 2, 8, shared_bytes - 16),
            io(KVM_EXIT_IO_IN, 0x5e4, 1, 1, 8192)};
    EXPECT_FALSE(ended());
    EXPECT_THAT(recorder.bytes, ElementsAre(4, 16, 1));
    EXPECT_EQ(recorder.values.size(), 2U) << "what the guest wrote";
    EXPECT_EQ(reinterpret_cast<std::byte*>(*shared)[4096], std::byte{0});
    EXPECT_EQ(reinterpret_cast<std::byte*>(*shared)[8192], std::byte{0x42}) << "what the guest reads";
}

TEST_F(VcpuThreadTest, IoDataOutsideTheSharedPageIsNotTouched) {
    struct Case {
        std::uint8_t size;
        std::uint32_t count;
        std::uint64_t offset;
    };
    for (const auto& [size, count, offset] :
         {Case{1, 1, shared_bytes}, Case{4, 1, shared_bytes - 3}, Case{1, 4097, shared_bytes - 4096},
          Case{4, 0x4000'0000, 4096}, Case{1, 1, ~std::uint64_t{0}}}) {
        SCOPED_TRACE(offset);
        runs = {io(KVM_EXIT_IO_IN, 0x5e4, size, count, offset)};
        next = 0;
        const auto died = ended();
        ASSERT_TRUE(died);
        EXPECT_EQ(died->kind, ErrorKind::check_failed);
        EXPECT_THAT(died->message(), HasSubstr("outside the shared page"));
        ASSERT_TRUE(stop());
        EXPECT_TRUE(recorder.bytes.empty());
        pending.clear();
        [[maybe_unused]] const auto old = events.take_all();
        context.started = 0;
        context.stop = false;
        shared.reset();
        thread.reset();
    }
}

TEST_F(VcpuThreadTest, NobodyLivesInMmio) {
    std::array<std::uint8_t, 8> read{};
    std::array<std::uint8_t, 8> written{};
    runs = {[](kvm_run& page) {
                page.exit_reason = KVM_EXIT_MMIO;
                page.mmio.is_write = 0;
                page.mmio.len = 8;
                return 0;
            },
            [&](kvm_run& page) {
                std::ranges::copy(page.mmio.data, read.begin());
                page.mmio.is_write = 1;
                std::ranges::fill(page.mmio.data, std::uint8_t{0x11});
                return 0;
            },
            [&](kvm_run& page) {
                std::ranges::copy(page.mmio.data, written.begin());
                return -EINTR;
            }};
    EXPECT_FALSE(ended());
    EXPECT_THAT(read, testing::Each(0xff));
    EXPECT_THAT(written, testing::Each(0x11));
}

TEST_F(VcpuThreadTest, InterruptedAndJustStartedVcpusAreRunAgain) {
    runs = {[](kvm_run&) { return -EINTR; }, [](kvm_run&) { return -EAGAIN; }, exit_with(KVM_EXIT_INTR)};
    EXPECT_FALSE(ended());
}

TEST_F(VcpuThreadTest, ARunThatFailsKillsIt) {
    runs = {exit_with(KVM_EXIT_INTR), [](kvm_run&) { return -EFAULT; }};
    const auto died = ended();
    ASSERT_TRUE(died);
    EXPECT_EQ(died->kind, ErrorKind::check_failed);
    EXPECT_THAT(died->message(), testing::AllOf(HasSubstr("KVM_RUN of vCPU 0"), HasSubstr("EFAULT")));
}

TEST_F(VcpuThreadTest, ADeadVcpuIsSnapshotWithItsLastExitsOldestFirst) {
    for (std::uint16_t port = 0; port < 11; ++port)
        runs.push_back(io(KVM_EXIT_IO_OUT, port, 1, 1, 4096));
    runs.push_back(exit_with(KVM_EXIT_SHUTDOWN));
    const auto died = ended();
    ASSERT_TRUE(died);
    EXPECT_THAT(died->message(), HasSubstr("triple fault"));
    ::poll(nullptr, 0, 20); // it stays as it is for as long as nobody stops the machine
    context.want_snapshots = true;
    ASSERT_TRUE(stop());
    const auto& snapshot = thread->snapshot();
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(snapshot->mp_state, static_cast<std::uint32_t>(KVM_MP_STATE_HALTED));
    EXPECT_EQ(snapshot->regs.rip, 0x1234U);
    std::vector<std::uint32_t> details;
    for (const auto& exit : snapshot->last_exits)
        details.push_back(exit.detail);
    EXPECT_THAT(details, ElementsAre(4, 5, 6, 7, 8, 9, 10, 0));
    EXPECT_EQ(snapshot->last_exits.back().reason, static_cast<std::uint32_t>(KVM_EXIT_SHUTDOWN));
}

} // namespace
} // namespace nestbed::machine
