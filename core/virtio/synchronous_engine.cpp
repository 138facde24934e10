#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/virtio/io_engine.hpp"

namespace nestbed::virtio {

namespace {

class SynchronousEngine final : public IoEngine {
public:
    explicit SynchronousEngine(int file) : _file{file} {}

    void start(std::uint32_t slot, const IoOperation& operation) override {
        _started.push_back({slot, &operation});
    }
    void cancel(std::uint32_t /*slot*/) override {} // what was submitted is done
    bool submit() override {
        for (const auto& [slot, operation] : std::exchange(_started, {})) {
            const auto result = lies_behind_end(_file, *operation) ? 0 : perform(*operation);
            _done.push_back({slot, result < 0 ? -errno : result});
        }
        return true;
    }
    std::vector<IoCompletion> reap() override { return std::exchange(_done, {}); }
    [[nodiscard]] int completion_fd() const override { return -1; }
    [[nodiscard]] std::string_view name() const override { return "preadv2"; }

private:
    struct Started {
        std::uint32_t slot = 0;
        const IoOperation* operation = nullptr;
    };

    [[nodiscard]] ssize_t perform(const IoOperation& operation) const {
        const auto offset = static_cast<off_t>(operation.offset);
        const auto bytes = static_cast<off_t>(operation.bytes);
        const auto count = static_cast<int>(operation.buffers.size());
        switch (operation.kind) {
        case IoOperation::Kind::read:
            return ::preadv2(_file, operation.buffers.data(), count, offset, 0);
        case IoOperation::Kind::write:
            return ::pwritev2(_file, operation.buffers.data(), count, offset,
                              operation.durable ? RWF_DSYNC : 0);
        case IoOperation::Kind::flush:
            return ::fdatasync(_file);
        case IoOperation::Kind::discard:
        case IoOperation::Kind::write_zeroes:
            return ::fallocate(_file, fallocate_mode(operation), offset, bytes);
        }
        errno = EINVAL;
        return -1;
    }

    int _file;
    std::vector<Started> _started;
    std::vector<IoCompletion> _done;
};

} // namespace

std::unique_ptr<IoEngine> make_synchronous_engine(int file) {
    return std::make_unique<SynchronousEngine>(file);
}

} // namespace nestbed::virtio
