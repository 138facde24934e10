#include "lab/message.hpp"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/units.hpp"

namespace nestbed::lab {

namespace {

constexpr int max_exit_code = 255;

std::string to_json(const Error& error) {
    return nlohmann::json{{"kind", static_cast<int>(error.kind)},
                          {"asked", error.asked},
                          {"found", error.found},
                          {"remedy", error.remedy}}
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Error> error_from(std::string_view text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object())
        return std::nullopt;
    const auto field = [&](const char* name) {
        const auto at = json.find(name);
        return at != json.end() && at->is_string() ? at->get<std::string>() : std::string{};
    };
    const auto kind = json.find("kind");
    const bool host_lacks = kind != json.end() && kind->is_number_integer() &&
                            kind->get<std::int64_t>() == static_cast<int>(ErrorKind::host_lacks);
    return Error{host_lacks ? ErrorKind::host_lacks : ErrorKind::bad_input, field("asked"), field("found"),
                 field("remedy")};
}

} // namespace

std::string Sender::frame(FrameType type, std::string_view payload) {
    return encode_frame(type, _sequence++, payload);
}

std::string Sender::pieces(FrameType type, std::string_view bytes) {
    std::string frames;
    for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), max_frame_payload)))
        frames += frame(type, bytes.substr(0, max_frame_payload));
    return frames;
}

std::string Sender::encode(const Message& message) {
    if (const auto* const hello = std::get_if<Hello>(&message))
        return frame(FrameType::hello, hello->kernel);
    if (const auto* const output = std::get_if<Output>(&message))
        return pieces(output->is_stderr ? FrameType::err : FrameType::out, output->bytes);
    if (const auto* const file = std::get_if<ResultFile>(&message)) {
        auto frames = frame(FrameType::file, file->path); // one after the other: each takes a number
        frames += pieces(FrameType::file_data, file->bytes);
        frames += frame(FrameType::file_end, std::to_string(file->bytes.size()));
        return frames;
    }
    if (const auto* const failed = std::get_if<Failed>(&message))
        return frame(FrameType::failed, to_json(failed->error));
    if (const auto* const exited = std::get_if<Exited>(&message))
        return frame(FrameType::exit, std::to_string(exited->code));
    return frame(FrameType::heartbeat, {});
}

std::vector<Message> Receiver::take(std::string_view bytes) {
    std::vector<Message> messages;
    for (auto& frame : _frames.take(bytes))
        if (auto message = accept(std::move(frame)))
            messages.push_back(std::move(*message));
    return messages;
}

std::optional<Message> Receiver::accept(Frame frame) {
    switch (frame.type) {
    case FrameType::hello:
        return Hello{std::move(frame.payload)};
    case FrameType::heartbeat:
        return Heartbeat{};
    case FrameType::out:
    case FrameType::err:
        return Output{frame.type == FrameType::err, std::move(frame.payload)};
    case FrameType::file:
        begin_file(std::move(frame.payload));
        return std::nullopt;
    case FrameType::file_data:
        add_to_file(frame.payload);
        return std::nullopt;
    case FrameType::file_end:
        return end_file(frame.payload);
    case FrameType::failed:
        if (auto error = error_from(frame.payload))
            return Failed{std::move(*error)};
        return std::nullopt;
    case FrameType::exit:
        if (const auto code = parse_count(frame.payload, "exit code", max_exit_code))
            return Exited{static_cast<int>(*code)};
        return std::nullopt;
    case FrameType::interrupt: // goes the other way
        return std::nullopt;
    }
    return std::nullopt;
}

void Receiver::begin_file(std::string path) {
    if (_file)
        ++_dropped_files; // its end was lost
    _file = ResultFile{std::move(path), {}};
}

void Receiver::add_to_file(std::string_view bytes) {
    if (!_file)
        return;
    if (_file->bytes.size() + bytes.size() > max_result_file_bytes ||
        _result_bytes + _file->bytes.size() + bytes.size() > max_result_bytes) {
        ++_dropped_files;
        _file.reset();
        return;
    }
    _file->bytes.append(bytes);
}

std::optional<Message> Receiver::end_file(std::string_view size) {
    auto file = std::exchange(_file, std::nullopt);
    if (!file)
        return std::nullopt;
    const auto said = parse_count(size, "file size", max_result_file_bytes);
    if (!said || *said != file->bytes.size()) {
        ++_dropped_files;
        return std::nullopt;
    }
    _result_bytes += file->bytes.size();
    return *std::move(file);
}

} // namespace nestbed::lab
