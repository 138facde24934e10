// These tests run on this host, or, as the first process' command, in an emulated machine.
#include <gtest/gtest.h>

#include "lab/inside/init.hpp"

int main(int argc, char** argv) {
    if (nestbed::lab::is_init())
        nestbed::lab::run_as_init();
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
