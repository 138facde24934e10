// Short texts with numbers in them, for what a check has to say. No heap: a text is its own buffer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nested/wire/conform.hpp"

namespace nestbed::conform {

struct Hex {
    std::uint64_t value;
};

// text("CR", 4, " bit ", 23, " is ", Hex{value}): cut where it gets too long.
class Text {
public:
    template<typename... Parts>
    explicit Text(const Parts&... parts) {
        (add(parts), ...);
    }
    [[nodiscard]] const char* c_str() const { return _text; }

private:
    void add(const char* part) {
        while (*part != '\0')
            put(*part++);
    }
    void add(const Text& part) { add(part.c_str()); }
    void add(Hex part) {
        add("0x");
        unsigned digits = 1;
        while (digits < 16 && part.value >> (4 * digits) != 0)
            ++digits;
        while (digits-- > 0)
            put("0123456789abcdef"[part.value >> (4 * digits) & 0xf]);
    }
    void add(std::uint64_t part) {
        if (part >= 10)
            add(part / 10);
        put(static_cast<char>('0' + part % 10));
    }
    void add(std::uint32_t part) { add(std::uint64_t{part}); }
    void add(int part) { add(static_cast<std::uint64_t>(part)); }
    void put(char c) {
        if (_length + 1 < nested::wire::text_bytes)
            _text[_length++] = c;
    }

    std::size_t _length = 0;
    char _text[nested::wire::text_bytes]{};
};

} // namespace nestbed::conform
