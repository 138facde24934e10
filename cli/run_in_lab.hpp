// A command of nestbed in the lab, its output passed on as it comes.
#pragma once

#include "core/supervise/supervisor.hpp"
#include "lab/lab.hpp"

namespace nestbed::cli {

// Returns the exit code: the command's own, or that of what kept it from running.
int run_in_lab(const lab::LabRequest& request, supervise::Supervisor& supervisor);

} // namespace nestbed::cli
