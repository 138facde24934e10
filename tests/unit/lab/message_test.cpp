#include "lab/message.hpp"

#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

template<typename T>
T only(const std::vector<Message>& messages) {
    EXPECT_EQ(messages.size(), 1U);
    const T* const message = messages.empty() ? nullptr : std::get_if<T>(&messages[0]);
    EXPECT_NE(message, nullptr);
    return message == nullptr ? T{} : *message;
}

TEST(Message, EachComesBackAsItWas) {
    Sender sender;
    Receiver receiver;
    EXPECT_EQ(only<Hello>(receiver.take(sender.encode(Hello{"6.1.0"}))).kernel, "6.1.0");
    static_cast<void>(only<Heartbeat>(receiver.take(sender.encode(Heartbeat{}))));
    const auto output = only<Output>(receiver.take(sender.encode(Output{true, std::string{"a\0b", 3}})));
    EXPECT_TRUE(output.is_stderr);
    EXPECT_EQ(output.bytes, (std::string{"a\0b", 3}));
    const auto error =
        only<Failed>(
            receiver.take(sender.encode(Failed{{ErrorKind::host_lacks, "asked", "found \xff", "remedy"}})))
            .error;
    EXPECT_EQ(error.kind, ErrorKind::host_lacks);
    EXPECT_EQ(error.asked, "asked");
    EXPECT_EQ(error.remedy, "remedy");
    EXPECT_EQ(only<Exited>(receiver.take(sender.encode(Exited{130}))).code, 130);
    EXPECT_EQ(receiver.gaps(), 0U);
}

TEST(Message, AFileOfManyFramesIsOneMessage) {
    Sender sender;
    Receiver receiver;
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, max_frame_payload, 3 * max_frame_payload + 7}) {
        const auto file =
            only<ResultFile>(receiver.take(sender.encode(ResultFile{"/r/run.json", std::string(size, 'x')})));
        EXPECT_EQ(file.path, "/r/run.json");
        EXPECT_EQ(file.bytes, std::string(size, 'x'));
    }
    EXPECT_EQ(receiver.dropped_files(), 0U);
    EXPECT_EQ(receiver.gaps(), 0U);
}

TEST(Message, AFileWithAFrameMissingIsDropped) {
    Receiver receiver;
    auto line = encode_frame(FrameType::file, 0, "/r/a") + encode_frame(FrameType::file_data, 1, "abc");
    line += encode_frame(FrameType::file_end, 3, "6");
    EXPECT_TRUE(receiver.take(line).empty());
    EXPECT_EQ(receiver.dropped_files(), 1U);
    EXPECT_EQ(receiver.gaps(), 1U);
    // One whose end was lost, and then a whole one.
    EXPECT_TRUE(receiver.take(encode_frame(FrameType::file, 4, "/r/b")).empty());
    line = encode_frame(FrameType::file, 5, "/r/c") + encode_frame(FrameType::file_end, 6, "0");
    EXPECT_EQ(only<ResultFile>(receiver.take(line)).path, "/r/c");
    EXPECT_EQ(receiver.dropped_files(), 2U);
}

TEST(Message, WhatMakesNoSenseIsIgnored) {
    Receiver receiver;
    std::uint32_t number = 0;
    for (const auto& [type, payload] :
         std::vector<std::pair<FrameType, std::string>>{{FrameType::exit, ""},
                                                        {FrameType::exit, "-1"},
                                                        {FrameType::exit, "256"},
                                                        {FrameType::failed, "{"},
                                                        {FrameType::failed, "[]"},
                                                        {FrameType::file_data, "no file is open"},
                                                        {FrameType::file_end, "0"},
                                                        {FrameType::interrupt, ""}})
        EXPECT_TRUE(receiver.take(encode_frame(type, number++, payload)).empty()) << payload;
}

TEST(Message, AnErrorFromInsideCannotNameJustAnyKind) {
    Receiver receiver;
    const auto error =
        only<Failed>(receiver.take(encode_frame(FrameType::failed, 0, R"({"kind": 99, "asked": 7})"))).error;
    EXPECT_EQ(error.kind, ErrorKind::bad_input);
    EXPECT_EQ(error.asked, "");
}

} // namespace
} // namespace nestbed::lab
