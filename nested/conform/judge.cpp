#include "nested/conform/judge.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <linux/kvm.h>

#include "base/printable.hpp"
#include "nested/svm/vmcb_text.hpp"
#include "nested/vmx/vmcs_text.hpp"
#include "nested/wire/vmcs_image.hpp"

namespace nestbed::conform {

namespace {

using nested::wire::Ending;
using nested::wire::Failure;
using nested::wire::Report;
using report::Verdict;

// The guest's text: ended by a zero or by the field.
template<std::size_t N>
std::string clean(const char (&text)[N]) {
    return printable({&text[0], ::strnlen(&text[0], N)});
}

std::string describe(const Failure& failure) {
    const auto place = fmt::format(" ({}:{})", clean(failure.file), failure.line);
    if (failure.has_values == 0)
        return clean(failure.text) + place;
    return fmt::format("{}: expected {:#x}, saw {:#x}{}", clean(failure.text), failure.expected, failure.seen,
                       place);
}

std::vector<std::string> describe(const nested::wire::Registers& r) {
    return {
        fmt::format("  RAX {:016x}  RBX {:016x}  RCX {:016x}  RDX {:016x}", r.rax, r.rbx, r.rcx, r.rdx),
        fmt::format("  RSI {:016x}  RDI {:016x}  RBP {:016x}  RSP {:016x}", r.rsi, r.rdi, r.rbp, r.rsp),
        fmt::format("  R8  {:016x}  R9  {:016x}  R10 {:016x}  R11 {:016x}", r.r8, r.r9, r.r10, r.r11),
        fmt::format("  R12 {:016x}  R13 {:016x}  R14 {:016x}  R15 {:016x}", r.r12, r.r13, r.r14, r.r15),
        fmt::format("  RIP {:016x}  RFLAGS {:08x}  CR0 {:08x}  CR2 {:016x}", r.rip, r.rflags, r.cr0, r.cr2),
        fmt::format("  CR3 {:016x}  CR4 {:08x}  EFER {:08x}", r.cr3, r.cr4, r.efer)};
}

void append(std::vector<std::string>& to, std::vector<std::string> lines, std::string_view indent = "") {
    for (auto& line : lines)
        to.push_back(fmt::format("{}{}", indent, line));
}

svm::VmcbBytes bytes_of(const std::uint8_t (&page)[4096]) {
    svm::VmcbBytes bytes;
    std::memcpy(bytes.data(), page, sizeof page);
    return bytes;
}

std::string entry_text(const Report& report) {
    return report.in_l2 != 0 && report.frozen == 0 ? "the exit before (L2 has not come back)"
                                                   : fmt::format("exit {}", report.runs);
}

void describe_vmcb(report::CheckResult& result, const Report& report, std::size_t vcpu) {
    const auto written = bytes_of(report.written);
    const auto after = bytes_of(report.after);
    result.details.push_back(
        fmt::format("vCPU {}: VMCB as L1 wrote it -> after {}", vcpu, entry_text(report)));
    append(result.details, svm::describe_vmcbs(written, after), "  ");
    auto fields = nlohmann::json::object();
    for (const auto& field : svm::vmcb_fields()) {
        const auto before = svm::read_field(written, field);
        const auto now = svm::read_field(after, field);
        if (before != 0 || now != 0)
            fields[std::string{field.name}] = {fmt::format("{:#x}", before), fmt::format("{:#x}", now)};
    }
    result.facts["vmcb"] = std::move(fields);
}

// Up to the first entry that is not there.
std::vector<vmx::FieldValue> fields_of(const std::uint8_t (&page)[4096]) {
    nested::wire::VmcsImage image;
    std::memcpy(&image, page, sizeof image);
    std::vector<vmx::FieldValue> fields;
    for (const auto& entry : image.entries) {
        if (entry.present == 0)
            break;
        fields.push_back({entry.encoding, entry.value});
    }
    return fields;
}

void describe_vmcs(report::CheckResult& result, const Report& report, std::size_t vcpu) {
    const auto after = fields_of(report.after);
    auto written = fields_of(report.written);
    auto facts = nlohmann::json::object();
    for (const auto& field : after)
        facts[vmx::field_text(field.encoding)] = fmt::format("{:#x}", field.value);
    result.facts["vmcs"] = std::move(facts);
    if (!after.empty()) {
        result.details.push_back(fmt::format("vCPU {}: VMCS after {}", vcpu, entry_text(report)));
        append(result.details, vmx::describe_vmcs(after), "  ");
    }
    // What is still as it was written stands above.
    std::erase_if(written, [&](const vmx::FieldValue& field) {
        const auto now = std::ranges::find(after, field.encoding, &vmx::FieldValue::encoding);
        return now != after.end() && now->value == field.value;
    });
    if (!written.empty()) {
        result.details.push_back(fmt::format("vCPU {}: where L1 had written something else", vcpu));
        append(result.details, vmx::describe_vmcs(written), "  ");
    }
}

// What L1 had of its guest: at the first failure, or at the last entry.
void describe_l2(report::CheckResult& result, const Report& report, std::size_t vcpu) {
    if (report.runs == 0)
        return;
    if (extension_of(result.name) == "vmx")
        describe_vmcs(result, report, vcpu);
    else
        describe_vmcb(result, report, vcpu);
    result.details.push_back(fmt::format("vCPU {}: L2's registers after that exit", vcpu));
    append(result.details, describe(report.l2));
}

// The counters are the guest's: a sum that wrapped around would make a failure a pass.
std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) {
    return b > ~a ? ~std::uint64_t{0} : a + b;
}

struct Totals {
    std::uint64_t checks = 0;
    std::uint64_t failures = 0;
    std::size_t begun = 0;
    std::size_t ready = 0;
};

Totals add_up(std::span<const Report> reports) {
    Totals totals;
    for (const auto& report : reports) {
        totals.checks = saturating_sum(totals.checks, report.checks);
        totals.failures = saturating_sum(totals.failures, report.failures);
        totals.begun += report.begun != 0 ? 1 : 0;
        totals.ready += report.ready != 0 ? 1 : 0;
    }
    return totals;
}

// The verdict and its one line, before any detail.
std::pair<Verdict, std::string> verdict_of(const Case& test, const Outcome& outcome, const Totals& totals) {
    const bool shut_down = outcome.fatal_exit == KVM_EXIT_SHUTDOWN;
    if (totals.failures > 0)
        return {Verdict::fail, {}};
    if (test.ending == Ending::shutdown) {
        if (shut_down && totals.ready > 0)
            return {Verdict::pass, "the vCPU shut down, as it must"};
        if (!outcome.error)
            return {Verdict::fail, "expected the vCPU to shut down; it went on"};
    }
    if (test.ending == Ending::stopped && outcome.stopped)
        return {Verdict::pass, "stopped while L2 ran"};
    if (outcome.error && outcome.error->kind == ErrorKind::deadline)
        return {Verdict::hang, outcome.error->message()};
    if (outcome.error)
        return {Verdict::crash, outcome.error->message()};
    if (totals.checks == 0)
        return {Verdict::fail, "the test came to its end without judging anything"};
    return {Verdict::pass, fmt::format("{} expectations met", totals.checks)};
}

} // namespace

report::CheckResult judge(const Case& test, const Outcome& outcome, std::span<const Report> reports) {
    report::CheckResult result;
    result.name = test.name;
    result.title = test.title;
    result.reference = test.reference;
    const auto totals = add_up(reports);
    // What failed before a test found that it does not apply has failed.
    if (!outcome.error && !outcome.fatal_exit && totals.failures == 0)
        for (const auto& report : reports)
            if (auto reason = clean(report.not_applicable); !reason.empty()) {
                result.verdict = Verdict::not_applicable;
                result.reason = std::move(reason);
                return result;
            }
    std::tie(result.verdict, result.summary) = verdict_of(test, outcome, totals);
    result.facts["checks"] = totals.checks;
    if (result.verdict == Verdict::pass)
        return result;

    if (totals.begun < reports.size())
        result.details.push_back(
            fmt::format("the test began on {} of {} vCPUs", totals.begun, reports.size()));
    bool described = false;
    for (std::size_t vcpu = 0; vcpu < reports.size(); ++vcpu) {
        const auto& report = reports[vcpu];
        const auto kept = std::min<std::uint64_t>(report.failures, nested::wire::most_failures);
        for (std::uint64_t i = 0; i < kept; ++i) {
            auto line = describe(report.failure[i]);
            if (result.summary.empty())
                result.summary = line;
            result.details.push_back(reports.size() > 1 ? fmt::format("vCPU {}: {}", vcpu, line)
                                                        : std::move(line));
        }
        if (report.failures > kept)
            result.details.push_back(fmt::format("and {} more", report.failures - kept));
    }
    if (result.summary.empty())
        result.summary = fmt::format("{} expectations not met", totals.failures);
    result.details.push_back("held to: " + test.reference);
    for (std::size_t vcpu = 0; vcpu < reports.size(); ++vcpu) {
        // One VMCB is enough to look at: the first that failed, or where none did, the first that ran L2.
        const auto& report = reports[vcpu];
        if (described || (totals.failures > 0 ? report.failures == 0 : report.runs == 0))
            continue;
        described = true;
        describe_l2(result, report, vcpu);
        if (report.frozen != 0) {
            result.details.push_back(fmt::format("vCPU {}: L1's registers where that was seen", vcpu));
            append(result.details, describe(report.l1));
        }
    }
    append(result.details, outcome.diagnosis);
    return result;
}

} // namespace nestbed::conform
