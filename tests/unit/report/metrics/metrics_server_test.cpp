#include "report/metrics/metrics_server.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <boost/fiber/operations.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/time.h>

#include "base/fd.hpp"
#include "core/supervise/epoll_scheduler.hpp"
#include "report/metrics/http_request.hpp"

namespace nestbed::report {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

TEST(HttpRequest, IsReadOnceItIsWhole) {
    struct Case {
        std::string text;
        std::optional<Request> request;
    };
    for (const auto& [text, request] : std::vector<Case>{
             {"", {}},
             {"GET /metrics HTTP/1.1\r\n", {}},
             {"GET /metrics HTTP/1.1\r\n\r\n", Request::metrics},
             {"GET /metrics?x=1 HTTP/1.0\r\nHost: a\r\n\r\n", Request::metrics},
             {"GET / HTTP/1.1\r\n\r\n", Request::other_path},
             {"GET /metricsx HTTP/1.1\r\n\r\n", Request::other_path},
             {"POST /metrics HTTP/1.1\r\n\r\n", Request::other_verb},
             {"GET /metrics HTTP/2\r\n\r\n", Request::bad},
             {"GET /metrics\r\n\r\n", Request::bad},
             {"\r\n\r\n", Request::bad},
             {std::string(8192, 'x'), {}},
             {std::string(8193, 'x'), Request::bad},
         })
        EXPECT_EQ(parse_request(text), request) << text.substr(0, 40);
}

TEST(ListenAddress, IsNumbersAndLoopbackWithoutAnAddress) {
    const auto ipv4 = [](std::string_view text) {
        const auto parsed = parse_listen_address(text);
        if (!parsed || parsed->address.ss_family != AF_INET)
            return std::string{"none"};
        const auto& address = reinterpret_cast<const sockaddr_in&>(parsed->address);
        std::array<char, 64> words{};
        ::inet_ntop(AF_INET, &address.sin_addr, words.data(), words.size());
        return std::string{words.data()} + ":" + std::to_string(ntohs(address.sin_port));
    };
    EXPECT_EQ(ipv4(":9100"), "127.0.0.1:9100");
    EXPECT_EQ(ipv4("9100"), "127.0.0.1:9100");
    EXPECT_EQ(ipv4("localhost:1"), "127.0.0.1:1");
    EXPECT_EQ(ipv4("0.0.0.0:65535"), "0.0.0.0:65535");
    EXPECT_EQ(parse_listen_address("[::1]:9100")->address.ss_family, AF_INET6);
    for (const auto* text : {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "example.org:80",
                             "::1:80", "[::1]", "[]:80", "[127.0.0.1]:80", "1.2.3:4", ":-1"}) {
        const auto parsed = parse_listen_address(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input);
    }
}

// What a client on a thread of its own gets for `request`, while this thread's fibers run.
class Client {
public:
    Client(std::uint16_t port, std::string request)
        : _thread{[this, port, asked = std::move(request)] {
              talk(port, asked);
              _is_done = true;
          }} {}

    std::string answer() {
        for (const auto end = supervise::Clock::now() + 30s; !_is_done && supervise::Clock::now() < end;)
            boost::this_fiber::sleep_for(1ms);
        _thread.join();
        return _answer;
    }

private:
    void talk(std::uint16_t port, const std::string& asked) {
        const Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const timeval timeout{.tv_sec = 20, .tv_usec = 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            _answer = "not connected";
            return;
        }
        // Letter by letter at first: a request comes in pieces.
        for (std::size_t i = 0; i < asked.size(); i += i < 5 ? 1 : asked.size())
            ::send(fd.get(), asked.data() + i, i < 5 ? 1 : asked.size() - i, MSG_NOSIGNAL);
        std::array<char, 65'536> bytes{};
        for (ssize_t got = 0; (got = ::recv(fd.get(), bytes.data(), bytes.size(), 0)) > 0;)
            _answer.append(bytes.data(), static_cast<std::size_t>(got));
    }

    std::string _answer;
    std::atomic<bool> _is_done = false;
    std::thread _thread;
};

class Server : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(supervise::use_epoll_scheduler());
        auto started = MetricsServer::start("127.0.0.1:0", [this] {
            ++asked;
            return text;
        });
        ASSERT_TRUE(started) << started.error().message();
        server = std::make_unique<MetricsServer>(*std::move(started));
    }

    std::string get(std::string request) { return Client{server->port(), std::move(request)}.answer(); }

    std::string text = "a 1\n# EOF\n";
    int asked = 0;
    std::unique_ptr<MetricsServer> server;
};

TEST_F(Server, AnswersWithTheMetricsOfTheMoment) {
    const auto first = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(first,
                StartsWith("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0;"));
    EXPECT_THAT(first, HasSubstr("Content-Length: 10\r\n"));
    EXPECT_THAT(first, testing::EndsWith("\r\n\r\na 1\n# EOF\n"));
    text = "a 2\n# EOF\n";
    EXPECT_THAT(get("GET /metrics HTTP/1.1\r\n\r\n"), HasSubstr("a 2\n"));
    EXPECT_EQ(asked, 2);
    EXPECT_THAT(get("GET /secret HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(get("DELETE /metrics HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 405"));
    EXPECT_THAT(get("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400"));
    EXPECT_EQ(asked, 2);
}

// 1024 vCPUs with 60 statistics each: more than a socket's buffer takes at once.
TEST_F(Server, SendsWhatIsLargerThanABuffer) {
    text.assign(8'000'000, 'x');
    const auto answer = get("GET /metrics HTTP/1.1\r\n\r\n");
    EXPECT_GT(answer.size(), 8'000'000U);
    EXPECT_EQ(answer.back(), 'x');
}

TEST_F(Server, ClosesOnThoseWhoSayNothing) {
    const auto start = supervise::Clock::now();
    EXPECT_EQ(get("GET /met"), "");
    const auto took = supervise::Clock::now() - start;
    EXPECT_GT(took, 1500ms);
    EXPECT_LT(took, 15s);
}

TEST_F(Server, ServesEightAtATime) {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 8; ++i)
        clients.push_back(std::make_unique<Client>(server->port(), "GET"));
    boost::this_fiber::sleep_for(500ms);
    EXPECT_EQ(get("GET /metrics HTTP/1.1\r\n\r\n"), ""); // closed without a word
    for (auto& client : clients)
        EXPECT_EQ(client->answer(), "");
    EXPECT_THAT(get("GET /metrics HTTP/1.1\r\n\r\n"), HasSubstr("a 1\n"));
}

TEST_F(Server, EndsWithConnectionsOpen) {
    Client silent{server->port(), "GET"};
    boost::this_fiber::sleep_for(200ms);
    const auto start = supervise::Clock::now();
    server.reset();
    EXPECT_LT(supervise::Clock::now() - start, 1500ms);
    EXPECT_EQ(silent.answer(), "");
}

TEST_F(Server, SaysWhereItCannotListen) {
    const auto again =
        MetricsServer::start(":" + std::to_string(server->port()), [] { return std::string{}; });
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(again.error().message(), HasSubstr("Address already in use"));
}

} // namespace
} // namespace nestbed::report
