#include "report/html/escape.hpp"

#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

TEST(Html, HasNoMarkupOfItsOwn) {
    EXPECT_EQ(html("a <b> & \"c\" 'd'\n\te"), "a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\n\te");
    EXPECT_EQ(html("</script><script>alert(1)"), "&lt;/script&gt;&lt;script&gt;alert(1)");
    EXPECT_EQ(html(std::string_view{"\0\x1b\x7f", 3}), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    EXPECT_EQ(html("\xc3\xa9"), "\xc3\xa9"); // UTF-8 stays
}

TEST(ScriptJson, CannotEndItsElement) {
    const nlohmann::ordered_json json{{"</script><!--", "]]>&\xff"}};
    const auto text = script_json(json);
    EXPECT_EQ(text.find_first_of("<>&"), std::string::npos);
    EXPECT_EQ(nlohmann::ordered_json::parse(text),
              (nlohmann::ordered_json{{"</script><!--", "]]>&\xef\xbf\xbd"}}));
}

} // namespace
} // namespace nestbed::report
