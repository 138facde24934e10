// Ticks for a ProgressBoost.
#pragma once

#include <memory>

#include <boost/fiber/fiber.hpp>

#include "base/error.hpp"
#include "core/machine/progress_boost.hpp"
#include "core/supervise/epoll_scheduler.hpp"

namespace nestbed::machine {

// Calls tick() when it is due, for as long as it lives, before any vCPU of this processor runs. Made and
// destroyed by fibers of the thread that is to tick.
class BoostTicker {
public:
    // Errors: host_lacks when there is no descriptor left.
    [[nodiscard]] static Result<std::unique_ptr<BoostTicker>> start(ProgressBoost& boost);

    BoostTicker(const BoostTicker&) = delete;
    BoostTicker& operator=(const BoostTicker&) = delete;
    BoostTicker(BoostTicker&&) = delete;
    BoostTicker& operator=(BoostTicker&&) = delete;
    ~BoostTicker();

private:
    BoostTicker(ProgressBoost& boost, supervise::Readable due);

    TicksFirst _first;
    supervise::Readable _due;
    bool _stopping = false;
    boost::fibers::fiber _fiber;
};

} // namespace nestbed::machine
