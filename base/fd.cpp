#include "base/fd.hpp"

#include <unistd.h>

namespace nestbed {

Fd::~Fd() {
    if (_fd >= 0)
        ::close(_fd);
}

} // namespace nestbed
