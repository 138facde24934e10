#include "shapes.hpp"

namespace nestbed::core::cpu::test {

const std::vector<topology::Shape>& all_shapes() {
    static const std::vector<topology::Shape> shapes{
        {.cores = 1},
        {.cores = 2},
        {.threads = 2},
        {.cores = 254},
        {.cores = 255},
        {.cores = 256},
        {.cores = 257},
        {.cores = 288},
        {.cores = 512},
        {.cores = 1024},
        {.sockets = 1024},
        {.sockets = 1, .cores = 312},
        {.sockets = 3, .cores = 5, .threads = 2},
        {.sockets = 8, .cores = 36},
        {.sockets = 8, .cores = 18, .threads = 2},
        {.sockets = 2, .dies = 4, .cores = 9, .threads = 2},
        {.sockets = 3, .dies = 3, .cores = 1, .threads = 3},
        {.sockets = 1, .dies = 5, .cores = 7},
        {.sockets = 16, .cores = 64},
    };
    return shapes;
}

} // namespace nestbed::core::cpu::test
