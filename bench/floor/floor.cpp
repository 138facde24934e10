// The least that a program can do to bring N vCPUs up: a VM, one memory slot, a thread per vCPU, KVM_RUN. No
// topology, no placement, no supervision. What nestbed needs beyond this is its own.
//
//   nestbed-floor bringup N     prints "answered" once all N are online
//   nestbed-floor exit COUNT    prints the median TSC ticks of an OUT that reaches user space
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/units.hpp"
#include "core/boot/initial_memory.hpp"
#include "core/kvm/kvm.hpp"
#include "core/machine/process_limits.hpp"
#include "core/wire/mailbox.hpp"
#include "stress/payload.hpp"
#include "stress/wire/jobs.hpp"

namespace {

using namespace nestbed;

template<typename T>
T need(Result<T> result) {
    if (!result) {
        std::fprintf(stderr, "nestbed-floor: %s\n", result.error().message().c_str());
        std::_Exit(exit_code(result.error().kind));
    }
    if constexpr (!std::is_void_v<T>)
        return std::move(*result);
}

topology::Plan flat_plan(std::uint32_t vcpus) {
    topology::Plan plan;
    plan.shape = {.sockets = 1, .dies = 1, .cores = vcpus, .threads = 1};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        plan.vcpus.push_back({.vcpu = vcpu, .apic_id = vcpu, .virtual_node = 0, .pus = {}, .reason = {}});
    plan.nodes.push_back({.virtual_node = 0,
                          .host_node = {},
                          .memory_bytes = boot::default_memory_bytes(vcpus),
                          .reason = {}});
    return plan;
}

class Floor {
public:
    explicit Floor(std::uint32_t vcpus)
        : _plan{flat_plan(vcpus)}, _kvm{need(kvm::Kvm::open())}, _vm{need(_kvm.create_vm())},
          _cpuid{need(_kvm.supported_cpuid())}, _payload{need(stress::embedded_payload())} {
        for (auto& entry : _cpuid)
            if (entry.function == 1)
                entry.ecx |= 1U << 21; // x2APIC
        need(_vm.enable_cap(KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", 24));
        need(_vm.enable_cap(KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API", 3));
        const auto bytes = _plan.memory_bytes();
        _memory = static_cast<std::byte*>(
            ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (static_cast<void*>(_memory) == MAP_FAILED)
            need(Status{fail_errno(ErrorKind::host_lacks, "map the guest's memory")});
        need(_vm.set_memory_region(0, 0, _memory, bytes));
        _doorbell = ::eventfd(0, EFD_CLOEXEC);
        need(_vm.add_pio_eventfd(wire::doorbell_port, 4, _doorbell));
        const auto ram = boot::ram_ranges(_plan.nodes);
        _placement = need(boot::place_guest(_plan, ram, _payload.image.end(), false));
        const auto initial =
            boot::initial_memory(_payload, _plan, _placement, boot::hole_end, false, guessed_tsc_khz);
        _cr3 = initial.cr3;
        for (const auto& piece : initial.pieces)
            std::copy(piece.data.begin(), piece.data.end(), _memory + piece.address);
    }

    // Threads are never joined: the process ends with _Exit().
    void start() {
        for (std::uint32_t vcpu = 0; vcpu < _plan.vcpus.size(); ++vcpu)
            std::thread{[this, vcpu] { run(vcpu); }}.detach();
        while (__atomic_load_n(&header().online, __ATOMIC_ACQUIRE) < _plan.vcpus.size())
            wait_for_doorbell();
    }

    double median_exit_ticks(std::uint64_t count) {
        namespace job = stress::wire::exits;
        header().job.index = need(_payload.job_index("exits.cost"));
        header().job.arguments[job::kind] = job::port_out;
        header().job.arguments[job::iterations] = count;
        header().job.arguments[job::samples] = _placement.scratch.address;
        header().pending = 1;
        auto& mailbox = *reinterpret_cast<wire::Mailbox*>(_memory + _placement.blocks[0]);
        __atomic_store_n(&mailbox.job, std::uint64_t{1}, __ATOMIC_RELEASE);
        need(_vm.signal_msi(0, wire::wake_vector));
        while (__atomic_load_n(&mailbox.jobs_done, __ATOMIC_ACQUIRE) != 1)
            wait_for_doorbell();
        auto* const first = reinterpret_cast<std::uint64_t*>(_memory + _placement.scratch.address);
        std::nth_element(first, first + count / 2, first + count);
        return static_cast<double>(first[count / 2]);
    }

private:
    static constexpr std::uint64_t guessed_tsc_khz = 2'000'000; // only for a pause between two SIPIs

    wire::Header& header() { return *reinterpret_cast<wire::Header*>(_memory + _placement.header.address); }

    void wait_for_doorbell() const {
        std::uint64_t rung = 0;
        [[maybe_unused]] const auto got = ::read(_doorbell, &rung, sizeof rung);
    }

    void run(std::uint32_t vcpu) {
        auto created = need(_vm.create_vcpu(vcpu));
        need(created.set_cpuid(_cpuid));
        auto sregs = need(created.sregs());
        sregs.apic_base |= 0x400; // EXTD: x2APIC mode (SDM volume 3, 11.12.1)
        if (vcpu == 0) {
            kvm_segment code{};
            code.selector = 8;
            code.limit = 0xffff'ffff;
            code.type = 11;
            code.present = code.s = code.l = code.g = 1;
            auto data = code;
            data.selector = 16;
            data.type = 3;
            data.l = 0;
            data.db = 1;
            sregs.cs = code;
            sregs.ds = sregs.es = sregs.ss = data;
            // 64-bit mode, as in the machine's own vCPU (SDM volume 3, 10.8.5).
            sregs.cr0 = 0x8001'0033; // PG, WP, NE, ET, MP, PE
            sregs.cr3 = _cr3;
            sregs.cr4 = 0x20;   // PAE
            sregs.efer = 0xd00; // NXE, LMA, LME
            kvm_regs regs{};
            regs.rip = _payload.entry64;
            regs.rflags = 2;
            need(created.set_regs(regs));
        }
        need(created.set_sregs(sregs));
        // The broadcast goes to vCPUs that exist.
        ++_created;
        if (vcpu == 0)
            while (_created < _plan.vcpus.size())
                std::this_thread::yield();
        for (;;) {
            const int error = created.run();
            if (error != 0 && error != EAGAIN && error != EINTR)
                std::_Exit(1);
            if (error == 0 && created.shared().exit_reason != KVM_EXIT_IO)
                std::_Exit(1);
        }
    }

    topology::Plan _plan;
    kvm::Kvm _kvm;
    kvm::Vm _vm;
    std::vector<kvm_cpuid_entry2> _cpuid;
    boot::Payload _payload;
    boot::GuestPlacement _placement;
    std::byte* _memory = nullptr;
    std::uint64_t _cr3 = 0;
    int _doorbell = -1;
    std::atomic<std::uint32_t> _created{0};
};

} // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc == 3 ? argv[1] : "";
    const auto number = argc == 3 ? std::strtoul(argv[2], nullptr, 10) : 0;
    if ((mode != "bringup" && mode != "exit") || number == 0) {
        std::fprintf(stderr, "usage: nestbed-floor bringup VCPUS | exit COUNT\n");
        return 2;
    }
    need(machine::raise_open_files(number + 128));
    Floor floor{mode == "exit" ? 1U : static_cast<std::uint32_t>(number)};
    floor.start();
    if (mode == "exit")
        std::printf("%.1f\n", floor.median_exit_ticks(number));
    else
        std::puts("answered");
    std::fflush(stdout);
    std::_Exit(0);
}
