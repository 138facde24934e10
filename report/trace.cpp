#include "report/trace.hpp"

#include <cerrno>
#include <cmath>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/fd.hpp"

namespace nestbed::report {

namespace {

constexpr std::size_t buffer_bytes = 65'536;

std::string json_text(std::string_view text) {
    return nlohmann::json(std::string{text}).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// The format counts in microseconds and takes fractions.
std::string microseconds(std::uint64_t ns) {
    return fmt::format("{}.{:03}", ns / 1000, ns % 1000);
}

// A thread's id in the format; 0 would be shown as the process itself.
std::int64_t thread_of(Track track) {
    return track.vcpu + 2;
}

// Perfetto has no process 0.
std::uint64_t process_of(std::uint32_t machine) {
    return std::uint64_t{machine} + 1;
}

std::string place_of(Track track) {
    return fmt::format("\"pid\":{},\"tid\":{}", process_of(track.machine), thread_of(track));
}

std::string members_of(const TraceArguments& arguments) {
    if (arguments.empty())
        return {};
    std::string text;
    for (const auto& [name, value] : arguments)
        text += fmt::format("{}{}:{}", text.empty() ? "" : ",", json_text(name), json_text(value));
    return fmt::format(",\"args\":{{{}}}", text);
}

} // namespace

struct TraceWriter::State {
    Fd file;
    std::filesystem::path path;
    std::uint64_t most_bytes = 0;
    std::uint64_t bytes = 0; // written and buffered
    std::uint64_t left_out = 0;
    std::string buffer;
    int error = 0; // errno of the first write that failed
    bool is_closed = false;

    void flush() {
        std::string_view rest = buffer;
        while (!rest.empty() && error == 0) {
            const auto written = ::write(file.get(), rest.data(), rest.size());
            if (written > 0)
                rest.remove_prefix(static_cast<std::size_t>(written));
            else if (written == 0 || errno != EINTR)
                error = written == 0 ? ENOSPC : errno;
        }
        buffer.clear();
    }

    // Names have no bound: there are few, and without them events mean nothing.
    void add(const std::string& event, bool is_bounded = true) {
        if (is_closed)
            return;
        if (is_bounded && bytes + event.size() + 2 > most_bytes) {
            ++left_out;
            return;
        }
        const auto before = buffer.size();
        buffer += bytes == 0 ? "[\n" : ",\n";
        buffer += event;
        bytes += buffer.size() - before;
        if (buffer.size() >= buffer_bytes)
            flush();
    }
};

TraceWriter::TraceWriter(std::unique_ptr<State> state) : _state{std::move(state)} {}
TraceWriter::TraceWriter(TraceWriter&&) noexcept = default;

TraceWriter& TraceWriter::operator=(TraceWriter&& other) noexcept {
    std::swap(_state, other._state);
    return *this;
}

TraceWriter::~TraceWriter() {
    if (_state)
        static_cast<void>(close());
}

Result<TraceWriter> TraceWriter::create(const std::filesystem::path& path, std::uint64_t most_bytes) {
    auto state = std::make_unique<State>();
    state->file = Fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
    if (!state->file)
        return fail_errno(ErrorKind::bad_input, fmt::format("write the trace {}", path.string()),
                          "name a place that you may write to");
    state->path = path;
    state->most_bytes = most_bytes;
    state->buffer.reserve(2 * buffer_bytes);
    return TraceWriter{std::move(state)};
}

void TraceWriter::name_machine(std::uint32_t machine, std::string_view name) {
    _state->add(fmt::format("{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{},\"args\":{{\"name\":{}}}}}",
                            process_of(machine), json_text(name)),
                false);
}

void TraceWriter::name_track(Track track, std::string_view name) {
    _state->add(fmt::format("{{\"ph\":\"M\",\"name\":\"thread_name\",{},\"args\":{{\"name\":{}}}}}",
                            place_of(track), json_text(name)),
                false);
    // By vCPU, not by name: "vCPU 10" would come before "vCPU 2".
    _state->add(
        fmt::format("{{\"ph\":\"M\",\"name\":\"thread_sort_index\",{},\"args\":{{\"sort_index\":{}}}}}",
                    place_of(track), thread_of(track)),
        false);
}

void TraceWriter::slice(Track track, std::string_view name, std::uint64_t start_ns, std::uint64_t duration_ns,
                        const TraceArguments& arguments) {
    _state->add(fmt::format("{{\"ph\":\"X\",\"name\":{},{},\"ts\":{},\"dur\":{}{}}}", json_text(name),
                            place_of(track), microseconds(start_ns), microseconds(duration_ns),
                            members_of(arguments)));
}

void TraceWriter::instant(Track track, std::string_view name, std::uint64_t at_ns,
                          const TraceArguments& arguments) {
    _state->add(fmt::format("{{\"ph\":\"i\",\"s\":\"t\",\"name\":{},{},\"ts\":{}{}}}", json_text(name),
                            place_of(track), microseconds(at_ns), members_of(arguments)));
}

// Flow events; "bp" binds the end to the slice around it, not to the next one.
void TraceWriter::arrow_from(Track from, std::string_view name, std::uint64_t number, std::uint64_t at_ns) {
    _state->add(fmt::format("{{\"ph\":\"s\",\"cat\":\"arrow\",\"name\":{},\"id\":{},{},\"ts\":{}}}",
                            json_text(name), number, place_of(from), microseconds(at_ns)));
}

void TraceWriter::arrow_to(Track to, std::string_view name, std::uint64_t number, std::uint64_t at_ns) {
    _state->add(
        fmt::format("{{\"ph\":\"f\",\"bp\":\"e\",\"cat\":\"arrow\",\"name\":{},\"id\":{},{},\"ts\":{}}}",
                    json_text(name), number, place_of(to), microseconds(at_ns)));
}

void TraceWriter::counter(std::uint32_t machine, std::string_view name, std::uint64_t at_ns, double value) {
    if (!std::isfinite(value))
        return;
    _state->add(fmt::format("{{\"ph\":\"C\",\"name\":{},\"pid\":{},\"ts\":{},\"args\":{{\"value\":{}}}}}",
                            json_text(name), process_of(machine), microseconds(at_ns), value));
}

std::uint64_t TraceWriter::left_out() const {
    return _state->left_out;
}

Status TraceWriter::close() {
    auto& state = *_state;
    if (!state.is_closed) {
        if (state.left_out > 0)
            state.add(
                fmt::format("{{\"ph\":\"M\",\"name\":\"process_labels\",\"pid\":1,\"args\":{{\"labels\":"
                            "\"{} events left out beyond {} bytes\"}}}}",
                            state.left_out, state.most_bytes),
                false);
        state.buffer += state.bytes == 0 ? "[]\n" : "\n]\n";
        state.flush();
        state.is_closed = true;
        state.file = Fd{};
    }
    if (state.error != 0)
        return fail(ErrorKind::host_lacks, fmt::format("write the trace {}", state.path.string()),
                    errno_text(state.error), "make room, or name another disk");
    return {};
}

} // namespace nestbed::report
