#include "elf_image.hpp"

#include <string_view>

namespace nestbed::boot::test {

Bytes good_image() {
    using namespace std::string_view_literals;
    Bytes image(image_bytes);

    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_entry = entry;
    header.e_phoff = program_headers;
    header.e_shoff = section_headers;
    header.e_ehsize = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = section_count;
    header.e_shstrndx = 1;
    put(image, 0, header);

    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_flags = PF_R | PF_X;
    segment.p_offset = second_data;
    segment.p_vaddr = segment.p_paddr = second_address;
    segment.p_filesz = segment.p_memsz = second_data_bytes;
    put(image, program_header(0), segment);
    segment.p_offset = first_data;
    segment.p_vaddr = segment.p_paddr = first_address;
    segment.p_filesz = first_data_bytes;
    segment.p_memsz = first_memory_bytes;
    put(image, program_header(1), segment);

    std::memcpy(image.data() + first_data, "\x90\x90\x90\x90hello\0again\0", first_data_bytes);
    std::memcpy(image.data() + second_data, "no zeros", second_data_bytes);
    constexpr auto section_names = "\0.names\0.data\0.bss\0"sv;
    static_assert(section_names.size() <= names_bytes);
    std::memcpy(image.data() + names, section_names.data(), section_names.size());

    Elf64_Shdr section{};
    section.sh_name = 1;
    section.sh_type = SHT_STRTAB;
    section.sh_offset = names;
    section.sh_size = section_names.size();
    put(image, section_header(1), section);
    section = {};
    section.sh_name = 8;
    section.sh_type = SHT_PROGBITS;
    section.sh_addr = first_address;
    section.sh_offset = first_data;
    section.sh_size = first_data_bytes;
    put(image, section_header(2), section);
    section = {};
    section.sh_name = 14;
    section.sh_type = SHT_NOBITS;
    section.sh_addr = first_address + first_data_bytes;
    section.sh_offset = image_bytes;
    section.sh_size = first_memory_bytes - first_data_bytes;
    put(image, section_header(3), section);
    return image;
}

} // namespace nestbed::boot::test
