#include <cstring>

#include <elf.h>

#include "tests/unit/lab/kernel_files.hpp"

namespace nestbed::test {

namespace {

template<typename T>
void put(std::string& image, std::size_t at, const T& value) {
    std::memcpy(image.data() + at, &value, sizeof value);
}

std::string elf_with_section(const std::string& name, const std::string& data) {
    const auto names = std::string{"\0.shstrtab\0", 11} + name + '\0';
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_REL;
    header.e_machine = EM_X86_64;
    header.e_shoff = sizeof header;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 3;
    header.e_shstrndx = 1;
    Elf64_Shdr strings{};
    strings.sh_name = 1;
    strings.sh_type = SHT_STRTAB;
    strings.sh_offset = sizeof header + 3 * sizeof(Elf64_Shdr);
    strings.sh_size = names.size();
    Elf64_Shdr section{};
    section.sh_name = 11;
    section.sh_type = SHT_PROGBITS;
    section.sh_offset = strings.sh_offset + names.size();
    section.sh_size = data.size();
    std::string image(strings.sh_offset, '\0');
    put(image, 0, header);
    put(image, sizeof header + sizeof(Elf64_Shdr), strings);
    put(image, sizeof header + 2 * sizeof(Elf64_Shdr), section);
    return image + names + data;
}

} // namespace

std::string kernel_image(const std::string& version) {
    std::string image(0x400, '\0');
    image.replace(0x202, 4, "HdrS");
    image[0x20e] = '\0';
    image[0x20f] = '\x02'; // 0x200 + 0x200
    return image + version + '\0';
}

std::string kernel_image_with(const std::string& version, const std::string& payload) {
    auto image = kernel_image(version);
    put(image, 0x206, std::uint16_t{0x20f});
    image[0x1f1] = '\x03'; // sectors after the first
    image.resize(4 * 512);
    put(image, 0x248, std::uint32_t{100});
    put(image, 0x24c, static_cast<std::uint32_t>(payload.size()));
    return image + std::string(100, 'c') + payload + std::string(50, 't');
}

std::string vmlinux_with_note(const std::string& owner, std::uint32_t type) {
    std::string note(sizeof(Elf64_Nhdr), '\0');
    const auto name = owner + std::string(4 - owner.size() % 4, '\0');
    put(note, 0, Elf64_Nhdr{static_cast<Elf64_Word>(owner.size() + 1), 8, type});
    // Another comes first.
    std::string notes(sizeof(Elf64_Nhdr), '\0');
    put(notes, 0, Elf64_Nhdr{4, 5, 18});
    notes += std::string{"GNU\0", 4} + std::string(8, 'd');
    return elf_with_section(".notes", notes + note + name + std::string(8, 'e'));
}

std::string vmlinux_to_boot(std::uint64_t address, const std::string& bytes, std::uint64_t entry) {
    auto image = vmlinux_with_note("Xen", 18);
    put(image, image.size() - sizeof entry, entry); // the note comes last
    Elf64_Phdr load{};
    load.p_type = PT_LOAD;
    load.p_offset = image.size() + sizeof load;
    load.p_paddr = address;
    load.p_filesz = load.p_memsz = bytes.size();
    Elf64_Ehdr header{};
    std::memcpy(&header, image.data(), sizeof header);
    header.e_type = ET_EXEC;
    header.e_phoff = image.size();
    header.e_phentsize = sizeof load;
    header.e_phnum = 1;
    put(image, 0, header);
    image.resize(image.size() + sizeof load);
    put(image, header.e_phoff, load);
    return image + bytes;
}

std::string kernel_module(const std::string& depends, const std::string& release) {
    auto info = "license=GPL" + std::string{'\0'} + "depends=" + depends + '\0';
    if (!release.empty())
        info += "vermagic=" + release + " SMP preempt" + '\0';
    return elf_with_section(".modinfo", info);
}

} // namespace nestbed::test
