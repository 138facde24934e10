#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/ranges.hpp"
#include "cli/place_watch.hpp"

namespace nestbed::cli {

namespace {

using Json = nlohmann::ordered_json;

std::vector<topology::Drift> drift_of(const WatchedMachine& machine) {
    return topology::drift_of(machine.record, machine.vcpus, machine.memory);
}

// Of the time that was watched.
double share(std::uint64_t ns, double seconds) {
    return seconds > 0 ? static_cast<double>(ns) * 1e-9 / seconds : 0;
}

std::string planned_text(const std::vector<std::uint32_t>& pus) {
    return pus.empty() ? "any" : format_ranges(pus);
}

bool is_astray(const topology::MachineRecord::Thread& planned, const topology::VcpuResidence& seen) {
    return !planned.pus.empty() &&
           (!seen.strange_affinity.empty() || std::ranges::any_of(seen.ran_on, [&](const auto& pu) {
               return std::ranges::find(planned.pus, pu.first) == planned.pus.end();
           }));
}

struct Pages {
    std::uint64_t present = 0;
    std::uint64_t at_home = 0; // on the node planned; all of a node that is not bound
};

Pages pages_of(const WatchedMachine& machine) {
    Pages pages;
    for (const auto& seen : machine.memory)
        for (const auto& [where, count] : seen.pages) {
            if (where < 0)
                continue;
            const auto planned = machine.record.host_nodes[seen.virtual_node];
            pages.present += count;
            pages.at_home += !planned || *planned == static_cast<std::uint32_t>(where) ? count : 0;
        }
    return pages;
}

std::string vcpu_line(const WatchedMachine& machine, std::size_t vcpu) {
    const auto& seen = machine.vcpus[vcpu];
    std::uint64_t all = 0;
    for (const auto& [pu, samples] : seen.ran_on)
        all += samples;
    std::string where;
    for (const auto& [pu, samples] : seen.ran_on)
        where += fmt::format("{}{} ({:.0f} %)", where.empty() ? "" : ", ", pu,
                             100.0 * static_cast<double>(samples) / static_cast<double>(all));
    const auto times = topology::times_of(seen);
    const auto& planned = machine.record.threads[vcpu];
    return fmt::format(
        "  vCPU {:<5} planned {:<8} run {:>5.1f} %  steal {:>5.1f} %  {:>4} migrations  on {}{}\n", vcpu,
        planned_text(planned.pus), 100 * share(times.run, machine.seconds),
        100 * share(times.wait, machine.seconds), topology::migrations_of(seen),
        where.empty() ? "none yet" : where, is_astray(planned, seen) ? "  NOT AS PLANNED" : "");
}

} // namespace

std::string watch_line(const WatchedMachine& machine) {
    std::set<std::uint32_t> pus;
    std::uint64_t migrations = 0;
    topology::SchedulerTimes sum;
    for (const auto& seen : machine.vcpus) {
        for (const auto& [pu, samples] : seen.ran_on)
            pus.insert(pu);
        migrations += topology::migrations_of(seen);
        sum.run += topology::times_of(seen).run;
        sum.wait += topology::times_of(seen).wait;
    }
    const auto pages = pages_of(machine);
    const auto drifts = drift_of(machine).size();
    return fmt::format(
        "{} vCPUs on PUs {}, {} migrations, run {:.2f} PUs, steal {:.2f}; {} of {} pages on their nodes; {}",
        machine.vcpus.size(), pus.empty() ? "none" : format_ranges(std::vector(pus.begin(), pus.end())),
        migrations, share(sum.run, machine.seconds), share(sum.wait, machine.seconds), pages.at_home,
        pages.present, drifts == 0 ? "no drift" : fmt::format("{} not as planned", drifts));
}

std::string watch_table(const WatchedMachine& machine, std::size_t most) {
    std::vector<std::size_t> order(machine.vcpus.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_partition(order, [&](std::size_t vcpu) {
        return is_astray(machine.record.threads[vcpu], machine.vcpus[vcpu]);
    });
    std::string text;
    for (std::size_t i = 0; i < std::min(most, order.size()); ++i)
        text += vcpu_line(machine, order[i]);
    if (order.size() > most)
        text += fmt::format("  and {} more\n", order.size() - most);
    const auto drifts = drift_of(machine);
    for (std::size_t i = 0; i < std::min(most, drifts.size()); ++i)
        text +=
            fmt::format("  {}: planned {}, found {}\n", drifts[i].what, drifts[i].planned, drifts[i].found);
    if (drifts.size() > most)
        text += fmt::format("  and {} more\n", drifts.size() - most);
    return text;
}

Json watch_json(const WatchedMachine& machine) {
    Json json{{"seconds", machine.seconds},
              {"vcpus", Json::array()},
              {"memory", Json::array()},
              {"drift", Json::array()}};
    for (std::size_t vcpu = 0; vcpu < machine.vcpus.size(); ++vcpu) {
        const auto& seen = machine.vcpus[vcpu];
        const auto times = topology::times_of(seen);
        Json ran_on = Json::object();
        for (const auto& [pu, samples] : seen.ran_on)
            ran_on[std::to_string(pu)] = samples;
        json["vcpus"].push_back(
            {{"vcpu", vcpu},
             {"tid", machine.record.threads[vcpu].tid},
             {"planned", format_ranges(machine.record.threads[vcpu].pus)},
             {"ran_on", std::move(ran_on)},
             {"migrations", topology::migrations_of(seen)},
             {"migrations_from", seen.last && seen.last->migrations ? "kernel" : "samples"},
             {"run_ns", times.run},
             {"wait_ns", times.wait}});
    }
    for (const auto& seen : machine.memory) {
        Json pages = Json::object();
        std::uint64_t absent = 0;
        for (const auto& [where, count] : seen.pages)
            if (where < 0)
                absent += count;
            else
                pages[std::to_string(where)] = count;
        const auto planned = machine.record.host_nodes[seen.virtual_node];
        json["memory"].push_back({{"virtual_node", seen.virtual_node},
                                  {"planned", planned ? Json(*planned) : Json(nullptr)},
                                  {"pages", std::move(pages)},
                                  {"absent", absent}});
    }
    for (const auto& drift : drift_of(machine))
        json["drift"].push_back({{"what", drift.what}, {"planned", drift.planned}, {"found", drift.found}});
    return json;
}

} // namespace nestbed::cli
