// What the drivers of L2 guests need to know of the extension that the guest is shown.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "core/cpu/table.hpp"
#include "stress/driver.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

struct L2Vendor {
    std::string_view suffix;                                   // of the jobs' names: "svm"
    std::array<std::string_view, wire::l2_exits::kinds> kinds; // of exits, as the manual has them: "vmmcall"
    std::string (*exit_text)(std::uint64_t code);              // EXITCODE or exit reason in words
};

// By the CPUID table that the guest is given; null where it shows neither SVM nor VMX.
[[nodiscard]] const L2Vendor* l2_vendor(const core::cpu::Table& table);
inline constexpr std::string_view no_l2_vendor = "the guest is shown neither SVM nor VMX";

// Memory that L2 guests take, in pages: nested page tables that map 4 GiB and all of the guest's memory in 2
// MiB pages, once; each vCPU's report and L1's own pages; and each L2's context, control structure,
// permission maps, own tables and page.
[[nodiscard]] std::uint64_t l2_shared_pages(std::uint64_t guest_memory_bytes);
[[nodiscard]] std::uint64_t l2_pages_per_vcpu();
inline constexpr std::uint64_t l2_pages_per_guest = 28;

// Builds what all L2 guests of the machine share. `free` is the GPA that nested jobs take as their first
// argument, the same for all of one machine. True where they run on nested page tables. Errors: as run_job().
[[nodiscard]] Result<bool> prepare_l2(const DriverContext& context, const L2Vendor& vendor,
                                      std::uint64_t free);

// The name of a job for this vendor: "nested.l2_swarm" with its suffix.
[[nodiscard]] std::string l2_job(std::string_view name, const L2Vendor& vendor);

} // namespace nestbed::stress
