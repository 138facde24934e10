#include "nested/svm/features.hpp"

#include <algorithm>
#include <array>

#include "core/cpu/leaves.hpp"

namespace nestbed::svm {

namespace {

constexpr std::array all{
    Feature{"npt", 0, "Nested paging"},
    Feature{"lbrv", 1, "LBR virtualization"},
    Feature{"svm_lock", 2, "SVM lock"},
    Feature{"nrip_save", 3, "Next RIP saved on an exit"},
    Feature{"tsc_scale", 4, "TSC ratio MSR"},
    Feature{"vmcb_clean", 5, "VMCB clean bits"},
    Feature{"flushbyasid", 6, "TLB flush by ASID"},
    Feature{"decodeassists", 7, "Decode assists"},
    Feature{"pmc_virt", 8, "PMC virtualization"},
    Feature{"pausefilter", 10, "PAUSE filter"},
    Feature{"pfthreshold", 12, "PAUSE filter threshold"},
    Feature{"avic", 13, "Advanced virtual interrupt controller"},
    Feature{"v_vmsave_vmload", 15, "Virtual VMSAVE and VMLOAD"},
    Feature{"vgif", 16, "Virtual GIF"},
    Feature{"gmet", 17, "Guest mode execute trap"},
    Feature{"x2avic", 18, "x2APIC AVIC"},
    Feature{"sss_check", 19, "Supervisor shadow stack restrictions"},
    Feature{"v_spec_ctrl", 20, "Virtual SPEC_CTRL"},
    Feature{"rogpt", 21, "Read-only guest page tables"},
    Feature{"host_mce_override", 23, "Host MCE override"},
    Feature{"tlbi_ctl", 24, "INVLPGB and TLBSYNC in guests"},
    Feature{"vnmi", 25, "Virtual NMI"},
    Feature{"ibs_virt", 26, "IBS virtualization"},
    Feature{"ext_lvt_off", 27, "Extended LVT offset fault"},
    Feature{"svme_addr_chk", 28, "VMRUN and VMLOAD check of addresses"},
    Feature{"bus_lock_threshold", 29, "Bus lock threshold"},
    Feature{"idle_hlt", 30, "Idle HLT intercept"},
};

} // namespace

std::span<const Feature> features() {
    return all;
}

const Feature* find_feature(std::string_view name) {
    const auto* const found = std::ranges::find(all, name, &Feature::name);
    return found == all.end() ? nullptr : found;
}

Numbers shown_numbers(const core::cpu::Table& table) {
    namespace cpu = core::cpu;
    const auto* const leaf = cpu::find(table, cpu::leaf::svm);
    if (shown_features(table).empty() || leaf == nullptr)
        return {};
    return {.revision = leaf->eax & 0xff, .asids = leaf->ebx};
}

std::vector<std::string_view> shown_features(const core::cpu::Table& table) {
    namespace cpu = core::cpu;
    std::vector<std::string_view> shown;
    const auto* const extended = cpu::find(table, cpu::leaf::extended_features);
    if (extended == nullptr || (extended->ecx >> cpu::feature::svm & 1) == 0)
        return shown;
    shown.push_back("svm");
    if (const auto* const leaf = cpu::find(table, cpu::leaf::svm))
        for (const auto& feature : all)
            if ((leaf->edx >> feature.bit & 1) != 0)
                shown.push_back(feature.name);
    return shown;
}

} // namespace nestbed::svm
