#include "core/machine/guest_text.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "base/ranges.hpp"
#include "core/machine/exit_text.hpp"

namespace nestbed::machine {

namespace {

constexpr std::size_t most_list_characters = 72;

// SDM volume 3, table 6-1.
constexpr std::array<std::string_view, 22> exception_names{
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",   "#TS",
    "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};

// The vectors whose bits are set in one of the local APIC's 256-bit registers: 32 bits at every 16 bytes (SDM
// volume 3, 10.8.4).
std::string vectors_at(const kvm_lapic_state& lapic, std::size_t offset) {
    std::vector<std::uint32_t> vectors;
    for (std::uint32_t vector = 0; vector < 256; ++vector) {
        std::uint32_t word = 0;
        std::memcpy(&word, lapic.regs + offset + vector / 32 * 16, sizeof word);
        if ((word >> vector % 32 & 1) != 0)
            vectors.push_back(vector);
    }
    return vectors.empty() ? "none" : format_ranges_within(vectors, most_list_characters);
}

// What is on its way to the vCPU: the answer to why it sleeps, or does not.
std::string describe_events(const VcpuSnapshot& snapshot) {
    constexpr std::size_t in_service = 0x100;
    constexpr std::size_t requested = 0x200;
    const auto& e = snapshot.events;
    auto text = fmt::format("  local APIC: requested {}, in service {}",
                            vectors_at(snapshot.lapic, requested), vectors_at(snapshot.lapic, in_service));
    if (e.exception.injected != 0)
        text += fmt::format("; exception {} on its way", e.exception.nr);
    if (e.interrupt.injected != 0)
        text += fmt::format("; interrupt {} on its way", e.interrupt.nr);
    if (e.interrupt.shadow != 0)
        text += "; in an interrupt shadow";
    if (e.nmi.injected != 0 || e.nmi.pending != 0)
        text += "; NMI on its way";
    if (e.nmi.masked != 0)
        text += "; NMIs masked";
    if (e.smi.pending != 0 || e.smi.smm != 0)
        text += e.smi.smm != 0 ? "; in SMM" : "; SMI on its way";
    if (e.smi.latched_init != 0)
        text += "; INIT latched";
    return text;
}

} // namespace

std::string vcpu_list(const std::vector<std::uint32_t>& vcpus) {
    return (vcpus.size() == 1 ? "vCPU " : "vCPUs ") + format_ranges_within(vcpus, most_list_characters);
}

std::string describe_exception(const wire::ExceptionReport& r) {
    const auto name = r.vector < exception_names.size() ? exception_names[r.vector] : "unknown exception";
    return fmt::format(
        "{} ({}), error code {:#x}, at {:#x}:{:#x}, rflags {:#x}, rsp {:#x}:{:#x}, cr0 {:#x}, cr2 {:#x}, "
        "cr3 {:#x}, cr4 {:#x}, rax {:#x}, rbx {:#x}, rcx {:#x}, rdx {:#x}, rsi {:#x}, rdi {:#x}, rbp "
        "{:#x}, r8 {:#x}, r9 {:#x}, r10 {:#x}, r11 {:#x}, r12 {:#x}, r13 {:#x}, r14 {:#x}, r15 {:#x}",
        name, r.vector, r.error_code, r.cs, r.rip, r.rflags, r.ss, r.rsp, r.cr0, r.cr2, r.cr3, r.cr4, r.rax,
        r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15);
}

std::vector<std::string> describe_snapshot(std::uint32_t vcpu, std::uint32_t apic_id,
                                           const VcpuSnapshot& snapshot) {
    const auto& r = snapshot.regs;
    const auto& s = snapshot.sregs;
    std::vector<std::string> lines;
    lines.push_back(
        fmt::format("vCPU {} (APIC id {}): {}, at {:#x}:{:#x}, rflags {:#x}, rsp {:#x}, cr0 {:#x}, cr3 "
                    "{:#x}, cr4 {:#x}, efer {:#x}",
                    vcpu, apic_id, mp_state_text(snapshot.mp_state), std::uint32_t{s.cs.selector},
                    std::uint64_t{r.rip}, std::uint64_t{r.rflags}, std::uint64_t{r.rsp}, std::uint64_t{s.cr0},
                    std::uint64_t{s.cr3}, std::uint64_t{s.cr4}, std::uint64_t{s.efer}));
    lines.push_back(describe_events(snapshot));
    std::string exits;
    for (const auto& exit : snapshot.last_exits)
        exits += fmt::format("{}{} {:#x}", exits.empty() ? "" : ", ", exit_text(exit.reason), exit.detail);
    lines.push_back(fmt::format("  last exits to user space: {}", exits.empty() ? "none" : exits));
    return lines;
}

std::string record_text(const wire::Record& copy) {
    return printable({copy.text, std::min<std::size_t>(copy.length, wire::record_text_bytes)});
}

} // namespace nestbed::machine
