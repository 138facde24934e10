#include "stress/checks.hpp"

#include <array>

namespace nestbed::stress {

namespace {

constexpr std::array checks{
    // First, since a machine that does not come up is reported by the first.
    Check{"bringup.online", "Every vCPU came online after one broadcast INIT-SIPI-SIPI", &check_online, 4},
    Check{"cpuid.readback", "KVM kept the CPUID tables that it was given", &check_cpuid_readback},
    Check{"bringup.answer", "Every vCPU takes an interrupt and answers", &check_answer},
    Check{"placement.threads", "Every vCPU thread may run where the plan says, and nowhere else",
          &check_threads},
    Check{"placement.memory", "Every guest page is on its planned node", &check_memory},
    Check{"topology.cpuid", "CPUID as seen by each vCPU agrees with its APIC id and the shape",
          &check_topology},
    Check{"ipi.unicast", "Every IPI is received once, by the right vCPU", &check_unicast, 12},
    Check{"ipi.logical", "The same with logical (cluster) destinations", &check_logical, 2},
    Check{"ipi.nmi", "The same with NMIs", &check_nmi, 2},
    Check{"ipi.broadcast", "A broadcast reaches every other vCPU exactly once", &check_broadcast},
    Check{"ipi.nmi_broadcast", "The same with NMIs", &check_nmi_broadcast},
    Check{"tsc.monotonic", "The TSC never runs backward across vCPUs, read in ring 0", &check_tsc},
    Check{"tsc.monotonic_ring3", "The TSC never runs backward across vCPUs, read in ring 3",
          &check_tsc_ring3},
    Check{"timer.deadline", "The TSC-deadline timer fires once each time, never early", &check_timer},
    Check{"exits.cost", "Every exit arrives; what one costs", &check_exits},
    Check{"nested.shown", "Each vCPU sees of VMX and SVM what the profile says", &check_nested_shown},
    Check{"nested.l2_exits", "L2 guests on every vCPU at once: each exit reaches L1, each entry L2",
          &check_l2_exits, 4},
    Check{"interrupts.spurious", "No interrupt came that nobody sent", &check_spurious},
};

} // namespace

std::span<const Check> all_checks() {
    return checks;
}

} // namespace nestbed::stress
