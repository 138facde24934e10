#include "report/html/host_of_run.hpp"

#include <string>

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.hpp"

namespace nestbed::report {

Result<topology::Host> host_of(const HostFacts& facts) {
    const std::string asked = "draw the plan's host";
    if (!facts.topology)
        return fail(ErrorKind::bad_input, asked, "the document has no topology");
    const auto& xml = facts.topology->xml;
    if (xml.empty()) {
        // Only what cannot be the name of a file here: the document does not say which files are read.
        const auto& source = facts.topology->source;
        if (source.find(':') == std::string::npos || source.find('/') != std::string::npos ||
            source.find(".xml") != std::string::npos)
            return fail(ErrorKind::bad_input, asked, "the document has no XML of it");
        return topology::discover(source);
    }
    const Fd file{::memfd_create("topology", MFD_CLOEXEC)};
    if (!file)
        return fail_errno(ErrorKind::host_lacks, asked);
    if (::write(file.get(), xml.data(), xml.size()) != static_cast<ssize_t>(xml.size()))
        return fail_errno(ErrorKind::host_lacks, asked);
    auto host = topology::discover(fmt::format("/proc/self/fd/{}", file.get()));
    if (host)
        host->source = facts.topology->source;
    return host;
}

} // namespace nestbed::report
