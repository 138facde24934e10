#include "cli/lab_options.hpp"

namespace nestbed::cli {

void add_lab_options(CLI::App& command, LabOptions& options, const std::string& group) {
    auto* const kernel =
        command.add_option("--kernel", options.kernel, "A kernel of yours [the distribution's]")
            ->type_name("BZIMAGE")
            ->group(group);
    command
        .add_option("--modules", options.modules,
                    "Its modules: /lib/modules/VERSION, a folder with lib/modules/VERSION, or a build tree "
                    "[built in]")
        ->type_name("DIR")
        ->needs(kernel)
        ->group(group);
    command.add_option("--append", options.append, "Added to the kernel's command line")
        ->type_name("TEXT")
        ->group(group);
    command
        .add_option("--cpu-flags", options.cpu_flags, "What the emulated CPU has more or less: +vgif,-npt")
        ->type_name("FLAGS")
        ->group(group);
}

lab::LabRequest to_request(const LabOptions& options) {
    lab::LabRequest request;
    if (!options.kernel.empty()) {
        request.kernel = lab::KernelFiles{.image = options.kernel, .modules = {}};
        if (!options.modules.empty())
            request.kernel->modules = options.modules;
    }
    request.append = options.append;
    request.shape.cpu_flags = options.cpu_flags;
    return request;
}

std::vector<std::string> to_words(const LabOptions& options) {
    std::vector<std::string> words;
    for (const auto& [name, value] : {std::pair{"--kernel=", &options.kernel},
                                      {"--modules=", &options.modules},
                                      {"--append=", &options.append},
                                      {"--cpu-flags=", &options.cpu_flags}})
        if (!value->empty())
            words.push_back(name + *value);
    return words;
}

} // namespace nestbed::cli
