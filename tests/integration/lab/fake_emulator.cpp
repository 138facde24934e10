// Stands in for QEMU, for Bochs and for `nestbed boot`: takes their command lines, and speaks on the two
// lines as an emulated machine would in the situation that the kernel's command line names.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <unistd.h>

#include "lab/bochs.hpp"
#include "lab/message.hpp"

namespace {

using namespace nestbed::lab;

constexpr int console = 3;
constexpr int frames = 4;

void say(int fd, std::string_view text) {
    while (!text.empty()) {
        const auto written = ::write(fd, text.data(), text.size());
        if (written <= 0)
            std::_Exit(9);
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

[[noreturn]] void beat_for_ever(Sender& sender) {
    while (true) {
        say(frames, sender.encode(Heartbeat{}));
        ::usleep(100'000);
    }
}

void wait_for(FrameType type) {
    FrameReader reader;
    char byte = 0;
    while (::read(console, &byte, 1) == 1)
        for (const auto& frame : reader.take({&byte, 1}))
            if (frame.type == type)
                return;
}

// As they end when the machine is reset.
int end_machine(bool bochs) {
    if (!bochs)
        return 0;
    std::fputs("fake: shutdown requested\n", stderr);
    return 1;
}

int play(std::string_view situation, const std::string& marker, bool bochs, const std::string& cpu) {
    Sender sender;
    const auto ends_well = [&](int code) {
        say(frames, sender.encode(Exited{code}));
        ::pause(); // as a machine that takes its time to turn off
        return 0;
    };
    if (situation == "refuses") {
        std::fputs("fake: option not known\n", stderr);
        return 1;
    }
    if (situation == "silent" || (situation == "silent-once" && ::access(marker.c_str(), F_OK) != 0)) {
        std::fclose(std::fopen(marker.c_str(), "w"));
        ::pause();
    }
    say(console, "[    0.0] the fake kernel boots\r\n");
    if (situation == "never-up")
        ::pause();
    if (situation == "panics") {
        say(console, "[    0.1] Kernel panic - not syncing: nothing works\r\n");
        return end_machine(bochs);
    }
    say(frames, "some stray text\n");
    say(frames, sender.encode(Hello{"1.0-fake"}));
    if (situation == "fails") {
        say(frames, sender.encode(
                        Failed{{nestbed::ErrorKind::host_lacks, "find /dev/kvm", "none\x1b[2J", "mend it"}}));
        ::pause();
    }
    if (situation == "tells-its-cpu")
        say(frames, sender.encode(Output{false, cpu}));
    say(frames, sender.encode(Output{false, "to stdout\n"}));
    say(frames, sender.encode(Output{true, "to stderr\n"}));
    if (situation == "dies" || (situation == "dies-once" && ::access(marker.c_str(), F_OK) != 0)) {
        std::fclose(std::fopen(marker.c_str(), "w"));
        ::pause();
    }
    if (situation == "hangs")
        beat_for_ever(sender);
    if (situation == "resets")
        return end_machine(bochs);
    if (situation == "heeds") {
        wait_for(FrameType::interrupt);
        say(frames, sender.encode(ResultFile{marker + ".results/run.json", "partial"}));
        return ends_well(130);
    }
    if (situation == "oversleeps")
        wait_for(FrameType::heartbeat);
    if (situation == "intrudes") {
        say(frames, sender.encode(ResultFile{marker + ".elsewhere", "x"}));
        say(frames, sender.encode(ResultFile{marker + ".results/../x", "x"}));
    }
    if (situation == "loses") {
        static_cast<void>(sender.encode(Heartbeat{}));
    }
    say(frames, sender.encode(ResultFile{marker + ".results/run.json", "whole"}));
    return ends_well(7);
}

} // namespace

// The situation is the word after "fake=", what follows the ":" a path of the test's.
int main(int argc, char** argv) {
    std::string memory;
    std::string_view words;
    std::string cpu;
    bool bochs = false;
    if (argc == 2 && std::string_view{argv[1]} == "--version") {
        const char* const version = std::getenv("FAKE_QEMU_VERSION");
        std::printf("QEMU emulator version %s\n", version == nullptr ? "10.0.0" : version);
        return 0;
    }
    for (int i = 1; i + 1 < argc; ++i)
        if (std::string_view{argv[i]} == "-append" || std::string_view{argv[i]} == "--append")
            words = argv[i + 1];
        else if (std::string_view{argv[i]} == "-cpu")
            cpu = argv[i + 1];
        else if (std::string_view{argv[i]} == "-rc") { // in its folder, and told by no argument
            bochs = true;
            std::ifstream file{bochs_memory_file, std::ios::binary};
            memory.assign(std::istreambuf_iterator<char>{file}, {});
            words = memory;
            words = words.substr(0, words.find('\0', words.find("fake=")));
        }
    words.remove_prefix(std::min(words.find("fake=") + 5, words.size()));
    const auto colon = words.find(':');
    return play(words.substr(0, colon), std::string{words.substr(colon + 1)}, bochs, cpu);
}
