// What the host's kernel complains of while a test runs: a WARNING, a BUG or a sanitizer's report is a fault
// of KVM's that no guest sees.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "report/run_result.hpp"

namespace nestbed::conform {

class KernelLog {
public:
    // From now on. Where the log may not be read there are no complaints.
    [[nodiscard]] static KernelLog from_now(const std::string& path = "/dev/kmsg");

    // Each with the lines that belong to it, from the log's begin or the last call.
    [[nodiscard]] std::vector<std::string> complaints();

private:
    Fd _log;
};

// The lines of /dev/kmsg's records that belong to a complaint. Stalls and lockups are none: an emulated or
// busy host is slow enough for them by itself.
[[nodiscard]] std::vector<std::string> complaints_in(std::string_view records);

// A test with complaints has not passed, and has them among its details.
void add_complaints(report::CheckResult& result, const std::vector<std::string>& lines);

} // namespace nestbed::conform
