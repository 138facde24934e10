// Texts as documents of runs. What is read can be written, read again, compared with itself and reported.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "report/comparison.hpp"
#include "report/document.hpp"
#include "report/html/page.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"
#include "require.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nestbed::report;
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    auto document = parse_document(text, "a");
    require(document.has_value() || document.error().kind == nestbed::ErrorKind::bad_input);
    if (!document)
        return 0;
    if (document->figures.empty())
        require(parse_document(dump(to_json(document->run)), "b").has_value());
    if (const auto comparison = compare(*document, *document, 5)) {
        require(!has_regression(*comparison));
        static_cast<void>(format_comparison(*comparison));
    }
    const std::array runs{ReportedRun{.document = *std::move(document), .host = {}, .why_no_host = "none"}};
    require(page(runs, {}, "a").ends_with("</html>\n"));
    return 0;
}
