#include "stress/kvm_statistics.hpp"

namespace nestbed::stress {

report::KvmStatistics kvm_statistics(const machine::MachineStatistics& read) {
    report::KvmStatistics kept;
    for (const auto& entry : read.entries) {
        auto& column = kept.vcpu[entry.name];
        column.unit = entry.unit;
        for (const auto& words : read.vcpus)
            column.values.push_back(kvm::value_of(entry, words));
    }
    for (const auto& entry : read.vm_entries)
        kept.vm[entry.name] = {entry.unit, kvm::value_of(entry, read.vm)};
    return kept;
}

} // namespace nestbed::stress
