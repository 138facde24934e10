// Any bytes as a guest that somebody else wrote, by each protocol.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/units.hpp"
#include "core/boot/foreign_image.hpp"
#include "require.hpp"

using nestbed::GiB;
using nestbed::KiB;
using nestbed::MiB;
using nestbed::fuzz::require;
using namespace nestbed::boot;

namespace {

const std::vector<RamRange> ram{{0, 24 * MiB, 0}, {24 * MiB, 8 * MiB, 1}, {4 * GiB, MiB, 1}};
const std::vector<Extent> acpi{{32 * MiB - 64 * KiB, 64 * KiB}};
const auto e820 = e820_map(ram, acpi);
const std::string initrd(5000, 'i');

// Said in another way than the loaders and check_foreign() find it out.
bool is_for_the_guest(std::uint64_t address, std::uint64_t bytes) {
    if (bytes > 64 * MiB || address > 8 * GiB)
        return false;
    const auto end = address + bytes;
    return end <= 0x9fc00 || (address >= MiB && end <= acpi[0].address) ||
           (address >= 4 * GiB && end <= 4 * GiB + MiB);
}

bool lies_in(std::span<const std::byte> part, std::span<const std::byte> whole) {
    return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

void load(std::span<const std::byte> image, BootProtocol protocol) {
    const ForeignInput input{.image = image,
                             .initrd = std::as_bytes(std::span{initrd}),
                             .command_line = "console=ttyS0",
                             .image_name = "image",
                             .ram = ram,
                             .e820 = e820,
                             .rsdp = acpi[0].address,
                             .protocol = protocol};
    const auto boot = load_foreign(input);
    if (!boot) {
        // Anything else is a defect of a loader, seen by check_foreign().
        require(boot.error().kind == nestbed::ErrorKind::bad_input && !boot.error().found.empty());
        return;
    }
    require(!boot->protocol.empty());
    for (std::size_t i = 0; i < boot->taken.size(); ++i) {
        const auto& extent = boot->taken[i];
        require(extent.bytes > 0 && is_for_the_guest(extent.address, extent.bytes));
        require(i == 0 || extent.address >= boot->taken[i - 1].address + boot->taken[i - 1].bytes);
    }
    bool has_entry = false;
    for (std::size_t i = 0; i < boot->pieces.size(); ++i) {
        const auto& [address, data] = boot->pieces[i];
        require(is_for_the_guest(address, data.size()));
        bool is_somebodys = lies_in(data, image) || lies_in(data, input.initrd);
        for (const auto& made : boot->made)
            is_somebodys = is_somebodys || lies_in(data, made);
        require(is_somebodys);
        for (std::size_t other = 0; other < i; ++other)
            require(address >= boot->pieces[other].address + boot->pieces[other].data.size() ||
                    address + data.size() <= boot->pieces[other].address);
        has_entry = has_entry || (boot->entry.rip >= address && boot->entry.rip - address < data.size());
    }
    require(has_entry);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto image = std::as_bytes(std::span{data, size});
    for (const auto protocol :
         {BootProtocol::automatic, BootProtocol::linux64, BootProtocol::pvh, BootProtocol::multiboot})
        load(image, protocol);
    return 0;
}
