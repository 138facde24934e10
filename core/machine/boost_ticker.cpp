#include "core/machine/boost_ticker.hpp"

#include <utility>

namespace nestbed::machine {

Result<std::unique_ptr<BoostTicker>> BoostTicker::start(ProgressBoost& boost) {
    if (auto opened = boost.open_timer(); !opened)
        return tl::unexpected{opened.error()};
    auto due = supervise::Readable::watch(boost.timer());
    if (!due)
        return tl::unexpected{due.error()};
    return std::unique_ptr<BoostTicker>{new BoostTicker{boost, std::move(*due)}};
}

BoostTicker::BoostTicker(ProgressBoost& boost, supervise::Readable due)
    : _due{std::move(due)}, _fiber{[this, &boost] {
          while (!_stopping) {
              [[maybe_unused]] const bool expired = _due.wait_until(supervise::Deadline::max());
              boost.tick();
          }
      }} {}

BoostTicker::~BoostTicker() {
    _stopping = true;
    _due.interrupt();
    _fiber.join();
}

} // namespace nestbed::machine
