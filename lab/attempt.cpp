#include "lab/attempt.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>

#include <fcntl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <boost/fiber/operations.hpp>
#include <spdlog/spdlog.h>

#include "base/fd.hpp"
#include "lab/console.hpp"

namespace nestbed::lab {

namespace {

using supervise::Clock;
using supervise::Deadline;

constexpr std::size_t told_lines = 20;
constexpr std::size_t kept_emulator_text = 4096;
constexpr std::chrono::milliseconds look_again{20};

struct Line {
    Fd ours;
    Fd theirs;

    static Result<Line> make() {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
            return fail_errno(ErrorKind::host_lacks, "make a socket for the emulated machine",
                              "raise `ulimit -n`");
        return Line{Fd{ends[0]}, Fd{ends[1]}};
    }

    // For an emulator that opens its lines by name, which a socket does not allow.
    static Result<Line> make_terminal() {
        Line line{Fd{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)}, Fd{}};
        std::array<char, 64> name{};
        if (!line.ours || ::grantpt(line.ours.get()) != 0 || ::unlockpt(line.ours.get()) != 0 ||
            ::ptsname_r(line.ours.get(), name.data(), name.size()) != 0)
            return fail_errno(ErrorKind::host_lacks, "make a terminal for the emulated machine",
                              "mount devpts on /dev/pts");
        line.theirs = Fd{::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC)};
        termios settings{};
        if (!line.theirs || ::tcgetattr(line.theirs.get(), &settings) != 0)
            return fail_errno(ErrorKind::host_lacks, "open a terminal for the emulated machine");
        ::cfmakeraw(&settings); // no echo of what is heard before the emulator has it
        ::tcsetattr(line.theirs.get(), TCSANOW, &settings);
        return line;
    }

    static Result<Line> make_pipe() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0)
            return fail_errno(ErrorKind::host_lacks, "make a pipe for the emulated machine",
                              "raise `ulimit -n`");
        return Line{Fd{ends[0]}, Fd{ends[1]}};
    }
};

// What has been heard; changed by the pumps' fibers.
class Listener {
public:
    Listener(const AttemptObserver& observer, const std::filesystem::path& log)
        : _observer{observer}, _log{log, std::ios::binary} {}

    void hear_console(std::string_view bytes) {
        console.take(bytes);
        _log << bytes << std::flush;
    }

    void hear_emulator(std::string_view bytes) {
        emulator_text.append(bytes);
        if (emulator_text.size() > kept_emulator_text)
            emulator_text.erase(0, emulator_text.size() - kept_emulator_text);
    }

    void hear_frames(std::string_view bytes) {
        for (const auto& message : receiver.take(bytes))
            hear(message);
        // A file takes long where each byte is an exit through several levels.
        last_sign = Clock::now(); // after the observer: a slow reader of ours is not the inside's silence
    }

    Receiver receiver;
    Console console;
    std::string emulator_text;
    bool up = false;
    Deadline last_sign = Clock::now();
    std::optional<int> exit_code;
    std::optional<Error> failure;

    [[nodiscard]] bool has_result() const { return exit_code || failure; }

private:
    void hear(const Message& message) {
        if (has_result())
            return; // whatever comes after the last word
        if (const auto* const hello = std::get_if<Hello>(&message)) {
            up = true;
            _observer.up(*hello);
        } else if (const auto* const output = std::get_if<Output>(&message))
            _observer.output(*output);
        else if (const auto* const file = std::get_if<ResultFile>(&message))
            _observer.file(*file);
        else if (const auto* const exited = std::get_if<Exited>(&message))
            exit_code = exited->code;
        else if (const auto* const failed = std::get_if<Failed>(&message))
            failure = failed->error;
    }

    const AttemptObserver& _observer;
    std::ofstream _log;
};

// The exit code of an emulator whose lines have closed, which its end follows at once; killed if it does not.
int exit_code_of(Process& emulator) {
    const auto patience = Clock::now() + std::chrono::seconds{2};
    while (!emulator.poll() && Clock::now() < patience)
        boost::this_fiber::sleep_for(look_again);
    return emulator.poll().value_or(0);
}

// `ends` where what it runs is about to end by itself.
void end_gently(Process& emulator, std::chrono::milliseconds grace, bool ends) {
    const auto has_ended = [&] {
        const auto patience = Clock::now() + grace;
        while (!emulator.poll() && Clock::now() < patience)
            boost::this_fiber::sleep_for(look_again);
        return emulator.poll().has_value();
    };
    if (ends && has_ended())
        return;
    emulator.interrupt();
    [[maybe_unused]] const bool ended = has_ended(); // or it is killed
}

} // namespace

Result<AttemptResult> attempt(const AttemptRequest& request, const AttemptObserver& observer,
                              supervise::Supervisor& supervisor) {
    const bool by_name = request.engine == Engine::emulator && request.silicon == Silicon::intel;
    auto console = by_name ? Line::make_terminal() : Line::make();
    auto frames = by_name ? Line::make_pipe() : Line::make();
    auto text = Line::make();
    const Fd nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    for (const auto* const line : {&console, &frames, &text})
        if (!*line)
            return tl::unexpected{line->error()};
    auto command = request.command;
    command.descriptors = {nothing.get(), text->theirs.get(), text->theirs.get(), console->theirs.get(),
                           frames->theirs.get()};
    auto emulator = Process::start(command);
    if (!emulator)
        return tl::unexpected{emulator.error()};
    for (auto* const line : {&*console, &*frames, &*text})
        line->theirs = Fd{};

    Listener heard{observer, request.console_log};
    const auto started = Clock::now();
    // Destroyed before what they read from and what they call.
    auto text_pump =
        Pump::start(text->ours.get(), supervisor, [&](auto bytes) { heard.hear_emulator(bytes); });
    auto console_pump =
        Pump::start(console->ours.get(), supervisor, [&](auto bytes) { heard.hear_console(bytes); });
    auto frames_pump =
        Pump::start(frames->ours.get(), supervisor, [&](auto bytes) { heard.hear_frames(bytes); });
    for (const auto* const pump : {&text_pump, &console_pump, &frames_pump})
        if (!*pump)
            return tl::unexpected{pump->error()};

    // All lines at their end: the emulator is gone and nothing is left to be heard.
    const auto silent_for_ever = [&] {
        return (*text_pump)->at_end() && (*console_pump)->at_end() && (*frames_pump)->at_end();
    };
    const auto over = [&] { return heard.has_result() || silent_for_ever(); };

    Sender sender;
    std::optional<Ending> asked_for; // the inside has been asked to end, for this
    Deadline patience = Deadline::max();
    const auto tell_inside = [&](std::string_view frame) {
        [[maybe_unused]] const auto written =
            by_name ? ::write(console->ours.get(), frame.data(), frame.size())
                    : ::send(console->ours.get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    };
    const auto ask_inside = [&](Ending why) {
        asked_for = why;
        patience = Clock::now() + request.grace;
        tell_inside(sender.encode_interrupt());
    };
    auto last_nudge = started;
    const auto next_nudge = [&] {
        return heard.up && request.nudge_after.count() > 0
                   ? std::max(heard.last_sign, last_nudge) + request.nudge_after
                   : Deadline::max();
    };
    std::optional<Ending> ending;
    while (!ending) {
        const auto now = Clock::now();
        const auto next_sign = heard.up ? heard.last_sign + request.silence : started + request.boot_patience;
        if (now >= next_nudge()) {
            spdlog::info("no sign from inside for {:.1f} s: the machine is sent an interrupt",
                         std::chrono::duration<double>(now - heard.last_sign).count());
            tell_inside(sender.encode(Heartbeat{}));
            last_nudge = now;
        }
        if (heard.failure)
            ending = Ending::failed;
        else if (heard.exit_code)
            ending = asked_for == Ending::deadline ? Ending::deadline : Ending::exited;
        else if (silent_for_ever())
            ending =
                is_machines_end(request.silicon, exit_code_of(*emulator), heard.emulator_text, request.engine)
                    ? Ending::emulator_ended
                    : Ending::emulator_failed;
        else if (now >= patience)
            ending = asked_for;
        else if (now >= next_sign)
            ending = asked_for ? *asked_for : heard.up ? Ending::host_died : Ending::not_up;
        else if (!asked_for && supervisor.cancelled())
            ask_inside(Ending::cancelled);
        else if (!asked_for && now >= request.deadline)
            ask_inside(Ending::deadline);
        else if (asked_for)
            // The supervisor's own waiting ends at once after a signal.
            boost::this_fiber::sleep_for(look_again);
        else
            // Whether it ended by a deadline, a signal or a change, all of it is looked at again.
            [[maybe_unused]]
            const auto woken =
                supervisor.await([&, was_up = heard.up] { return over() || heard.up != was_up; },
                                 std::min({next_sign, request.deadline, next_nudge()}), "emulate");
    }
    // It has a result document to write, also of a guest that hangs.
    if (request.engine == Engine::kvm)
        end_gently(*emulator, request.grace, heard.has_result());
    return AttemptResult{.ending = *ending,
                         .exit_code = heard.exit_code.value_or(0),
                         .error = heard.failure.value_or(Error{}),
                         .was_up = heard.up,
                         .panicked = heard.console.panicked(),
                         .console = heard.console.last_lines(told_lines),
                         .emulator_text = heard.emulator_text,
                         .gaps = heard.receiver.gaps(),
                         .dropped_files = heard.receiver.dropped_files()};
}

} // namespace nestbed::lab
