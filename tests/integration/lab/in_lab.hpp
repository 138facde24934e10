// What tests need that start an emulated host: the emulator and a kernel, else they are skipped.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include "core/supervise/supervisor.hpp"
#include "lab/cache.hpp"
#include "lab/kernel.hpp"
#include "lab/process.hpp"
#include "tests/unit/lab/scratch.hpp"

namespace nestbed::lab {

class InLab : public test::InScratch {
protected:
    explicit InLab(Silicon silicon = Silicon::amd) : _silicon{silicon} {}

    void SetUp() override {
        InScratch::SetUp();
        auto created = supervise::Supervisor::create();
        ASSERT_TRUE(created) << created.error().message();
        _supervisor = std::move(*created);
        const auto& emulator = emulator_of(_silicon);
        if (!find_program(emulator.program))
            GTEST_SKIP() << "needs " << emulator.program << ": apt-get install " << emulator.packages;
        const auto cache = Cache::open_default();
        if (!cache)
            GTEST_SKIP() << cache.error().message();
        auto kernel = find_kernel(
            *cache, _silicon, [](const std::string&) {}, *_supervisor);
        if (!kernel)
            GTEST_SKIP() << kernel.error().message();
        _kernel = std::move(*kernel);
    }
    void TearDown() override {
        _supervisor.reset();
        InScratch::TearDown();
    }

    [[nodiscard]] supervise::Supervisor& supervisor() const { return *_supervisor; }
    [[nodiscard]] const Kernel& kernel() const { return _kernel; }

private:
    Silicon _silicon;
    std::unique_ptr<supervise::Supervisor> _supervisor;
    Kernel _kernel;
};

} // namespace nestbed::lab
