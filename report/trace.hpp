// A run's timeline as Chrome's trace events in JSON, which Perfetto (ui.perfetto.dev) opens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace nestbed::report {

// Of tracks: one process for each machine, one thread in it for each vCPU, and one for the host's phases.
struct Track {
    std::uint32_t machine = 0; // 0, 1, ...: the how manieth machine of the run
    std::int64_t vcpu = -1;    // -1: the host's own track of this machine
};

using TraceArguments = std::map<std::string, std::string>;

// Writes as it goes: no event is kept in memory, 64 KiB of text are. Used by one thread. What was written by
// the time that a run dies can be opened too, as the format allows the end to be missing. Times are in
// nanoseconds since an origin of the caller's choice. After an error, such as a full disk, nothing more is
// written, and close() tells it.
class TraceWriter {
public:
    // `most_bytes` bounds the file: events beyond it are counted and left out, names and the count still go
    // in. Errors: bad_input where `path` cannot be written.
    [[nodiscard]] static Result<TraceWriter> create(const std::filesystem::path& path,
                                                    std::uint64_t most_bytes = 1ULL << 30);

    TraceWriter(TraceWriter&&) noexcept;
    TraceWriter& operator=(TraceWriter&&) noexcept;
    TraceWriter(const TraceWriter&) = delete;
    TraceWriter& operator=(const TraceWriter&) = delete;
    // As close(), without telling.
    ~TraceWriter();

    // What people see instead of numbers: "ipi.unicast, 64 vCPUs".
    void name_machine(std::uint32_t machine, std::string_view name);
    void name_track(Track track, std::string_view name);

    // Something that took a time: a phase, a job.
    void slice(Track track, std::string_view name, std::uint64_t start_ns, std::uint64_t duration_ns,
               const TraceArguments& arguments = {});
    // Something that happened: an exit, an IPI that arrived.
    void instant(Track track, std::string_view name, std::uint64_t at_ns,
                 const TraceArguments& arguments = {});
    // Something that went from one track to another, drawn as an arrow between the slices that are open on
    // them at these times. Each of the slices is written just before: `from` and `to` are written apart, with
    // the same number, which no other arrow has.
    void arrow_from(Track from, std::string_view name, std::uint64_t number, std::uint64_t at_ns);
    void arrow_to(Track to, std::string_view name, std::uint64_t number, std::uint64_t at_ns);
    // A value over time, drawn as a curve of its machine.
    void counter(std::uint32_t machine, std::string_view name, std::uint64_t at_ns, double value);

    [[nodiscard]] std::uint64_t left_out() const; // events beyond the bound

    // Writes the end. Errors: host_lacks for a disk that is full or broken, at any time since create().
    [[nodiscard]] Status close();

private:
    struct State;
    explicit TraceWriter(std::unique_ptr<State> state);

    std::unique_ptr<State> _state;
};

} // namespace nestbed::report
