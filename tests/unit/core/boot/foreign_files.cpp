#include "foreign_files.hpp"

#include <algorithm>
#include <utility>

#include <elf.h>

namespace nestbed::boot::test {

namespace {

template<typename Ehdr, typename Phdr>
std::string elf_of(std::string first_bytes, std::uint64_t virtual_offset, unsigned char elf_class,
                   std::uint16_t machine) {
    first_bytes.resize(4096, 'c');
    const std::string second(32, 'd');
    constexpr std::size_t data = sizeof(Ehdr) + 3 * sizeof(Phdr); // the third is for a note
    std::string image(data, '\0');
    Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = elf_class;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = machine;
    header.e_entry = static_cast<decltype(header.e_entry)>(virtual_offset + elf_address);
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Phdr);
    header.e_phnum = 2;
    put(image, 0, header);
    Phdr program{};
    program.p_type = PT_LOAD;
    program.p_offset = data;
    program.p_paddr = elf_address;
    program.p_vaddr = header.e_entry;
    program.p_filesz = static_cast<decltype(program.p_filesz)>(first_bytes.size());
    program.p_memsz = elf_memory;
    put(image, sizeof header, program);
    program.p_offset += program.p_filesz;
    program.p_paddr = elf_second;
    program.p_vaddr = static_cast<decltype(program.p_vaddr)>(virtual_offset + elf_second);
    program.p_filesz = static_cast<decltype(program.p_filesz)>(second.size());
    program.p_memsz = program.p_filesz;
    put(image, sizeof header + sizeof program, program);
    return image + first_bytes + second;
}

template<typename Ehdr, typename Phdr>
void add_note(std::string& image, const std::string& note) {
    Ehdr header{};
    std::memcpy(&header, image.data(), sizeof header);
    header.e_phnum = 3;
    put(image, 0, header);
    Phdr program{};
    program.p_type = PT_NOTE;
    program.p_offset = static_cast<decltype(program.p_offset)>(image.size());
    program.p_filesz = static_cast<decltype(program.p_filesz)>(note.size());
    put(image, sizeof header + 2 * sizeof program, program);
    image += note;
}

} // namespace

ForeignGuest::ForeignGuest(std::string bytes)
    : image{std::move(bytes)}, e820{e820_map(ram, std::vector<Extent>{acpi})} {}

ForeignInput ForeignGuest::input() const {
    return {.image = std::as_bytes(std::span{image}),
            .initrd = std::as_bytes(std::span{initrd}),
            .command_line = command_line,
            .image_name = "x86/image.flat",
            .ram = ram,
            .e820 = e820,
            .rsdp = rsdp,
            .protocol = protocol};
}

Result<ForeignBoot> ForeignGuest::load() const {
    return load_foreign(input());
}

std::string read(const ForeignBoot& boot, std::uint64_t address, std::uint64_t bytes) {
    std::string found(bytes, '\0');
    for (const auto& piece : boot.pieces)
        for (std::uint64_t i = 0; i < bytes; ++i)
            if (address + i >= piece.address && address + i - piece.address < piece.data.size())
                found[i] = static_cast<char>(piece.data[address + i - piece.address]);
    return found;
}

std::string read_text(const ForeignBoot& boot, std::uint64_t address) {
    std::string text;
    while (const char c = read<char>(boot, address + text.size()))
        text += c;
    return text;
}

std::string bzimage() {
    namespace field = bzimage_field;
    std::string image(bzimage_setup_bytes, '\0');
    put(image, field::setup_sects, std::uint8_t{0}); // stands for 4
    put(image, field::syssize, std::uint32_t{4096 / 16});
    put(image, 0x1fe, std::uint16_t{0xaa55});
    put(image, field::jump, std::uint8_t{0x6a}); // the header ends at 0x26c
    image.replace(field::magic, 4, "HdrS");
    put(image, field::version, std::uint16_t{0x20f});
    put(image, field::initrd_addr_max, std::uint32_t{0x7fff'ffff});
    put(image, field::kernel_alignment, std::uint32_t{2 * MiB});
    put(image, field::relocatable_kernel, std::uint8_t{1});
    put(image, field::xloadflags, std::uint16_t{3});
    put(image, field::cmdline_size, std::uint32_t{2047});
    put(image, field::pref_address, bzimage_address);
    put(image, field::init_size, static_cast<std::uint32_t>(bzimage_memory));
    return image + std::string(4096, 'k');
}

std::string elf(bool is_32, const std::string& first_bytes) {
    return is_32 ? elf_of<Elf32_Ehdr, Elf32_Phdr>(first_bytes, 0xc000'0000, ELFCLASS32, EM_386)
                 : elf_of<Elf64_Ehdr, Elf64_Phdr>(first_bytes, 0xffff'ffff'8000'0000, ELFCLASS64, EM_X86_64);
}

std::string multiboot_header(std::uint32_t flags) {
    std::string header(12, '\0');
    put(header, 0, std::uint32_t{0x1bad'b002});
    put(header, 4, flags);
    put(header, 8, std::uint32_t{0} - 0x1bad'b002 - flags);
    return header;
}

std::string multiboot_elf(bool is_32, std::uint32_t flags) {
    return elf(is_32, multiboot_header(flags));
}

std::string multiboot_flat() {
    auto image = std::string(flat_header, 'b') + multiboot_header(0x1'0000);
    std::string addresses(20, '\0');
    put(addresses, 0, flat_address + 50);        // header_addr
    put(addresses, 4, flat_address);             // load_addr
    put(addresses, 8, std::uint32_t{0});         // load_end_addr
    put(addresses, 12, flat_address + 0x1'0000); // bss_end_addr
    put(addresses, 16, flat_address + 82);       // entry_addr: after the header
    image += addresses;
    image.resize(3000, 'f');
    return image;
}

std::string pvh_elf(std::uint64_t entry, std::uint32_t entry_bytes, bool is_32) {
    std::string note(sizeof(Elf64_Nhdr), '\0');
    put(note, 0, Elf64_Nhdr{4, entry_bytes, 18});
    note += std::string{"Xen\0", 4};
    std::string value(8, '\0');
    put(value, 0, entry);
    note += value.substr(0, entry_bytes);
    auto image = elf(is_32);
    if (is_32)
        add_note<Elf32_Ehdr, Elf32_Phdr>(image, note);
    else
        add_note<Elf64_Ehdr, Elf64_Phdr>(image, note);
    return image;
}

} // namespace nestbed::boot::test
