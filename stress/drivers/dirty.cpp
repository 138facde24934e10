#include "stress/drivers/dirty.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <linux/kvm.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "stress/drivers/died.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/wire/dirty.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::dirty;
using namespace std::chrono_literals;
using supervise::Clock;

constexpr std::uint64_t page_bytes = nestbed::wire::page_bytes;
constexpr std::uint64_t words_per_page = page_bytes / sizeof(std::uint64_t);
constexpr std::uint32_t ring_entries = kvm::least_dirty_ring_entries;

// Twice a ring's entries where there are few vCPUs, so that rings run full; 256 MiB for all where there are
// many.
std::uint64_t pages_each_of(std::uint64_t vcpus) {
    return std::clamp<std::uint64_t>(256 * MiB / page_bytes / (vcpus + 1), 64,
                                     std::uint64_t{2} * ring_entries);
}
constexpr auto boot_deadline = 60s;

std::uint64_t arena_pages(std::uint64_t vcpus) {
    return (vcpus + 1) * pages_each_of(vcpus);
}

std::uint64_t more_memory(std::uint32_t vcpus) {
    return round_up(arena_pages(vcpus) * (page_bytes + sizeof(std::uint64_t)) + vcpus * sizeof(job::Counts),
                    2 * MiB) +
           2 * MiB;
}

enum class Interface { ring, log };

// Rings are left alone for long enough that vCPUs find them full.
constexpr std::chrono::milliseconds between_collections(Interface interface) {
    return interface == Interface::ring ? 250ms : 5ms;
}

// The pages of the arena that KVM names, copied as a migration would: named first, read then.
class Copy {
public:
    Copy(const machine::Machine& machine, std::uint64_t address, std::span<const std::byte> arena)
        : _chassis{machine.chassis()}, _regions{_chassis.memory().regions()}, _address{address},
          _arena{arena}, _copy(arena.size()), _collected(arena.size() / page_bytes) {}

    Status update(Interface interface) {
        return interface == Interface::ring ? update_from_rings() : update_from_log();
    }

    [[nodiscard]] std::uint64_t named() const { return _named; }
    [[nodiscard]] const std::vector<std::byte>& copy() const { return _copy; }
    [[nodiscard]] const std::vector<std::uint8_t>& collected() const { return _collected; }

private:
    Status update_from_rings() {
        auto& rings = *_chassis.dirty_rings();
        if (auto collected = rings.collect(); !collected)
            return collected;
        for (const auto& page : rings.take())
            take(page.slot, page.offset);
        return {};
    }

    Status update_from_log() {
        for (std::uint32_t slot = 0; slot < _regions.size(); ++slot) {
            const auto bits = _chassis.vm().dirty_log(slot, _regions[slot].range.bytes / page_bytes);
            if (!bits)
                return tl::unexpected{bits.error()};
            for (std::uint64_t page = 0; page < bits->size() * 64; ++page)
                if (((*bits)[page / 64] >> page % 64 & 1) != 0)
                    take(slot, page);
        }
        return {};
    }

    void take(std::uint32_t slot, std::uint64_t page) {
        if (slot >= _regions.size())
            return;
        const auto at = _regions[slot].range.address + page * page_bytes;
        if (at < _address || at - _address >= _arena.size())
            return; // not of the arena
        ++_named;
        const auto offset = at - _address;
        _collected[offset / page_bytes] = 1;
        // The guest may be writing there: then KVM names the page again.
        for (std::uint64_t i = 0; i < page_bytes; i += sizeof(std::uint64_t)) {
            const auto word = __atomic_load_n(
                reinterpret_cast<const std::uint64_t*>(_arena.data() + offset + i), __ATOMIC_RELAXED);
            std::memcpy(_copy.data() + offset + i, &word, sizeof word);
        }
    }

    const machine::Chassis& _chassis;
    std::vector<machine::GuestMemory::Region> _regions;
    std::uint64_t _address;
    std::span<const std::byte> _arena;
    std::vector<std::byte> _copy;
    std::vector<std::uint8_t> _collected;
    std::uint64_t _named = 0;
};

// Not booted yet.
Result<machine::MachinePtr> make_machine(const StressContext& context, Interface interface) {
    return machine::Machine::create(context.setup.kvm,
                                    {.plan = context.setup.plan,
                                     .payload = &context.setup.payload,
                                     // What a guest sees in system management mode is a second address space,
                                     // whose slots nobody collects.
                                     .nested = false,
                                     .dirty_ring_entries = interface == Interface::ring ? ring_entries : 0},
                                    context.supervisor);
}

Result<Counted> run_on(machine::Machine& machine, const StressContext& context, Interface interface) {
    const auto vcpus = machine.vcpus();
    const auto pages_each = pages_each_of(vcpus);
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto counts = scratch.table<job::Counts>(vcpus);
    const auto written = scratch.table<std::uint64_t>(vcpus * pages_each);
    const auto address = scratch.pages(arena_pages(vcpus));
    if (auto placed = first_error(stop, counts, written, address); !placed)
        return tl::unexpected{placed.error()};
    const auto arena = machine.memory().at(*address, arena_pages(vcpus) * page_bytes);
    Copy copy{machine, *address, arena};
    if (auto logged = machine.chassis().log_dirty_pages(true); !logged)
        return tl::unexpected{logged.error()};

    const auto start = Clock::now();
    const DriverContext on{machine, context.seed, context.deadline};
    if (auto started = machine.start_job(
            on_all(on, "dirty.write",
                   {stop->address, *address, pages_each, context.seed, counts->address, written->address}));
        !started)
        return tl::unexpected{started.error()};
    std::uint64_t collections = 0;
    Status ended = fail(ErrorKind::deadline, "", "");
    while (!ended && ended.error().kind == ErrorKind::deadline && Clock::now() - start < context.duration) {
        ended = machine.await_job(between_collections(interface));
        if (auto updated = copy.update(interface); !updated)
            return tl::unexpected{updated.error()};
        ++collections;
    }
    if (!ended && ended.error().kind == ErrorKind::deadline) {
        __atomic_store_n(&stop->entries[0], 1, __ATOMIC_RELEASE);
        ended = machine.await_job(context.deadline);
    }
    if (!ended)
        return tl::unexpected{ended.error()};
    const auto seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (auto updated = copy.update(interface); !updated)
        return tl::unexpected{updated.error()};

    Counted counted{.seconds = seconds};
    std::uint64_t shared = 0;
    for (const auto& own : counts->entries) {
        shared += own.shared;
        counted.per_vcpu.push_back(static_cast<double>(own.own + own.shared));
        counted.operations += counted.per_vcpu.back();
    }
    const std::vector<std::uint64_t> stamps{written->entries.begin(), written->entries.end()};
    auto wrong = judge_dirty({arena, copy.copy(), stamps, copy.collected(), pages_each, shared});
    const auto full = interface == Interface::ring ? machine.chassis().dirty_rings()->times_full() : 0;
    counted.verdict = verdict_of(wrong);
    counted.summary = fmt::format("{:.0f} writes, {} pages named by KVM in {} collections, {} lost",
                                  counted.operations, copy.named(), collections + 1, wrong.size());
    counted.facts = {{"named_pages_per_s", seconds > 0 ? static_cast<double>(copy.named()) / seconds : 0},
                     {"ring_full_exits", static_cast<double>(full)}};
    counted.details = capped(std::move(wrong));
    return counted;
}

Result<Counted> run_dirty(const StressContext& context, Interface interface) {
    if (interface == Interface::ring && context.setup.kvm.check_extension(KVM_CAP_DIRTY_LOG_RING) == 0)
        return skipped("this KVM has no dirty rings (KVM_CAP_DIRTY_LOG_RING)");
    auto machine = make_machine(context, interface);
    if (!machine)
        return tl::unexpected{machine.error()};
    auto counted =
        (*machine)->boot(boot_deadline).and_then([&] { return run_on(**machine, context, interface); });
    if (!counted && is_death(counted.error()))
        return died(**machine, counted.error());
    return counted;
}

Result<Counted> run_ring(const StressContext& context) {
    return run_dirty(context, Interface::ring);
}
Result<Counted> run_log(const StressContext& context) {
    return run_dirty(context, Interface::log);
}

constexpr std::string_view invariant = "each page that the guest writes is named by KVM after its last "
                                       "write: a copy of the pages named, made while "
                                       "the guest writes, ends up equal to its memory";

constexpr std::array drivers{
    StressDriver{.name = "dirty.ring",
                 .title = "Pages written by all vCPUs are collected from dirty rings, which run full",
                 .invariant = invariant,
                 .unit = "writes",
                 .run = &run_ring,
                 .machines = Machines::own,
                 .more_memory = &more_memory},
    StressDriver{.name = "dirty.log",
                 .title = "Pages written by all vCPUs are collected from the dirty log",
                 .invariant = invariant,
                 .unit = "writes",
                 .run = &run_log,
                 .machines = Machines::own,
                 .more_memory = &more_memory},
};

std::uint64_t word_at(std::span<const std::byte> bytes, std::uint64_t index) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + index * sizeof word, sizeof word);
    return word;
}

} // namespace

std::vector<std::string> judge_dirty(const DirtyEvidence& evidence) {
    std::vector<std::string> wrong;
    const auto pages = evidence.arena.size() / page_bytes;
    std::uint64_t shared = 0;
    for (std::uint64_t page = 0; page < pages; ++page) {
        const bool own = page < evidence.written.size();
        const auto name =
            own ? fmt::format("page {} of vCPU {}", page % evidence.pages_each, page / evidence.pages_each)
                : fmt::format("shared page {}", page - evidence.written.size());
        const auto now = evidence.arena.subspan(page * page_bytes, page_bytes);
        const auto then = evidence.copy.subspan(page * page_bytes, page_bytes);
        if (own) {
            const auto stamp = word_at(now, job::stamp_word(page % evidence.pages_each));
            if (stamp != evidence.written[page])
                wrong.push_back(fmt::format("{}: holds {}, the guest says that it wrote {}", name, stamp,
                                            evidence.written[page]));
        } else {
            for (std::uint64_t i = 0; i < words_per_page; ++i)
                shared += word_at(now, i);
        }
        if (std::ranges::equal(now, then))
            continue;
        wrong.push_back(evidence.collected[page] == 0
                            ? fmt::format("{}: written, and never named by KVM", name)
                            : fmt::format("{}: written after KVM named it last", name));
    }
    if (shared != evidence.shared_adds)
        wrong.push_back(fmt::format("the shared pages hold {} additions, the guest made {}", shared,
                                    evidence.shared_adds));
    if (std::ranges::all_of(evidence.written, [](auto stamp) { return stamp == 0; }))
        wrong.emplace_back("the guest wrote nothing");
    return wrong;
}

std::span<const StressDriver> dirty_drivers() {
    return drivers;
}

} // namespace nestbed::stress
