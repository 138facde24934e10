#include "cli/check_command.hpp"

#include <clocale>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <langinfo.h>
#include <unistd.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
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
#include "report/nested_document.hpp"
#include "report/nested_offer.hpp"
#include "topology/host.hpp"
#include "topology/text_file.hpp"

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
    std::vector<std::string> diff; // two files, or none
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
    const auto seen =
        kvm ? report::look_at_nested(*kvm)
            : report::NestedSeen{.offer = nested::offer_of({}), .supported_cpuid = {}, .vmx = {}};
    const int status = print(options.json ? report::dump(report::to_json(seen)) : nested_text(seen));
    if (status != 0)
        return status;
    if (!kvm)
        complain(kvm.error());
    return seen.offer.extension != nested::Extension::none ? 0 : exit_code(ErrorKind::host_lacks);
}

Result<report::NestedDocument> read_document(const std::string& path) {
    constexpr std::size_t most_bytes = 1024 * KiB;
    return topology::read_text_file(path, most_bytes).and_then([&](const std::string& text) {
        return report::parse_nested_document(text, path);
    });
}

int check_diff(const std::string& a_path, const std::string& b_path) {
    const auto a = read_document(a_path);
    const auto b = read_document(b_path);
    if (auto both = first_error(a, b); !both)
        return complain(both.error());
    const auto lines = report::nested_differences(*a, a_path, *b, b_path);
    const int status = print(lines.empty() ? "no difference\n" : fmt::format("{}\n", fmt::join(lines, "\n")));
    if (status != 0)
        return status;
    return lines.empty() ? 0 : exit_code(ErrorKind::check_failed);
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
    auto* const nested =
        command->add_flag("--nested", options->nested,
                          "Only what KVM offers to guests that are hypervisors, feature by feature");
    auto* const json = command->add_flag("--json", options->json, "Facts and findings as one JSON document");
    command
        ->add_option("--diff", options->diff,
                     "Only what two files that --nested --json made differ in, feature by feature")
        ->type_name("FILE FILE")
        ->expected(2)
        ->excludes(nested)
        ->excludes(json);
    command->footer(
        "Exit code: 0 where guests run (with --nested: where they can be hypervisors), else 3.\n"
        "With --diff: 0 where the two are equal, 1 where they differ, 2 where one cannot be read.\n"
        "Examples:\n"
        "  nestbed check\n"
        "  nestbed check --vcpus 288\n"
        "  nestbed check --nested\n"
        "  nestbed check --nested --json > here.json\n"
        "  nestbed check --diff here.json there.json\n"
        "  nestbed check --json | jq '.findings[] | select(.level != \"ok\")'");
    command->callback([options, &action] {
        action = [options] {
            if (!options->diff.empty())
                return check_diff(options->diff[0], options->diff[1]);
            return options->nested ? check_nested(*options) : check(*options);
        };
    });
}

} // namespace nestbed::cli
