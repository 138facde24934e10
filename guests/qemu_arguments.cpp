#include "guests/qemu_arguments.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include <fmt/format.h>

#include "guests/qemu_properties.hpp"

namespace nestbed::guests {

namespace {

constexpr std::uint64_t most_vcpus = 1U << 20; // KVM's limits are its own to tell

// Every image that can be started gets these devices, so naming them adds nothing.
constexpr std::string_view has_device = "every multiboot image has it";
constexpr std::string_view has_nothing = "there is nothing but what images are told of";

constexpr std::array unneeded{
    UnneededArgument{"nodefaults", "", has_nothing},
    UnneededArgument{"no-user-config", "", "there is no configuration file"},
    UnneededArgument{"enable-kvm", "", "nestbed runs on KVM and on nothing else"},
    UnneededArgument{"accel", "kvm", "nestbed runs on KVM and on nothing else"},
    UnneededArgument{"display", "none", "there is no display"},
    UnneededArgument{"vnc", "none", "there is no display"},
    UnneededArgument{"vga", "none", "there is no display"},
    UnneededArgument{"monitor", "none", "there is no monitor"},
    UnneededArgument{"parallel", "none", "there is no parallel port"},
    UnneededArgument{"net", "none", "there is no network"},
    UnneededArgument{"nic", "none", "there is no network"},
    UnneededArgument{"device", "pc-testdev", has_device},
    UnneededArgument{"device", "pci-testdev", has_device},
    UnneededArgument{"device", "isa-debug-exit,iobase=0xf4,iosize=0x4", has_device},
    UnneededArgument{"device", "isa-debug-exit,iobase=0xf4,iosize=4", has_device},
    UnneededArgument{"global", "kvm-pit.lost_tick_policy=discard", "there is no PIT"},
    UnneededArgument{"global", "kvm-pit.lost_tick_policy=delay", "there is no PIT"},
    UnneededArgument{"overcommit", "mem-lock=off", "no memory is locked"},
    UnneededArgument{"overcommit", "cpu-pm=off", "an idle vCPU gives its PU back"},
};

// The same for the properties of -machine.
constexpr std::array unneeded_of_machine{
    UnneededArgument{"machine", "pc", "there is one machine"},
    UnneededArgument{"machine", "q35", "there is one machine"},
    UnneededArgument{"machine", "accel=kvm", "nestbed runs on KVM and on nothing else"},
    UnneededArgument{"machine", "kernel-irqchip=split", "the local APICs are KVM's, the I/O APIC is not"},
    UnneededArgument{"machine", "pit=off", "there is no PIT"},
    UnneededArgument{"machine", "hpet=off", "there is no HPET"},
    UnneededArgument{"machine", "vmport=off", "there is no VMware port"},
    UnneededArgument{"machine", "usb=off", "there is no USB"},
};

constexpr std::array known_machines{"pc", "q35"};

constexpr std::array<std::string_view, 9> options_with_value{"kernel", "initrd", "append",  "smp", "m",
                                                             "cpu",    "serial", "machine", "M"};

tl::unexpected<Error> refuse(std::string_view option, std::string_view value, std::string found,
                             std::string remedy = "see docs/kvm-unit-tests.md for what there is") {
    return fail(ErrorKind::bad_input,
                value.empty() ? fmt::format("-{}", option) : fmt::format("-{} {}", option, value),
                std::move(found), std::move(remedy));
}

// "2048" is in MiB; suffixes k, m, g and t in either case.
Result<std::uint64_t> parse_memory(std::string_view text) {
    auto number = text;
    if (number.starts_with("size="))
        number.remove_prefix(5);
    const bool bare = !number.empty() && std::isdigit(static_cast<unsigned char>(number.back())) != 0;
    const auto bytes = parse_size(bare ? fmt::format("{}M", number) : std::string{number});
    if (!bytes || *bytes == 0)
        return refuse("m", text, "it is no amount of memory", "use a number of MiB, or one such as 4G");
    return bytes;
}

Result<std::uint32_t> parse_smp(std::string_view text) {
    auto number = text;
    if (number.starts_with("cpus="))
        number.remove_prefix(5);
    const auto count = parse_count(number, "-smp", most_vcpus);
    if (!count || *count == 0)
        return refuse("smp", text, "it is no number of vCPUs",
                      "the topology follows from the number: use -smp N");
    return static_cast<std::uint32_t>(*count);
}

Status check_machine(std::string_view text) {
    for (auto property : split_properties(text)) {
        if (property.starts_with("type="))
            property.remove_prefix(5);
        const bool known = std::ranges::any_of(unneeded_of_machine, [&](const UnneededArgument& one) {
            if (one.value == property)
                return true;
            const auto [name, value] = split_property(property);
            const auto [other, meant] = split_property(one.value);
            std::string hyphened{name};
            std::ranges::replace(hyphened, '_', '-');
            return hyphened == other && !value.empty() && value == meant;
        });
        if (!known)
            return refuse("machine", property, "nestbed's machine cannot be had so");
    }
    return {};
}

bool is_unneeded(std::string_view option, std::string_view value) {
    return std::ranges::any_of(
        unneeded, [&](const UnneededArgument& one) { return one.option == option && one.value == value; });
}

bool takes_value(std::string_view option) {
    const auto valued = [&](const UnneededArgument& one) {
        return one.option == option && !one.value.empty();
    };
    return std::ranges::find(options_with_value, option) != options_with_value.end() ||
           std::ranges::any_of(unneeded, valued);
}

class Parser {
public:
    Status take(std::string_view option, std::string_view value) {
        if (is_unneeded(option, value))
            return {};
        if (option == "no-reboot")
            _arguments.no_reboot = true;
        else if (option == "version")
            _arguments.action = QemuAction::show_version;
        else if (option == "help" || option == "h")
            _arguments.action = QemuAction::show_help;
        else if (option == "device" && (value == "?" || value == "help"))
            _arguments.action = QemuAction::list_devices;
        else if ((option == "machine" || option == "M") && (value == "?" || value == "help"))
            _arguments.action = QemuAction::list_machines;
        else if (option == "kernel")
            _arguments.kernel = value;
        else if (option == "initrd")
            _arguments.initrd = value;
        else if (option == "append")
            _arguments.command_line = value;
        else if (option == "smp")
            return keep(_arguments.vcpus, parse_smp(value));
        else if (option == "m")
            return keep(_arguments.memory_bytes, parse_memory(value));
        else if (option == "cpu")
            return keep(_arguments.cpu, parse_qemu_cpu(value));
        else if (option == "machine" || option == "M")
            return check_machine(value);
        else if (option == "serial" && value == "stdio")
            _arguments.serial_on_stdio = true;
        else
            return refuse(option, value, "nestbed-as-qemu has no such thing");
        return {};
    }

    Result<QemuArguments> result() && {
        if (_arguments.action == QemuAction::boot && _arguments.kernel.empty())
            return refuse("kernel", "", "there is none", "name the image to start: -kernel FILE");
        return std::move(_arguments);
    }

private:
    template<typename T>
    static Status keep(T& place, Result<T> value) {
        if (!value)
            return tl::unexpected{value.error()};
        place = std::move(*value);
        return {};
    }

    QemuArguments _arguments;
};

} // namespace

Result<QemuArguments> parse_qemu_arguments(std::span<const std::string> arguments) {
    Parser parser;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string_view option = arguments[i];
        if (!option.starts_with('-') || option.size() < 2)
            return fail(ErrorKind::bad_input, fmt::format("use {}", option), "disk images are not booted",
                        "name the image to start: -kernel FILE");
        option.remove_prefix(option.starts_with("--") ? 2 : 1);
        std::string_view value;
        if (takes_value(option)) {
            if (i + 1 == arguments.size())
                return refuse(option, "", "its value is missing");
            value = arguments[++i];
        }
        if (auto taken = parser.take(option, value); !taken)
            return tl::unexpected{taken.error()};
    }
    return std::move(parser).result();
}

std::span<const UnneededArgument> unneeded_arguments() {
    return unneeded;
}

std::string device_list() {
    return "name \"isa-debug-exit\", bus ISA\n"
           "name \"pc-testdev\", bus ISA\n"
           "name \"pci-testdev\", bus PCI\n";
}

std::string machine_list() {
    std::string text = "Supported machines are:\n";
    for (const std::string_view name : known_machines)
        text += fmt::format("{:<20} nestbed's machine\n", name);
    return text;
}

} // namespace nestbed::guests
