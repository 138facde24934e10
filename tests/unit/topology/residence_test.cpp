#include "topology/residence.hpp"

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

TEST(ProcText, ReadsWhereAThreadRanLast) {
    const std::string behind =
        " S 1 1 1 0 -1 4194304 1 0 0 0 1 0 0 0 20 0 5 0 77 1000 200 18446744073709551615 1 "
        "1 1 1 1 0 0 4096 0 0 0 0 -1 ";
    for (const auto* name : {"(nestbed)", "(vCPU 3)", "(a) R 1 (b)"})
        EXPECT_EQ(last_processor("42 " + std::string{name} + behind + "7 0 0 0\n"), 7U) << name;
    EXPECT_EQ(last_processor("42 (x)" + behind), std::nullopt);
    EXPECT_EQ(last_processor("42 (x)" + behind + "x"), std::nullopt);
    EXPECT_EQ(last_processor("42 (x)" + behind + "7x"), std::nullopt);
    EXPECT_EQ(last_processor("42 (x)" + behind + "4294967296"), std::nullopt);
    EXPECT_EQ(last_processor(""), std::nullopt);
}

TEST(ProcText, ReadsTimes) {
    EXPECT_EQ(parse_schedstat("123 456 7\n"), (SchedulerTimes{123, 456}));
    EXPECT_EQ(parse_schedstat("0 0 0\n"), (SchedulerTimes{0, 0}));
    for (const auto* text :
         {"", "\n", "123\n", "a 1 2\n", "1 b 2\n", "-1 2 3\n", "1,2 3\n", "18446744073709551616 1 1\n"})
        EXPECT_EQ(parse_schedstat(text), std::nullopt) << text;
}

TEST(ProcText, ReadsMigrations) {
    EXPECT_EQ(
        parse_migrations("nestbed (1, #threads: 1)\n---\nse.exec_start : 1.5\n"
                         "se.nr_migrations                             :                   12\nx : 1\n"),
        12U);
    EXPECT_EQ(parse_migrations("(se.nr_migrations : 9)\nse.nr_migrations : 3\n"), 3U) << "a thread's name";
    for (const auto* text : {"", "se.nr_migrations", "se.nr_migrations :", "se.nr_migrations : x\n",
                             "se.nr_migrations_cold : 4\n", " se.nr_migrations : 4\n"})
        EXPECT_EQ(parse_migrations(text), std::nullopt) << text;
}

TEST(MachineRecord, IsReadBackAsItWas) {
    MachineRecord record{
        .threads = {{.tid = 100, .pus = {3}}, {.tid = 101, .pus = {}}, {.tid = 102, .pus = {9, 1, 0}}},
        .host_nodes = {0, std::nullopt},
        .ranges = {{.virtual_node = 1, .address = 1ULL << 46, .bytes = 8192, .page_bytes = 4096}}};
    for (int i = 0; i < 1024; ++i)
        record.threads.push_back({.tid = 200 + i, .pus = {static_cast<std::uint32_t>(i)}});
    const auto text = format_record(record);
    const auto read = parse_record(text);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(format_record(*read), text);
    ASSERT_EQ(read->threads.size(), 1027U);
    EXPECT_THAT(read->threads[0].pus, ElementsAre(3));
    EXPECT_THAT(read->threads[1].pus, IsEmpty());
    EXPECT_THAT(read->threads[2].pus, ElementsAre(0, 1, 9));
    EXPECT_THAT(read->host_nodes, ElementsAre(std::optional<std::uint32_t>{0}, std::nullopt));
    EXPECT_EQ(read->ranges.at(0).address, 1ULL << 46);
}

TEST(MachineRecord, RefusesWhatIsNone) {
    const std::string head = "nestbed machine 1\n", good = head + "vcpu 1 0\nnode 0\n";
    ASSERT_TRUE(parse_record(good));
    for (const auto& text : std::vector<std::string>{"",
                                                     head,
                                                     head + "vcpu 1 0\n",
                                                     head + "node 0\n",
                                                     "nestbed machine 2\nvcpu 1 0\nnode 0\n",
                                                     good + "node 0",
                                                     good + "\n",
                                                     good + "vcpu 0 0\n",
                                                     good + "vcpu -1 0\n",
                                                     good + "vcpu 1\n",
                                                     good + "vcpu 1 1048576\n",
                                                     good + "vcpu 1 0-1048575\n",
                                                     good + "vcpu 1 x\n",
                                                     good + "node x\n",
                                                     good + "node 1048576\n",
                                                     good + "range 1 0 4096 4096\n",
                                                     good + "range 0 0 4096 0\n",
                                                     good + "range 0 0 4096 2048\n",
                                                     good + "range 0 0 4097 4096\n",
                                                     good + "range 0 0 0 4096\n",
                                                     good + "range 0 0 12288 12288\n",
                                                     good + "range 0 18446744073709551615 4096 4096\n",
                                                     good + "other 1\n"})
        EXPECT_FALSE(parse_record(text)) << text;
    std::string many = good;
    for (int i = 0; i < 4097; ++i)
        many += "range 0 0 4096 4096\n";
    EXPECT_FALSE(parse_record(many));
}

ThreadSample at(std::uint32_t pu, std::uint64_t run, std::uint64_t wait = 0,
                std::vector<std::uint32_t> affinity = {0}) {
    return {.processor = pu,
            .times = SchedulerTimes{run, wait},
            .migrations = {},
            .affinity = std::move(affinity)};
}

VcpuResidence residence_of(const MachineRecord::Thread& planned, std::vector<ThreadSample> samples) {
    VcpuResidence residence;
    for (auto& sample : samples)
        residence = add_sample(std::move(residence), planned, std::move(sample));
    return residence;
}

TEST(Residence, CountsWhereThreadsRan) {
    const MachineRecord::Thread pinned{.tid = 1, .pus = {0}};
    const auto seen = residence_of(pinned, {at(0, 100, 10), at(0, 150, 30), at(0, 150, 30), at(1, 170, 40)});
    EXPECT_THAT(seen.ran_on, ElementsAre(Pair(0, 2), Pair(1, 1))) << "it slept in the third";
    EXPECT_EQ(seen.samples, 4U);
    EXPECT_EQ(migrations_of(seen), 1U);
    EXPECT_EQ(times_of(seen), (SchedulerTimes{70, 30}));
    EXPECT_EQ(times_of({}), (SchedulerTimes{0, 0}));
}

TEST(Residence, BelievesTheKernelsCountOfMigrations) {
    const MachineRecord::Thread any{.tid = 1, .pus = {}};
    auto first = at(0, 1), last = at(0, 3);
    first.migrations = 5;
    last.migrations = 9;
    EXPECT_EQ(migrations_of(residence_of(any, {first, at(1, 2), last})), 4U);
    EXPECT_EQ(migrations_of(residence_of(any, {first, at(1, 2)})), 0U) << "not asked again yet";
    EXPECT_EQ(migrations_of(residence_of(any, {at(0, 1), at(1, 2), last})), 2U) << "seen";
}

TEST(Residence, CountsEachSampleWithoutTimes) {
    ThreadSample blind{.processor = 0, .times = {}, .migrations = {}, .affinity = {}};
    EXPECT_THAT(residence_of({.tid = 1, .pus = {0}}, {blind, blind}).ran_on, ElementsAre(Pair(0, 2)));
    EXPECT_THAT(residence_of({.tid = 1, .pus = {0}}, {ThreadSample{}}).ran_on, IsEmpty()) << "it is gone";
}

std::vector<std::string> texts(const std::vector<Drift>& drifts) {
    std::vector<std::string> lines;
    for (const auto& drift : drifts)
        lines.push_back(drift.what + ": planned " + drift.planned + ", found " + drift.found);
    return lines;
}

TEST(DriftOfResidence, IsNoneWhereAllIsAsPlanned) {
    const MachineRecord record{
        .threads = {{.tid = 1, .pus = {0}}, {.tid = 2, .pus = {1, 0}}, {.tid = 3, .pus = {}}},
        .host_nodes = {0, std::nullopt},
        .ranges = {}};
    const std::vector<VcpuResidence> vcpus{
        residence_of(record.threads[0], {at(0, 1), at(0, 2)}),
        residence_of(record.threads[1], {at(0, 1, 0, {0, 1}), at(1, 2, 0, {0, 1})}),
        residence_of(record.threads[2], {at(5, 1, 0, {0, 1, 5})})};
    const std::vector<ObservedMemory> memory{
        {.virtual_node = 0, .pages = {{0, 10}, {-ENOENT, 5}}, .pages_asked = 15},
        {.virtual_node = 1, .pages = {{3, 10}}, .pages_asked = 10}};
    EXPECT_THAT(texts(drift_of(record, vcpus, memory)), IsEmpty());
    EXPECT_THAT(texts(drift_of(record, {}, {})), IsEmpty());
}

TEST(DriftOfResidence, NamesWhatIsElsewhere) {
    const MachineRecord record{
        .threads = {{.tid = 1, .pus = {0}}, {.tid = 2, .pus = {0, 1}}}, .host_nodes = {0, 2}, .ranges = {}};
    const std::vector<VcpuResidence> vcpus{
        residence_of(record.threads[0], {at(0, 1), at(1, 2, 0, {1}), at(1, 3, 0, {1})}),
        residence_of(record.threads[1], {at(1, 1, 0, {0, 1}), at(4, 2, 0, {0, 1})})};
    const std::vector<ObservedMemory> memory{
        {.virtual_node = 1, .pages = {{2, 10}, {0, 3}, {-ENOENT, 5}}, .pages_asked = 18},
        {.virtual_node = 1, .pages = {{0, 1}, {1, 2}}, .pages_asked = 3}};
    EXPECT_THAT(
        texts(drift_of(record, vcpus, memory)),
        ElementsAre("vCPU 0: where its thread ran: planned PU 0, found PU 1 in 2 of 3 samples",
                    "vCPU 0: affinity of its thread: planned PU 0, found PU 1",
                    "vCPU 1: where its thread ran: planned PUs 0-1, found PU 4 in 1 of 2 samples",
                    "virtual node 1: its memory: planned host node 2, found 6 of 16 pages looked at on "
                    "host nodes 0-1"));
}

} // namespace
} // namespace nestbed::topology
