// The host of a run, from its document.
#pragma once

#include "base/error.hpp"
#include "report/run_result.hpp"

namespace nestbed::report {

// Effect: hwloc loads the document's XML, in a child process first. Errors: those of topology::discover(),
// and bad_input where the document has neither XML nor a synthetic description.
[[nodiscard]] Result<topology::Host> host_of(const HostFacts& facts);

} // namespace nestbed::report
