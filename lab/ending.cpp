#include "lab/ending.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace nestbed::lab {

namespace {

double seconds(std::chrono::milliseconds time) {
    return std::chrono::duration<double>(time).count();
}

std::string command_of(const LabRequest& request) {
    std::string text = "run `nestbed";
    for (const auto& argument : request.arguments)
        text += " " + argument;
    return printable(
        text + (request.shape.engine == Engine::kvm ? "` in a Linux guest" : "` in an emulated machine"));
}

// "why", then the kernel's last lines below it.
std::string with_console(std::string why, const AttemptResult& result) {
    if (result.console.empty())
        return why + "; its kernel has written nothing";
    why += "; its kernel's last lines:";
    for (const auto& line : result.console)
        why += "\n    " + line;
    return why;
}

} // namespace

std::optional<Error> error_of(const AttemptResult& result, const LabRequest& request,
                              const std::filesystem::path& log) {
    const bool on_kvm = request.shape.engine == Engine::kvm;
    const std::string host = on_kvm ? "the guest" : "the emulated host";
    const auto make = [&](ErrorKind kind, std::string why, std::string remedy) {
        return Error{kind, command_of(request), with_console(std::move(why), result), std::move(remedy)};
    };
    const auto whole_log = log.empty() ? std::string{"its console could not be kept"}
                                       : "its whole console is in " + log.string();
    const auto& emulator = emulator_of(request.shape.silicon, request.shape.engine);
    const auto words = printable(last_words(request.shape.silicon, result.emulator_text));
    switch (result.ending) {
    case Ending::exited:
        return std::nullopt;
    case Ending::failed: {
        auto error = result.error;
        for (auto* const text : {&error.asked, &error.found, &error.remedy})
            *text = printable(*text);
        return error;
    }
    case Ending::emulator_failed:
        // What goes on inside can bring it down: an assertion of its own, for one.
        if (result.was_up)
            return make(
                ErrorKind::check_failed,
                fmt::format("{} crashed: {}", emulator.name, words.empty() ? "it said nothing" : words),
                (on_kvm ? "" : "that is the emulator's fault, not the emulated host's; ") + whole_log);
        return Error{
            ErrorKind::host_lacks, command_of(request),
            words.empty() ? fmt::format("{} ended with an error and no word", emulator.name)
                          : fmt::format("{} ended with: {}", emulator.name, words),
            on_kvm ? std::string{} // its own is among the words
                   : fmt::format("if memory is short, use a smaller --memory; if a part of {} is missing, "
                                 "apt-get install {}",
                                 emulator.name, emulator.packages)};
    case Ending::emulator_ended:
        return make(ErrorKind::check_failed,
                    result.panicked ? host + "'s kernel panicked"
                                    : host + "'s machine was reset or turned off before the command's end",
                    whole_log);
    case Ending::not_up:
        return make(ErrorKind::deadline,
                    fmt::format("nothing was heard from inside for {:g} s",
                                seconds(request.boot_patience.value_or(emulator.boot_patience))),
                    "use a kernel with CONFIG_SERIAL_8250=y and CONFIG_BLK_DEV_INITRD=y; " + whole_log);
    case Ending::host_died:
        return make(ErrorKind::check_failed,
                    fmt::format("{} died: no sign of life for {:g} s while {} ran on", host,
                                seconds(request.silence.value_or(emulator.silence)), emulator.name),
                    on_kvm ? "the guest's kernel hangs, or this host's KVM does not run it on; " + whole_log
                           : fmt::format("that is the emulated kernel's or {}'s hang, not the command's; ",
                                         emulator.name) +
                                 whole_log);
    case Ending::deadline:
        return make(
            ErrorKind::deadline,
            fmt::format("not done within {:g} s, though {} was alive", seconds(request.timeout), host),
            "use a longer --timeout");
    case Ending::cancelled:
        return Error{ErrorKind::cancelled,
                     command_of(request),
                     fmt::format("stopped by a signal, and the inside did not end within {:g} s",
                                 seconds(request.grace)),
                     {}};
    }
    return std::nullopt;
}

std::string printable(std::string text) {
    std::ranges::replace_if(
        text, [](char c) { return static_cast<unsigned char>(c) < ' ' && c != '\n'; }, '?');
    std::ranges::replace(text, '\x7f', '?');
    return text;
}

} // namespace nestbed::lab
