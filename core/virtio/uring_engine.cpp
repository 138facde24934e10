
#include <cerrno>
#include <utility>

#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "core/virtio/io_engine.hpp"

namespace nestbed::virtio {

namespace {

constexpr unsigned entries = 2 * IoEngine::depth; // each operation and its cancellation
constexpr std::uint64_t of_a_cancellation = UINT64_MAX;

class UringEngine final : public IoEngine {
public:
    explicit UringEngine(int file) : _file{file} {}
    UringEngine(const UringEngine&) = delete;
    UringEngine& operator=(const UringEngine&) = delete;
    UringEngine(UringEngine&&) = delete;
    UringEngine& operator=(UringEngine&&) = delete;
    ~UringEngine() override {
        if (_made)
            ::io_uring_queue_exit(&_ring);
    }

    [[nodiscard]] Status open() {
        const auto refuse = [](int code) {
            const std::string remedy = code == EPERM || code == ENOSYS
                                           ? "allow it by kernel.io_uring_disabled or the container's seccomp"
                                           : "";
            return fail(ErrorKind::host_lacks, "use io_uring", errno_text(code), remedy);
        };
        if (const int code = ::io_uring_queue_init(entries, &_ring, 0); code != 0)
            return refuse(-code);
        _made = true;
        auto* const probe = ::io_uring_get_probe_ring(&_ring);
        bool all = probe != nullptr;
        for (const int operation : {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
                                    IORING_OP_ASYNC_CANCEL})
            all = all && ::io_uring_opcode_supported(probe, operation) != 0;
        ::io_uring_free_probe(probe);
        if (!all)
            return fail(ErrorKind::host_lacks, "use io_uring", "this kernel's is too old", "5.6 will do");
        _event = Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        if (!_event)
            return fail_errno(ErrorKind::host_lacks, "create an eventfd", "raise `ulimit -n`");
        if (const int code = ::io_uring_register_eventfd(&_ring, _event.get()); code != 0)
            return refuse(-code);
        return {};
    }

    void start(std::uint32_t slot, const IoOperation& operation) override {
        if (lies_behind_end(_file, operation)) {
            _refused.push_back({slot, 0});
            const std::uint64_t one = 1;
            [[maybe_unused]] const auto written = ::write(_event.get(), &one, sizeof one);
            return;
        }
        auto* const entry = next_entry();
        const auto count = static_cast<unsigned>(operation.buffers.size());
        switch (operation.kind) {
        case IoOperation::Kind::read:
            ::io_uring_prep_readv(entry, _file, operation.buffers.data(), count, operation.offset);
            break;
        case IoOperation::Kind::write:
            ::io_uring_prep_writev(entry, _file, operation.buffers.data(), count, operation.offset);
            entry->rw_flags = operation.durable ? RWF_DSYNC : 0;
            break;
        case IoOperation::Kind::flush:
            ::io_uring_prep_fsync(entry, _file, IORING_FSYNC_DATASYNC);
            break;
        case IoOperation::Kind::discard:
        case IoOperation::Kind::write_zeroes:
            ::io_uring_prep_fallocate(entry, _file, fallocate_mode(operation),
                                      static_cast<off_t>(operation.offset),
                                      static_cast<off_t>(operation.bytes));
            break;
        }
        entry->user_data = slot;
    }

    void cancel(std::uint32_t slot) override {
        auto* const entry = next_entry();
        ::io_uring_prep_cancel64(entry, slot, 0);
        entry->user_data = of_a_cancellation;
    }

    // Less than all, or EAGAIN and EBUSY, where the kernel is short of memory or wants completions reaped.
    bool submit() override {
        if (::io_uring_sq_ready(&_ring) != 0)
            static_cast<void>(::io_uring_submit(&_ring));
        return ::io_uring_sq_ready(&_ring) == 0;
    }

    std::vector<IoCompletion> reap() override {
        auto done = std::exchange(_refused, {});
        io_uring_cqe* entry = nullptr;
        while (::io_uring_peek_cqe(&_ring, &entry) == 0) {
            if (entry->user_data != of_a_cancellation)
                done.push_back({static_cast<std::uint32_t>(entry->user_data), entry->res});
            ::io_uring_cqe_seen(&_ring, entry);
        }
        return done;
    }

    [[nodiscard]] int completion_fd() const override { return _event.get(); }
    [[nodiscard]] std::string_view name() const override { return "io_uring"; }

private:
    // There is room: an operation is started and cancelled at most once, and submission takes what it can.
    io_uring_sqe* next_entry() {
        auto* entry = ::io_uring_get_sqe(&_ring);
        while (entry == nullptr) {
            static_cast<void>(submit());
            entry = ::io_uring_get_sqe(&_ring);
        }
        return entry;
    }

    int _file;
    Fd _event;
    std::vector<IoCompletion> _refused; // never handed to the kernel
    io_uring _ring{};
    bool _made = false;
};

} // namespace

Result<std::unique_ptr<IoEngine>> make_uring_engine(int file) {
    auto engine = std::make_unique<UringEngine>(file);
    if (auto opened = engine->open(); !opened)
        return tl::unexpected{opened.error()};
    return engine;
}

} // namespace nestbed::virtio
