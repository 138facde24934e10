#include "guests/qemu_cpu.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/edit_distance.hpp"
#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"
#include "guests/qemu_properties.hpp"
#include "nested/vmx/features.hpp"

namespace nestbed::guests {

namespace {

namespace cpu = core::cpu;
using cpu::bit;
using cpu::CpuidBits;
using cpu::Register;

struct Feature {
    std::string_view name;
    std::uint32_t leaf;
    std::uint32_t subleaf;
    Register reg;
    unsigned number;

    [[nodiscard]] CpuidBits bits() const { return {leaf, subleaf, reg, bit(number)}; }
};

using enum Register;

// SDM volume 2, CPUID; APM volume 3, appendix E.
constexpr std::array features{
    Feature{"pni", 1, 0, ecx, 0},
    Feature{"pclmulqdq", 1, 0, ecx, 1},
    Feature{"vmx", 1, 0, ecx, 5},
    Feature{"ssse3", 1, 0, ecx, 9},
    Feature{"fma", 1, 0, ecx, 12},
    Feature{"cx16", 1, 0, ecx, 13},
    Feature{"pdcm", 1, 0, ecx, 15},
    Feature{"pcid", 1, 0, ecx, 17},
    Feature{"sse4.1", 1, 0, ecx, 19},
    Feature{"sse4.2", 1, 0, ecx, 20},
    Feature{"x2apic", 1, 0, ecx, 21},
    Feature{"movbe", 1, 0, ecx, 22},
    Feature{"popcnt", 1, 0, ecx, 23},
    Feature{"tsc-deadline", 1, 0, ecx, 24},
    Feature{"aes", 1, 0, ecx, 25},
    Feature{"xsave", 1, 0, ecx, 26},
    Feature{"avx", 1, 0, ecx, 28},
    Feature{"f16c", 1, 0, ecx, 29},
    Feature{"rdrand", 1, 0, ecx, 30},
    Feature{"sep", 1, 0, edx, 11},
    Feature{"mtrr", 1, 0, edx, 12},
    Feature{"mca", 1, 0, edx, 14},
    Feature{"pat", 1, 0, edx, 16},
    Feature{"clflush", 1, 0, edx, 19},
    Feature{"fsgsbase", 7, 0, ebx, 0},
    Feature{"tsc-adjust", 7, 0, ebx, 1},
    Feature{"bmi1", 7, 0, ebx, 3},
    Feature{"hle", 7, 0, ebx, 4},
    Feature{"avx2", 7, 0, ebx, 5},
    Feature{"smep", 7, 0, ebx, 7},
    Feature{"bmi2", 7, 0, ebx, 8},
    Feature{"erms", 7, 0, ebx, 9},
    Feature{"invpcid", 7, 0, ebx, 10},
    Feature{"rtm", 7, 0, ebx, 11},
    Feature{"rdseed", 7, 0, ebx, 18},
    Feature{"adx", 7, 0, ebx, 19},
    Feature{"smap", 7, 0, ebx, 20},
    Feature{"umip", 7, 0, ecx, 2},
    Feature{"pku", 7, 0, ecx, 3},
    Feature{"la57", 7, 0, ecx, 16},
    Feature{"rdpid", 7, 0, ecx, 22},
    Feature{"pks", 7, 0, ecx, 31},
    Feature{"spec-ctrl", 7, 0, edx, 26},
    Feature{"stibp", 7, 0, edx, 27},
    Feature{"arch-capabilities", 7, 0, edx, 29},
    Feature{"ssbd", 7, 0, edx, 31},
    Feature{"lam", 7, 1, eax, 26},
    Feature{"xsaveopt", 0xd, 1, eax, 0},
    Feature{"xsavec", 0xd, 1, eax, 1},
    Feature{"xgetbv1", 0xd, 1, eax, 2},
    Feature{"xsaves", 0xd, 1, eax, 3},
    Feature{"lahf-lm", 0x80000001, 0, ecx, 0},
    Feature{"svm", 0x80000001, 0, ecx, 2},
    Feature{"abm", 0x80000001, 0, ecx, 5},
    Feature{"skinit", 0x80000001, 0, ecx, 12},
    Feature{"perfctr-core", 0x80000001, 0, ecx, 23},
    Feature{"syscall", 0x80000001, 0, edx, 11},
    Feature{"nx", 0x80000001, 0, edx, 20},
    Feature{"pdpe1gb", 0x80000001, 0, edx, 26},
    Feature{"rdtscp", 0x80000001, 0, edx, 27},
    Feature{"lm", 0x80000001, 0, edx, 29},
    Feature{"invtsc", 0x80000007, 0, edx, 8},
    Feature{"ibpb", 0x80000008, 0, ebx, 12},
    Feature{"npt", cpu::leaf::svm, 0, edx, 0},
    Feature{"lbrv", cpu::leaf::svm, 0, edx, 1},
    Feature{"svm-lock", cpu::leaf::svm, 0, edx, 2},
    Feature{"nrip-save", cpu::leaf::svm, 0, edx, 3},
    Feature{"tsc-scale", cpu::leaf::svm, 0, edx, 4},
    Feature{"vmcb-clean", cpu::leaf::svm, 0, edx, 5},
    Feature{"flushbyasid", cpu::leaf::svm, 0, edx, 6},
    Feature{"decodeassists", cpu::leaf::svm, 0, edx, 7},
    Feature{"pause-filter", cpu::leaf::svm, 0, edx, 10},
    Feature{"pfthreshold", cpu::leaf::svm, 0, edx, 12},
    Feature{"avic", cpu::leaf::svm, 0, edx, 13},
    Feature{"v-vmsave-vmload", cpu::leaf::svm, 0, edx, 15},
    Feature{"vgif", cpu::leaf::svm, 0, edx, 16},
    Feature{"vnmi", cpu::leaf::svm, 0, edx, 25},
    Feature{"svme-addr-chk", cpu::leaf::svm, 0, edx, 28},
};

// Single features of VMX by QEMU's names; those that a test asks to have hidden.
constexpr std::array vmx_features{
    std::pair<std::string_view, std::string_view>{"vmx-mbec", "ept_mode_based_exec"},
};

struct Word {
    std::uint32_t leaf;
    std::uint32_t subleaf;
    Register reg;
    std::uint32_t shown = 0;
};

struct Model {
    std::string_view name;
    std::vector<Word> words; // all others are shown whole
    bool nested = true;
};

// FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, CLFSH, MMX, FXSR, SSE,
// SSE2; HTT is the topology's.
constexpr std::uint32_t basic_edx = 0x078b'fbfd | bit(cpu::feature::htt);
// Those of them that AMD repeats in leaf 0x80000001, all but SEP, CLFSH, SSE and SSE2; SYSCALL, NX and LM.
constexpr std::uint32_t extended_edx = (basic_edx & 0x0183'f3ff) | bit(11) | bit(20) | bit(29);
constexpr std::uint32_t pni = bit(0);
constexpr std::uint32_t cx16 = bit(13);
constexpr std::uint32_t lahf_lm = bit(0);

// Processors of the first years of AMD64, of which nothing else is known but what is in `features_ecx` and
// `extended_ecx`. QEMU gives them x2APIC under KVM, and the topology's bits are the machine's.
std::vector<Word> early_amd64(std::uint32_t features_ecx, std::uint32_t extended_ecx) {
    const std::uint32_t machine_ecx = bit(cpu::feature::x2apic) | bit(cpu::feature::hypervisor);
    const std::uint32_t topology_ecx = bit(cpu::feature::cmp_legacy) | bit(cpu::feature::topoext);
    return {
        {1, 0, ecx, features_ecx | machine_ecx},
        {1, 0, edx, basic_edx},
        {7, 0, ebx},
        {7, 0, ecx},
        {7, 0, edx},
        {7, 1, eax},
        {7, 1, edx},
        {7, 2, edx},
        {0xa, 0, eax},
        {0xa, 0, ebx},
        {0xa, 0, edx},
        {0xd, 0, eax},
        {0xd, 0, edx},
        {0xd, 1, eax},
        {0xd, 1, ecx},
        {0xd, 1, edx},
        {0x80000001, 0, ecx, extended_ecx | topology_ecx},
        {0x80000001, 0, edx, extended_edx},
        {0x80000007, 0, edx},
        {0x80000008, 0, ebx},
        {cpu::leaf::svm, 0, edx},
        {0x80000021, 0, eax},
        {0x80000022, 0, eax},
    };
}

std::optional<Model> find_model(std::string_view name) {
    if (name == "max" || name == "host")
        return Model{.name = name, .words = {}};
    if (name == "qemu64")
        return Model{.name = name, .words = early_amd64(pni | cx16, lahf_lm), .nested = false};
    if (name == "Opteron_G1")
        return Model{.name = name, .words = early_amd64(pni, 0), .nested = false};
    return std::nullopt;
}

// QEMU takes underscores for hyphens.
std::string hyphened(std::string_view name) {
    std::string text{name};
    std::ranges::replace(text, '_', '-');
    return text;
}

tl::unexpected<Error> unknown(std::string_view property) {
    std::vector<std::string_view> names;
    for (const auto& feature : features)
        names.push_back(feature.name);
    const auto end = property.find('=');
    return fail(ErrorKind::bad_input, fmt::format("show a CPU with {}", property),
                "nestbed knows no such property of -cpu",
                fmt::format("the most similar feature is {}", nearest(property.substr(0, end), names)));
}

class Parser {
public:
    explicit Parser(const Model& model) {
        _cpu.vmx = _cpu.svm = model.nested;
        for (const auto& word : model.words)
            _cpu.shown.hidden.push_back({word.leaf, word.subleaf, word.reg, ~word.shown});
    }

    Status take(std::string_view property) {
        if (property.starts_with("vendor="))
            return set_vendor(property);
        if (property.starts_with('+') || property.starts_with('-'))
            return set_feature(property, hyphened(property.substr(1)), property.front() == '+');
        const auto [name, value] = split_property(property);
        const auto on = value.empty() ? std::optional{true} : parse_switch(value);
        if (!on)
            return unknown(property);
        // All that KVM supports is shown, whether it can be migrated or not.
        if (name == "migratable")
            return {};
        // The guest's physical addresses have as many bits as KVM says.
        if (name == "host-phys-bits" && *on)
            return {};
        return set_feature(property, hyphened(name), *on);
    }

    QemuCpu result() && {
        std::erase_if(_cpu.shown.hidden, [](const CpuidBits& word) { return word.bits == 0; });
        return std::move(_cpu);
    }

private:
    Status set_vendor(std::string_view property) {
        const auto vendor = property.substr(property.find('=') + 1);
        if (vendor.size() != 12)
            return fail(ErrorKind::bad_input, fmt::format("show a CPU with {}", property),
                        fmt::format("a vendor has 12 characters, this one {}", vendor.size()),
                        "use vendor=GenuineIntel or vendor=AuthenticAMD");
        _cpu.shown.vendor = vendor;
        return {};
    }

    Status set_feature(std::string_view property, std::string_view name, bool on) {
        const auto vmx = std::ranges::find(vmx_features, name, [](const auto& pair) { return pair.first; });
        if (vmx != vmx_features.end()) {
            std::erase(_cpu.vmx_without, vmx->second);
            if (!on)
                _cpu.vmx_without.emplace_back(vmx->second);
            return {};
        }
        const auto* const feature = std::ranges::find(features, name, &Feature::name);
        if (feature == features.end())
            return unknown(property);
        if (name == "vmx")
            _cpu.vmx = on;
        if (name == "svm")
            _cpu.svm = on;
        std::erase_if(_cpu.wanted, [&](const WantedFeature& one) { return one.name == feature->name; });
        if (on)
            _cpu.wanted.push_back({feature->name, feature->bits()});
        hide(feature->bits(), !on);
        return {};
    }

    void hide(const CpuidBits& bits, bool hidden) {
        auto& words = _cpu.shown.hidden;
        const auto word = std::ranges::find_if(words, [&](const CpuidBits& one) {
            return std::tie(one.leaf, one.subleaf, one.reg) == std::tie(bits.leaf, bits.subleaf, bits.reg);
        });
        if (word == words.end()) {
            if (hidden)
                words.push_back(bits);
        } else if (hidden) {
            word->bits |= bits.bits;
        } else {
            word->bits &= ~bits.bits;
        }
    }

    QemuCpu _cpu;
};

} // namespace

Result<QemuCpu> parse_qemu_cpu(std::string_view text) {
    const auto properties = split_properties(text);
    const auto model = find_model(properties.front());
    if (!model)
        return fail(
            ErrorKind::bad_input, fmt::format("show the CPU model '{}'", properties.front()),
            "nestbed shows what KVM supports and has no models of processors but qemu64 and Opteron_G1",
            "use -cpu max");
    Parser parser{*model};
    for (std::size_t i = 1; i < properties.size(); ++i)
        if (auto taken = parser.take(properties[i]); !taken)
            return tl::unexpected{taken.error()};
    return std::move(parser).result();
}

nested::Profile nested_profile(const QemuCpu& cpu, nested::Extension extension) {
    using nested::Extension;
    using nested::Showing;
    if ((extension == Extension::vmx && !cpu.vmx) || (extension == Extension::svm && !cpu.svm))
        return {.showing = Showing::off, .extension = {}, .without = {}};
    if (extension == Extension::vmx && !cpu.vmx_without.empty())
        return {.showing = Showing::require, .extension = extension, .without = cpu.vmx_without};
    return {};
}

} // namespace nestbed::guests
