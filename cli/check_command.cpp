#include "cli/check_command.hpp"

#include <clocale>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <langinfo.h>
#include <unistd.h>

#include "cli/nested_text.hpp"
#include "cli/output.hpp"
#include "core/boot/placement.hpp"
#include "core/kvm/kvm.hpp"
#include "core/machine/process_limits.hpp"
#include "nested/offer.hpp"
#include "report/host_check.hpp"
#include "report/host_check_text.hpp"
#include "report/host_facts.hpp"
#include "report/json_file.hpp"
#include "report/nested_offer.hpp"
#include "topology/host.hpp"

namespace nestbed::cli {

namespace {

constexpr std::uint32_t usual_vcpus = 288; // what `validate` runs by itself
constexpr std::uint32_t most_asked = 65536;
constexpr report::GuestNeeds needs{.memory_bytes = &boot::default_memory_bytes,
                                   .open_files = &machine::open_files_needed,
                                   .threads = &machine::threads_needed};

struct CheckOptions {
    std::uint32_t vcpus = 1024;
    bool json = false;
    bool nested = false;
};

// Asks the user's locale without putting the program into it.
bool locale_is_utf8() {
    const auto locale = ::newlocale(LC_CTYPE_MASK, "", nullptr);
    if (locale == nullptr)
        return false;
    const bool is_utf8 = std::string_view{::nl_langinfo_l(CODESET, locale)} == "UTF-8";
    ::freelocale(locale);
    return is_utf8;
}

report::HostState look_at_host() {
    const auto host = topology::discover("auto");
    const auto kvm = kvm::Kvm::open();
    report::HostState state;
    state.facts = report::gather_host_facts(host ? &*host : nullptr, kvm ? &*kvm : nullptr);
    if (kvm)
        state.nested = report::nested_offer(*kvm);
    else {
        state.nested = nested::offer_of({});
        state.kvm_error = kvm.error();
    }
    return state;
}

// Only what KVM offers to hypervisors.
int check_nested(const CheckOptions& options) {
    const auto kvm = kvm::Kvm::open();
    const auto offer = kvm ? report::nested_offer(*kvm) : nested::offer_of({});
    const auto supported = kvm ? kvm->supported_cpuid().value_or(core::cpu::Table{}) : core::cpu::Table{};
    const int status =
        print(options.json ? report::dump(nested_json(offer, supported)) : nested_text(offer, supported));
    if (status != 0)
        return status;
    if (!kvm)
        complain(kvm.error());
    return offer.extension != nested::Extension::none ? 0 : exit_code(ErrorKind::host_lacks);
}

int check(const CheckOptions& options) {
    const auto state = look_at_host();
    const auto findings = report::judge_host(state, needs, options.vcpus);
    std::vector<std::uint32_t> counts{options.vcpus};
    if (options.vcpus > usual_vcpus)
        counts.insert(counts.begin(), usual_vcpus);
    const auto conclusion = report::conclude(state, needs, counts);

    std::string text;
    if (options.json) {
        text = report::dump(report::to_json(state, options.vcpus, findings, conclusion));
    } else {
        const bool symbols = is_terminal(STDOUT_FILENO) && locale_is_utf8();
        text = report::format_findings(findings, symbols ? report::Marks::symbols : report::Marks::words);
        text += '\n' + conclusion + '\n';
    }
    if (const int status = print(text); status != 0)
        return status;
    return report::any_guest_runs(findings) ? 0 : exit_code(ErrorKind::host_lacks);
}

} // namespace

void add_check_command(CLI::App& app, Action& action) {
    auto options = std::make_shared<CheckOptions>();
    auto* const command =
        app.add_subcommand("check", "Show what this host can do, and the command that mends each shortfall");
    command->add_option("--vcpus", options->vcpus, "How many vCPUs the host is measured against")
        ->check(CLI::Range(std::uint32_t{1}, most_asked))
        ->capture_default_str();
    command->add_flag("--nested", options->nested,
                      "Only what KVM offers to guests that are hypervisors, feature by feature");
    command->add_flag("--json", options->json, "Facts and findings as one JSON document");
    command->footer("Exit code: 0 where guests run (with --nested: where they can be hypervisors), else 3.\n"
                    "Examples:\n"
                    "  nestbed check\n"
                    "  nestbed check --vcpus 288\n"
                    "  nestbed check --nested\n"
                    "  nestbed check --json | jq '.findings[] | select(.level != \"ok\")'");
    command->callback([options, &action] {
        action = [options] { return options->nested ? check_nested(*options) : check(*options); };
    });
}

} // namespace nestbed::cli
