// A guest's serial lines as descriptors that were inherited, for a program that starts `nestbed boot`.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "core/supervise/supervisor.hpp"
#include "lab/process.hpp"

namespace nestbed::cli {

class SerialLines {
public:
    // `descriptors` are those of COM1 and COM2: sockets, or other ends that are both read and written.
    // Errors: bad_input where they are not two that are open.
    [[nodiscard]] static Result<SerialLines> take(const std::vector<int>& descriptors);

    // Wait until all of it is on its way, or nobody is left to read it; any thread.
    void to_first(std::span<const std::byte> bytes) const { write_all(_first, bytes); }
    void to_second(std::span<const std::byte> bytes) const { write_all(_second, bytes); }

    // Passes on what comes over the first line until what it returns is destroyed. `feed` gives how many
    // bytes there was room for; the rest is offered again. Errors: host_lacks.
    [[nodiscard]] Result<std::unique_ptr<lab::Pump>>
    listen(supervise::Supervisor& supervisor,
           std::function<std::size_t(std::span<const std::byte>)> feed) const;

private:
    SerialLines(int first, int second) : _first{first}, _second{second} {}
    static void write_all(int fd, std::span<const std::byte> bytes);

    int _first;
    int _second;
};

} // namespace nestbed::cli
