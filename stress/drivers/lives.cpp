#include "stress/drivers/lives.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>
#include <fmt/format.h>

#include "stress/drivers/died.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/process_use.hpp"

namespace nestbed::stress {

namespace {

using supervise::Clock;

constexpr std::uint64_t most_kept_samples = 16 * 1024;
constexpr std::size_t most_complaints = 20;

class Nursery {
public:
    Nursery(const StressContext& context, const std::function<Status(const Life&)>& live)
        : _context{context}, _live{live} {}

    // `at_once` fibers, each with one machine after the other while `more` says so.
    void run(std::uint32_t at_once, const std::function<bool()>& more) {
        std::vector<boost::fibers::fiber> fibers;
        for (std::uint32_t i = 0; i < at_once; ++i)
            fibers.emplace_back([&] {
                while (!_ended && _lives.wrong.size() < most_complaints && more())
                    one();
            });
        for (auto& fiber : fibers)
            fiber.join();
    }

    [[nodiscard]] const std::optional<Error>& ended() const { return _ended; }
    [[nodiscard]] std::uint64_t begun() const { return _begun; }
    Lives& lives() { return _lives; }

private:
    void one() {
        const auto number = _begun++;
        std::mt19937_64 random{_context.seed ^ number * 0x9e37'79b9'7f4a'7c15};
        const auto start = Clock::now();
        auto machine = create_machine(_context.setup, _context.supervisor);
        if (!machine)
            return note(number, machine.error(), nullptr);
        if (auto lived = _live({**machine, number, random}); !lived)
            return note(number, lived.error(), machine->get());
        machine->reset();
        ++_lives.machines;
        if (_lives.seconds.size() < most_kept_samples)
            _lives.seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
        // Lives that never wait would keep signals from being seen.
        boost::this_fiber::yield();
        if (_context.supervisor.cancelled() && !_ended)
            _ended = Error{ErrorKind::cancelled, "create and destroy machines", "interrupted", {}};
    }

    void note(std::uint64_t number, const Error& error, machine::Machine* machine) {
        if (!is_death(error)) {
            if (!_ended)
                _ended = error;
            return;
        }
        _lives.wrong.push_back(fmt::format("machine {}: {}", number, error.message()));
        if (machine == nullptr)
            return;
        auto dead = died(*machine, error);
        _lives.death = dead.verdict;
        std::ranges::move(dead.stuck, std::back_inserter(_lives.stuck));
        std::ranges::move(dead.details, std::back_inserter(_lives.wrong));
    }

    const StressContext& _context;
    const std::function<Status(const Life&)>& _live;
    Lives _lives;
    std::uint64_t _begun = 0;
    std::optional<Error> _ended;
};

} // namespace

Result<Lives> run_lives(const StressContext& context, std::uint32_t at_once,
                        const std::function<Status(const Life&)>& live) {
    Nursery nursery{context, live};
    // As many as are alive at once, twice: by then the stacks and heaps are there that are kept.
    const std::uint64_t warmup = std::uint64_t{2} * at_once;
    nursery.run(at_once, [&] { return nursery.begun() < warmup; });
    const auto before = process_use();
    if (!before)
        return tl::unexpected{before.error()};
    const auto start = Clock::now();
    nursery.lives().seconds.clear();
    const auto warm = nursery.begun();
    nursery.run(at_once, [&] {
        if (context.progress)
            context.progress(
                std::min(1.0, std::chrono::duration<double>(Clock::now() - start) / context.duration));
        return nursery.begun() == warm || Clock::now() - start < context.duration;
    });
    if (nursery.ended())
        return tl::unexpected{*nursery.ended()};
    const auto after = settled_process_use(*before);
    if (!after)
        return tl::unexpected{after.error()};
    auto lives = std::move(nursery.lives());
    lives.total_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    for (auto& line : judge_process_use(*before, *after, nursery.begun() - warm))
        lives.wrong.push_back(std::move(line));
    lives.machines -= std::min(lives.machines, warm);
    return lives;
}

Counted counted(Lives lives, std::uint32_t at_once) {
    Counted counted{.verdict = lives.death.value_or(verdict_of(lives.wrong)), .seconds = lives.total_seconds};
    counted.operations = static_cast<double>(lives.machines);
    counted.summary =
        fmt::format("{} machines, {} at a time, {} wrong", lives.machines, at_once, lives.wrong.size());
    for (auto& seconds : lives.seconds)
        seconds *= 1000;
    counted.distributions.push_back(distribution("life", "ms", lives.seconds));
    counted.details = capped(std::move(lives.wrong));
    counted.stuck = std::move(lives.stuck);
    return counted;
}

} // namespace nestbed::stress
