#include "lab/modules.hpp"

#include <map>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lab/kernel_files.hpp"

namespace nestbed::lab {
namespace {

using testing::ElementsAre;

TEST(ModuleName, Table) {
    struct Case {
        const char* file;
        const char* name;
        bool is_module;
    };
    for (const auto& [file, name, is_module] :
         {Case{"kvm-amd.ko", "kvm_amd", true}, Case{"kvm-amd.ko.xz", "kvm_amd", true},
          Case{"kernel/arch/x86/kvm/kvm-amd.ko.zst", "kvm_amd", true}, Case{"a_b-c.ko.gz", "a_b_c", true},
          Case{"kvm_amd", "kvm_amd", false}, Case{"kvm-amd.mod.o", "kvm_amd.mod.o", false},
          Case{"kvm.ko.bz2", "kvm.ko.bz2", false}}) {
        EXPECT_EQ(module_name(file), name);
        EXPECT_EQ(is_module_file(file), is_module) << file;
    }
}

TEST(ModuleParameters, AreThoseOfTheCommandLineThatNameTheModule) {
    constexpr std::string_view line =
        "quiet rdinit=/bin/kvm.x kvm_amd.nested=1 kvm.halt_poll_ns=0 kvm-amd.npt=0 nested=7 "
        "virtio_mmio.device=4K@0xd0000000:5 kvm.x\n";
    for (const auto& [module, parameters] :
         {std::pair{"kvm_amd", "nested=1 npt=0"}, std::pair{"kvm", "halt_poll_ns=0 x"},
          std::pair{"virtio_mmio", "device=4K@0xd0000000:5"}, std::pair{"amd", ""}, std::pair{"", ""}})
        EXPECT_EQ(module_parameters(line, module), parameters) << module;
    EXPECT_EQ(module_parameters("", "kvm"), "");
    EXPECT_EQ(module_parameters(" . kvm.=", "kvm"), "=");
}

Result<ModuleInfo> info(const std::string& module) {
    return read_module_info(std::as_bytes(std::span{module.data(), module.size()}));
}

TEST(ModuleInfo, IsReadFromModinfo) {
    const auto read = info(test::kernel_module("kvm,ccp,a-b", "6.1.0-56-amd64"));
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_THAT(read->depends, ElementsAre("kvm", "ccp", "a_b"));
    EXPECT_EQ(read->release, "6.1.0-56-amd64");
    EXPECT_THAT(info(test::kernel_module("", ""))->depends, ElementsAre());
    EXPECT_EQ(info(test::kernel_module("", ""))->release, "");
}

TEST(ModuleInfo, RefusesWhatIsNoModule) {
    const auto good = test::kernel_module("kvm", "6.1.0");
    auto other_section = good;
    other_section.replace(other_section.find(".modinfo"), 8, ".comment");
    for (const auto& module :
         {std::string{}, std::string{"not ELF"}, good.substr(0, good.size() - 1), other_section})
        EXPECT_FALSE(info(module));
}

struct OrderCase {
    std::string name;
    std::map<std::string, std::vector<std::string>> depends;
    std::vector<std::string> wanted;
    std::set<std::string> built_in;
    std::vector<std::string> order;
};

class LoadOrder : public testing::TestWithParam<OrderCase> {};

TEST_P(LoadOrder, PutsWhatIsNeededFirst) {
    const auto& one = GetParam();
    std::map<std::string, int> asked;
    const auto order =
        load_order(one.wanted, one.built_in, [&](const std::string& name) -> Result<ModuleInfo> {
            EXPECT_EQ(++asked[name], 1) << name;
            return ModuleInfo{.depends = one.depends.at(name), .release = {}};
        });
    ASSERT_TRUE(order) << order.error().message();
    EXPECT_EQ(*order, one.order);
}

INSTANTIATE_TEST_SUITE_P(
    All, LoadOrder,
    testing::Values(
        OrderCase{"Debian",
                  {{"kvm_amd", {"kvm", "ccp"}}, {"kvm", {"irqbypass"}}, {"ccp", {}}, {"irqbypass", {}}},
                  {"kvm_amd"},
                  {},
                  {"irqbypass", "kvm", "ccp", "kvm_amd"}},
        OrderCase{"Diamond",
                  {{"a", {"b", "c"}}, {"b", {"d"}}, {"c", {"d"}}, {"d", {}}},
                  {"a"},
                  {},
                  {"d", "b", "c", "a"}},
        OrderCase{
            "BuiltIn", {{"kvm_amd", {"kvm", "ccp"}}, {"ccp", {}}}, {"kvm_amd"}, {"kvm"}, {"ccp", "kvm_amd"}},
        OrderCase{"AllBuiltIn", {}, {"kvm_amd"}, {"kvm_amd"}, {}}),
    [](const auto& one) { return one.param.name; });

TEST(LoadOrderRefuses, ACircle) {
    const auto order = load_order({"a"}, {}, [](const std::string& name) -> Result<ModuleInfo> {
        return ModuleInfo{.depends = {name == "a" ? "b" : "a"}, .release = {}};
    });
    ASSERT_FALSE(order);
    EXPECT_EQ(order.error().kind, ErrorKind::bad_input);
}

TEST(BuiltIn, IsAListOfFiles) {
    EXPECT_THAT(parse_built_in("kernel/arch/x86/kvm/kvm-amd.ko\nkernel/a/b.ko\n\nnonsense\nkernel/c.ko"),
                ElementsAre("b", "c", "kvm_amd"));
}

} // namespace
} // namespace nestbed::lab
