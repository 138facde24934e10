#include "core/machine/guest_link.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/machine/guest_text.hpp"

namespace nestbed::machine {

namespace {

// The guest writes these at any time, so they are read once, atomically.
template<typename T>
T read_shared(const T& value) {
    return __atomic_load_n(&value, __ATOMIC_ACQUIRE);
}

} // namespace

GuestLink::GuestLink(const GuestMemory& memory, const boot::GuestPlacement& placement)
    : _header{memory.object<wire::Header>(placement.header.address)},
      _boot_block{memory.object<wire::BootBlock>(wire::boot_block_gpa)},
      _ring{memory.object<wire::Ring>(placement.ring.address)}, _end{static_cast<std::uint32_t>(
                                                                    placement.blocks.size())} {
    for (const auto block : placement.blocks)
        _mailboxes.push_back(memory.object<wire::Mailbox>(block + wire::percpu_mailbox));
}

std::uint32_t GuestLink::online() const {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(read_shared(_header->online), vcpus()));
}

void GuestLink::give_job(std::uint32_t index, std::span<const std::uint64_t, wire::job_arguments> arguments,
                         std::uint32_t first, std::uint32_t end) {
    ++_job;
    _first = first;
    _end = end;
    _header->job.index = index;
    std::ranges::copy(arguments, std::begin(_header->job.arguments));
    __atomic_store_n(&_header->pending, std::uint64_t{end - first}, __ATOMIC_RELEASE);
    // By the host, since another vCPU's interrupts may reach a vCPU before it has begun with the job itself.
    for (auto* const mailbox : _mailboxes)
        std::fill(std::begin(mailbox->job_value), std::end(mailbox->job_value), 0);
    for (auto vcpu = first; vcpu < end; ++vcpu)
        __atomic_store_n(&_mailboxes[vcpu]->job, _job, __ATOMIC_RELEASE);
}

bool GuestLink::finished(std::uint32_t vcpu) const {
    if (_job == 0)
        return read_shared(_mailboxes[vcpu]->tsc_online) != 0;
    return read_shared(_mailboxes[vcpu]->jobs_done) == _job;
}

bool GuestLink::all_finished() const {
    for (auto vcpu = _first; vcpu < _end; ++vcpu)
        if (!finished(vcpu))
            return false;
    return true;
}

std::vector<std::uint32_t> GuestLink::unfinished() const {
    std::vector<std::uint32_t> missing;
    for (auto vcpu = _first; vcpu < _end; ++vcpu)
        if (!finished(vcpu))
            missing.push_back(vcpu);
    return missing;
}

double GuestLink::progress() const {
    if (_first == _end)
        return 0;
    const double all = _end - _first;
    return (all - static_cast<double>(unfinished().size())) / all;
}

Status GuestLink::outcome(std::string_view job) const {
    for (auto vcpu = _first; vcpu < _end; ++vcpu)
        if (const auto status = read_shared(_mailboxes[vcpu]->job_status);
            status != static_cast<std::uint64_t>(wire::JobStatus::done))
            return fail(ErrorKind::check_failed, fmt::format("run {} on vCPU {}", job, vcpu),
                        fmt::format("job status {}, value {:#x}", status,
                                    read_shared(_mailboxes[vcpu]->job_value[0])));
    return {};
}

std::optional<Error> GuestLink::look() {
    if (_header == nullptr)
        return std::nullopt;
    read_ring();
    if (const auto lost = read_shared(_boot_block->lost_apic_id); lost != 0)
        return Error{ErrorKind::check_failed,
                     "bring vCPUs online",
                     fmt::format("a vCPU came up with APIC id {}, which none was given", lost - 1),
                     {}};
    for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu)
        if (const auto report = exception(vcpu))
            return Error{
                ErrorKind::check_failed, fmt::format("run vCPU {}", vcpu), describe_exception(*report), {}};
    return std::nullopt;
}

std::optional<wire::ExceptionReport> GuestLink::exception(std::uint32_t vcpu) const {
    const auto& report = _mailboxes[vcpu]->exception;
    if (read_shared(report.state) == 0)
        return std::nullopt;
    return report; // a copy: the guest may go on writing into its own
}

std::vector<std::uint32_t> GuestLink::suspects() const {
    std::vector<std::uint32_t> suspects;
    for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu)
        if (exception(vcpu) || (vcpu >= _first && vcpu < _end && !finished(vcpu)))
            suspects.push_back(vcpu);
    return suspects;
}

std::uint64_t GuestLink::dropped_lines() const {
    return _ring == nullptr ? 0 : read_shared(_ring->dropped);
}

void GuestLink::read_ring() {
    // At most one ring per look, whatever the guest writes meanwhile.
    for (std::uint32_t i = 0; i < wire::ring_slots; ++i) {
        const auto& slot = _ring->slots[_ring_tail % wire::ring_slots];
        if (read_shared(slot.ready) != _ring_tail + 1)
            break;
        const auto copy = slot; // the guest may go on writing into it
        ++_ring_tail;
        __atomic_store_n(&_ring->tail, _ring_tail, __ATOMIC_RELEASE);
        _last_lines.push_back(line_of(copy));
        spdlog::debug("guest {}", _last_lines.back());
        if (_last_lines.size() > most_last_lines)
            _last_lines.pop_front();
    }
}

std::string GuestLink::line_of(const wire::Record& record) const {
    const std::uint32_t vcpu = record.vcpu;
    const std::uint32_t kind = record.kind;
    const auto who =
        vcpu < vcpus() ? fmt::format("vCPU {}", vcpu) : fmt::format("vCPU {} (there is none)", vcpu);
    if (kind != static_cast<std::uint32_t>(wire::RecordKind::log))
        return fmt::format("{}: a record of unknown kind {}", who, kind);
    return fmt::format("{}: {}", who, record_text(record));
}

} // namespace nestbed::machine
