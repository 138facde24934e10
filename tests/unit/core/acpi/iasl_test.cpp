// What ACPICA's compiler makes of the tables: it is the interpreter's own front end, so what it reads without
// a word, Linux does.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/acpi/dsdt.hpp"
#include "guest_eye.hpp"
#include "guests.hpp"

namespace nestbed::acpi::test {
namespace {

using testing::HasSubstr;
using testing::Not;

namespace fs = std::filesystem;

struct Said {
    int status = 0;
    std::string text; // stdout and stderr
};

Said run(const std::string& command) {
    Said said;
    auto* const pipe = popen((command + " 2>&1 </dev/null").c_str(), "r");
    if (pipe == nullptr)
        return {-1, "no pipe"};
    std::array<char, 4096> buffer{};
    while (const auto count = std::fread(buffer.data(), 1, buffer.size(), pipe))
        said.text.append(buffer.data(), count);
    said.status = pclose(pipe);
    return said;
}

std::string content(const fs::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

class Iasl : public testing::Test {
protected:
    void SetUp() override {
        if (run("command -v iasl").status != 0)
            GTEST_SKIP() << "needs iasl, of the package acpica-tools";
        auto pattern = (fs::temp_directory_path() / "nestbed-iasl-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
    }

    void TearDown() override {
        if (!_folder.empty())
            fs::remove_all(_folder);
    }

    // The folder has NAME.dat afterwards.
    void write(const std::string& name, const Bytes& bytes) const {
        std::ofstream file{_folder / (name + ".dat"), std::ios::binary};
        file << text(bytes, 0, bytes.size());
        ASSERT_TRUE(file.flush());
    }

    [[nodiscard]] Said iasl(const std::string& arguments) const {
        return run("cd '" + _folder.string() + "' && iasl " + arguments);
    }

    // Compiled anew, the source that it made of the DSDT gives the same bytes, but for the compiler's own
    // name in the header and the sum.
    void expect_recompiles(const Bytes& dsdt) const {
        write("dsdt", dsdt);
        ASSERT_EQ(iasl("-d dsdt.dat").status, 0);
        const auto said = iasl("-oa -p again dsdt.dsl");
        EXPECT_EQ(said.status, 0) << said.text;
        EXPECT_THAT(said.text, HasSubstr("0 Errors, 0 Warnings, 0 Remarks"));
        const auto again = content(_folder / "again.aml");
        ASSERT_EQ(again.size(), dsdt.size());
        EXPECT_EQ(again.substr(36), text(dsdt, 36, dsdt.size() - 36));
    }

    [[nodiscard]] const fs::path& folder() const { return _folder; }

private:
    fs::path _folder;
};

class IaslOfGuest : public Iasl, public testing::WithParamInterface<Guest> {};

TEST_P(IaslOfGuest, ReadsAllTables) {
    for (const auto& [name, table] : find_tables(tables_of(GetParam()))) {
        write(name, table.bytes);
        const auto said = iasl("-d " + name + ".dat");
        EXPECT_EQ(said.status, 0) << said.text;
        const auto source = content(folder() / (name + ".dsl"));
        EXPECT_THAT(source, HasSubstr("\"" + name)) << said.text;
        // In what it says and in comments of what it writes: a field that it does not know, a length that is
        // off, a sum that is not right.
        for (const auto* const complaint :
             {"Warning", "Error", "Invalid", "Incorrect", "Unknown", "**** ", "Could not", "Table has"}) {
            EXPECT_THAT(said.text, Not(HasSubstr(complaint)));
            EXPECT_THAT(source, Not(HasSubstr(complaint))) << name;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, IaslOfGuest, testing::ValuesIn(all_guests()),
                         [](const auto& test_case) { return test_case.param.name; });

TEST_F(Iasl, RecompilesTheDsdt) {
    expect_recompiles(dsdt(some_hardware()));
}

TEST_F(Iasl, RecompilesADsdtWithoutDevices) {
    expect_recompiles(dsdt({}));
}

TEST_F(Iasl, RecompilesADsdtOfAllVirtioDevices) {
    Hardware hardware;
    for (std::uint32_t i = 0; i < max_virtio_devices; ++i)
        hardware.virtio.push_back({0xd000'0000 + std::uint64_t{i} * 0x1000, 0x200, i});
    expect_recompiles(dsdt(hardware));
}

// It shows a resource descriptor that it does not understand as a plain buffer, without a word.
TEST_F(Iasl, SeesTheDevices) {
    write("dsdt", dsdt(some_hardware()));
    ASSERT_EQ(iasl("-d dsdt.dat").status, 0);
    const auto source = content(folder() / "dsdt.dsl");
    for (const auto* const part : {"Scope (\\_SB)", "Device (COM1)", "EisaId (\"PNP0501\")", "IO (Decode16",
                                   "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive",
                                   "Device (V002)", "Name (_HID, \"LNRO0005\")", "Memory32Fixed (ReadWrite",
                                   "0xFFFFF000", "Name (\\_S5, Package (0x04)"})
        EXPECT_THAT(source, HasSubstr(part));
    EXPECT_THAT(source, Not(HasSubstr("Buffer")));
}

} // namespace
} // namespace nestbed::acpi::test
