#include "nested/conform/kernel_log.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

#include <fcntl.h>
#include <unistd.h>

#include "base/printable.hpp"

namespace nestbed::conform {

namespace {

// A record of /dev/kmsg fits (PRINTKRB_RECORD_MAX, CONSOLE_EXT_LOG_MAX).
constexpr std::size_t longest_record = 8192;
constexpr std::size_t most_lines = 60;
constexpr std::size_t longest_line = 200;

// How the kernel begins them: lib/bug.c, kernel/panic.c, arch/x86/mm, mm/kasan, lib/ubsan.c.
constexpr std::array<std::string_view, 8> beginnings{"WARNING: ",
                                                     "BUG: ",
                                                     "kernel BUG at ",
                                                     "Oops: ",
                                                     "general protection fault",
                                                     "unchecked MSR access error",
                                                     "UBSAN: ",
                                                     "list_add corruption"};
constexpr std::string_view end_of_trace = "---[ end trace ";

bool begins_complaint(std::string_view text) {
    return std::ranges::any_of(beginnings, [&](auto beginning) { return text.starts_with(beginning); });
}

} // namespace

std::vector<std::string> complaints_in(std::string_view records) {
    std::vector<std::string> lines;
    std::size_t left = 0; // of this complaint's lines
    while (!records.empty()) {
        const auto end = std::min(records.find('\n'), records.size());
        auto text = records.substr(0, end);
        records.remove_prefix(std::min(end + 1, records.size()));
        // "priority,number,time,flags;text", then the record's properties, each behind a space.
        const auto head = text.find(';');
        if (text.starts_with(' ') || head == std::string_view::npos)
            continue;
        text.remove_prefix(head + 1);
        if (begins_complaint(text))
            left = most_lines;
        if (left == 0)
            continue;
        lines.push_back(printable(text.substr(0, longest_line)));
        left = text.starts_with(end_of_trace) ? 0 : left - 1;
    }
    return lines;
}

KernelLog KernelLog::from_now(const std::string& path) {
    KernelLog log;
    log._log = Fd{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    if (log._log)
        ::lseek(log._log.get(), 0, SEEK_END);
    return log;
}

std::vector<std::string> KernelLog::complaints() {
    std::string records;
    std::array<char, longest_record> record{};
    while (_log) {
        const auto got = ::read(_log.get(), record.data(), record.size());
        if (got > 0)
            records.append(record.data(), static_cast<std::size_t>(got));
        else if (got == 0 || (errno != EPIPE && errno != EINTR)) // EPIPE: some were overwritten before this
            break;
    }
    return complaints_in(records);
}

void add_complaints(report::CheckResult& result, const std::vector<std::string>& lines) {
    using report::Verdict;
    if (lines.empty())
        return;
    if (result.verdict == Verdict::pass || result.verdict == Verdict::not_applicable) {
        result.verdict = Verdict::fail;
        result.reason.clear();
        result.summary = "the host's kernel complained: " + lines.front();
    }
    result.details.emplace_back("the host's kernel, while the test ran:");
    for (const auto& line : lines)
        result.details.push_back("  " + line);
}

} // namespace nestbed::conform
