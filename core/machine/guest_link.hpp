// The host's end of core/wire: gives jobs to a running guest and sees in its memory how they go.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/boot/placement.hpp"
#include "core/machine/guest_memory.hpp"
#include "core/wire/layout.hpp"
#include "core/wire/mailbox.hpp"
#include "core/wire/ring.hpp"

namespace nestbed::machine {

// Used by the control thread alone. The guest may change all that is read here at any time: each value is
// read once, and none is trusted.
class GuestLink {
public:
    // To no guest: nobody finishes anything, nothing is seen.
    GuestLink() = default;
    // `memory` holds what was placed, and outlives the link.
    GuestLink(const GuestMemory& memory, const boot::GuestPlacement& placement);

    [[nodiscard]] std::uint32_t vcpus() const noexcept {
        return static_cast<std::uint32_t>(_mailboxes.size());
    }
    [[nodiscard]] wire::Header& header() const noexcept { return *_header; }
    [[nodiscard]] wire::Mailbox& mailbox(std::uint32_t vcpu) const noexcept { return *_mailboxes[vcpu]; }

    // vCPUs that say that they are online; never more than there are.
    [[nodiscard]] std::uint32_t online() const;

    // Writes a job for vCPUs [first, end), which take it once they are woken. `arguments` as many as
    // wire::job_arguments.
    void give_job(std::uint32_t index, std::span<const std::uint64_t, wire::job_arguments> arguments,
                  std::uint32_t first, std::uint32_t end);

    // Of the job at hand and its vCPUs; before the first job of coming online and of all vCPUs.
    [[nodiscard]] bool finished(std::uint32_t vcpu) const;
    [[nodiscard]] bool all_finished() const;
    [[nodiscard]] std::vector<std::uint32_t> unfinished() const;
    [[nodiscard]] double progress() const; // the fraction that is finished

    // How the job ended that all have finished. Errors: check_failed where a vCPU could not run it, with the
    // code that it left.
    [[nodiscard]] Status outcome(std::string_view job) const;

    // Takes in what the guest has logged, then says what the guest died of, as far as its memory shows it: an
    // exception, or an APIC id that nobody was given.
    [[nodiscard]] std::optional<Error> look();

    // The registers that a vCPU left at an exception.
    [[nodiscard]] std::optional<wire::ExceptionReport> exception(std::uint32_t vcpu) const;

    // vCPUs that did not finish, or met an exception.
    [[nodiscard]] std::vector<std::uint32_t> suspects() const;

    // "vCPU 3: text": the last lines that the guest logged, oldest first.
    [[nodiscard]] const std::deque<std::string>& last_lines() const noexcept { return _last_lines; }
    // Lines that it could not log for want of room.
    [[nodiscard]] std::uint64_t dropped_lines() const;

    static constexpr std::size_t most_last_lines = 16;

private:
    void read_ring();
    [[nodiscard]] std::string line_of(const wire::Record& record) const;

    wire::Header* _header = nullptr;
    wire::BootBlock* _boot_block = nullptr;
    wire::Ring* _ring = nullptr;
    std::vector<wire::Mailbox*> _mailboxes;

    std::uint64_t _job = 0; // sequence number of the job at hand; 0: coming online
    std::uint32_t _first = 0;
    std::uint32_t _end = 0;
    std::uint64_t _ring_tail = 0;
    std::deque<std::string> _last_lines;
};

} // namespace nestbed::machine
