#include "stress/drivers/died.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>

#include <fmt/format.h>

namespace nestbed::stress {

namespace {

constexpr std::size_t most_stacks = 16;
constexpr std::size_t most_stack_lines = 32;

// "vCPU 12 (APIC id ..." or "vCPU 12: ..."
std::optional<std::uint32_t> vcpu_of(std::string_view line) {
    constexpr std::string_view word = "vCPU ";
    if (!line.starts_with(word))
        return {};
    line.remove_prefix(word.size());
    std::uint32_t vcpu = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), vcpu);
    if (error != std::errc{} || end == line.data() + line.size() || (*end != ':' && *end != ' '))
        return {};
    return vcpu;
}

std::vector<std::string> kernel_stack(pid_t tid) {
    std::ifstream file{fmt::format("/proc/self/task/{}/stack", tid)};
    std::vector<std::string> lines;
    for (std::string line; lines.size() < most_stack_lines && std::getline(file, line);)
        lines.push_back(std::move(line));
    return lines;
}

std::vector<KernelStack> stacks_of(const machine::Machine& machine) {
    std::vector<KernelStack> stacks;
    const auto& threads = machine.chassis().threads();
    for (const auto vcpu : machine.suspects()) {
        if (stacks.size() == most_stacks || vcpu >= threads.size())
            break;
        stacks.emplace_back(vcpu, kernel_stack(threads[vcpu]->tid()));
    }
    return stacks;
}

} // namespace

Diagnosis sort_diagnosis(const std::vector<std::string>& lines, const std::vector<KernelStack>& stacks) {
    Diagnosis diagnosis;
    auto& stuck = diagnosis.stuck;
    const auto entry = [&](std::uint32_t vcpu) -> report::StuckVcpu& {
        const auto found = std::ranges::find(stuck, vcpu, &report::StuckVcpu::vcpu);
        return found != stuck.end() ? *found : stuck.emplace_back(report::StuckVcpu{vcpu, {}});
    };
    std::optional<std::uint32_t> last;
    for (const auto& line : lines) {
        if (const auto vcpu = vcpu_of(line))
            last = vcpu;
        else if (!line.starts_with("  ")) // a continuation is indented
            last.reset();
        if (last)
            entry(*last).lines.push_back(line);
        else
            diagnosis.rest.push_back(line);
    }
    for (const auto& [vcpu, stack] : stacks)
        for (const auto& line : stack)
            entry(vcpu).lines.push_back("  kernel: " + line);
    return diagnosis;
}

Counted died(machine::Machine& machine, const Error& error) {
    const auto stacks = stacks_of(machine); // the threads leave the kernel in diagnose()
    auto diagnosis = sort_diagnosis(machine.diagnose(), stacks);
    return {.verdict = error.kind == ErrorKind::deadline ? report::Verdict::hang : report::Verdict::crash,
            .summary = error.message(),
            .details = std::move(diagnosis.rest),
            .stuck = std::move(diagnosis.stuck)};
}

bool is_death(const Error& error) {
    return error.kind == ErrorKind::deadline || error.kind == ErrorKind::check_failed;
}

} // namespace nestbed::stress
