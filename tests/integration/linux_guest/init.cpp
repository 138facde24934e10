// The first process of a Linux guest under test: says what the kernel made of the machine, a line a fact, and
// turns the machine off. Statically linked, so that it is the whole initramfs.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
    std::ifstream file{path};
    std::string line;
    std::getline(file, line);
    return line;
}

void say(const std::string& key, const std::string& value) {
    std::printf("fact %s = %s\n", key.c_str(), value.c_str());
}

// "cpu12" -> 12, for names of that form.
std::vector<unsigned> numbered(const fs::path& folder, const std::string& prefix) {
    std::vector<unsigned> numbers;
    for (const auto& entry : fs::directory_iterator{folder}) {
        const auto name = entry.path().filename().string();
        if (name.starts_with(prefix) && name.size() > prefix.size() &&
            name.find_first_not_of("0123456789", prefix.size()) == std::string::npos)
            numbers.push_back(static_cast<unsigned>(std::stoul(name.substr(prefix.size()))));
    }
    std::ranges::sort(numbers);
    return numbers;
}

// Those that the kernel was told to leave to us, by maxcpus=.
void bring_up_cpus() {
    const fs::path cpus{"/sys/devices/system/cpu"};
    for (const auto cpu : numbered(cpus, "cpu")) {
        const auto online = cpus / ("cpu" + std::to_string(cpu)) / "online";
        if (read(online) == "0")
            std::ofstream{online} << "1\n";
    }
}

void say_cpus() {
    const fs::path cpus{"/sys/devices/system/cpu"};
    say("cpus.present", read(cpus / "present"));
    say("cpus.online", read(cpus / "online"));
    std::ifstream info{"/proc/cpuinfo"};
    std::string apic_ids;
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("apicid"))
            apic_ids += (apic_ids.empty() ? "" : ",") + line.substr(line.find(':') + 2);
    say("cpus.apic_ids", apic_ids);
    std::set<std::string> packages;
    std::set<std::string> cores;
    for (const auto cpu : numbered(cpus, "cpu")) {
        const auto topology = cpus / ("cpu" + std::to_string(cpu)) / "topology";
        const auto package = read(topology / "physical_package_id");
        packages.insert(package);
        cores.insert(package + ":" + read(topology / "die_id") + ":" + read(topology / "core_id"));
    }
    say("cpus.packages", std::to_string(packages.size()));
    say("cpus.cores", std::to_string(cores.size()));
    for (const auto index : numbered(cpus / "cpu0/cache", "index")) {
        const auto cache = cpus / "cpu0/cache" / ("index" + std::to_string(index));
        say("cache." + std::to_string(index), read(cache / "level") + " " + read(cache / "type") + " " +
                                                  read(cache / "size") + " shared by " +
                                                  read(cache / "shared_cpu_list"));
    }
}

void say_nodes() {
    const fs::path nodes{"/sys/devices/system/node"};
    std::error_code error;
    if (!fs::exists(nodes, error))
        return;
    for (const auto node : numbered(nodes, "node")) {
        const auto folder = nodes / ("node" + std::to_string(node));
        const auto name = "node." + std::to_string(node);
        say(name + ".cpus", read(folder / "cpulist"));
        say(name + ".distance", read(folder / "distance"));
        std::istringstream memory{read(folder / "meminfo")};
        std::string word;
        std::uint64_t kib = 0;
        while (memory >> word && word != "MemTotal:") {
        }
        memory >> kib;
        say(name + ".memory_kib", std::to_string(kib));
    }
}

// Lines of the kernel's log that say that firmware or hypervisor told it something wrong.
void say_complaints() {
    constexpr int read_all = 3; // klogctl(2): SYSLOG_ACTION_READ_ALL
    std::string log(1 << 22, '\0');
    const int bytes = ::klogctl(read_all, log.data(), static_cast<int>(log.size()));
    log.resize(static_cast<std::size_t>(std::max(bytes, 0)));
    std::istringstream lines{log};
    unsigned complaints = 0;
    for (std::string line; std::getline(lines, line);)
        for (const auto* const words :
             {"APIC ID mismatch", "Firmware Bug", "FW_BUG", "ACPI BIOS", "ACPI Error", "ACPI Warning",
              "SRAT: Invalid", "SLIT: ", "topology:", "WARNING:", "BUG:", "Call Trace", "not responding",
              "smpboot: do_boot_cpu failed", "unstable", "soft lockup", "rcu: INFO"})
            if (line.find(words) != std::string::npos && line.find("mitigation") == std::string::npos) {
                say("complaint." + std::to_string(complaints++), line);
                break;
            }
    say("complaints", std::to_string(complaints));
}

// In the order of their names.
void load_modules() {
    std::error_code error;
    std::set<fs::path> modules;
    for (const auto& entry : fs::directory_iterator{"/modules", error})
        modules.insert(entry.path());
    for (const auto& module : modules) {
        const int fd = ::open(module.c_str(), O_RDONLY | O_CLOEXEC);
        const bool loaded = ::syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST;
        say("module." + module.filename().string(), loaded ? "loaded" : std::strerror(errno));
        ::close(fd);
    }
}

// The first sector of the first disk, and that the last can be written and read back.
void say_disk() {
    const int disk = ::open("/dev/vda", O_RDWR | O_SYNC);
    const int read_only = disk < 0 ? ::open("/dev/vda", O_RDONLY) : -1;
    const int fd = disk >= 0 ? disk : read_only;
    if (fd < 0)
        return;
    char sector[513] = {};
    const auto bytes = ::lseek(fd, 0, SEEK_END);
    say("disk.bytes", std::to_string(bytes));
    if (::pread(fd, sector, 512, 0) == 512)
        say("disk.first", std::string{sector, ::strnlen(sector, 40)});
    const std::string mark = "written by the guest";
    std::memset(sector, 0, sizeof sector);
    mark.copy(sector, mark.size());
    const bool written = disk >= 0 && ::pwrite(disk, sector, 512, bytes - 512) == 512;
    say("disk.written", written ? "yes" : "no");
    ::close(fd);
}

// The kernel asks for its own pool first, so that an answer may not be there at once.
void say_generator() {
    const int generator = ::open("/dev/hwrng", O_RDONLY | O_NONBLOCK);
    if (generator < 0)
        return;
    char random[16];
    bool answered = false;
    for (int waited = 0; waited < 100 && !answered; ++waited) {
        answered = ::read(generator, random, sizeof random) > 0;
        if (!answered && errno != EAGAIN)
            break;
        if (!answered)
            ::usleep(100'000);
    }
    say("hwrng", answered ? "answers" : "silent");
    ::close(generator);
}

} // namespace

int main() {
    for (const auto& [type, where] :
         {std::pair{"proc", "/proc"}, std::pair{"sysfs", "/sys"}, std::pair{"devtmpfs", "/dev"}}) {
        ::mkdir(where, 0755);
        ::mount(type, where, type, 0, nullptr);
    }
    const int console = ::open("/dev/console", O_RDWR);
    for (int fd = 0; fd < 3; ++fd)
        ::dup2(console, fd);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    std::puts("the guest's init runs");
    bring_up_cpus();
    load_modules();
    say_cpus();
    say_nodes();
    say_disk();
    say_generator();
    say_complaints();
    std::puts("the guest's init is done");
    std::fflush(stdout);
    ::sync();
    ::reboot(RB_POWER_OFF);
    return 0;
}
