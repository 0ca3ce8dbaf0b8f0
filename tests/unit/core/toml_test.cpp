#include "danaus/core/toml.h"

#include <doctest/doctest.h>
#include <toml++/toml.h>

#include <string>
#include <vector>

namespace danaus {
namespace {

Result<toml::table> parse(std::string_view text, const TomlLimits& limits = {}) {
  return parse_toml(text, "a test", Error("test.syntax", Failure::bad_input, "").in_file("t.toml").with_hint("hint"),
                    limits);
}

Error bad(std::string_view text, const TomlLimits& limits = {}) {
  const Result<toml::table> table = parse(text, limits);
  REQUIRE_FALSE(table.has_value());
  CHECK(table.error().id == "test.syntax");
  CHECK(table.error().where.file == "t.toml");
  return table.error();
}

}  // namespace

TEST_CASE("a TOML text that is wrong, and where") {
  const Error error = bad("a = 1\n[b\n");
  CHECK(error.where.line == 2);
  CHECK(error.where.column == 3);
  CHECK(error.hint == "hint");
  CHECK(error.message == "Error while parsing table header: expected ']', saw '\\n'");
}

TEST_CASE("limits of a TOML text and its lines") {
  const TomlLimits limits{.text = 100, .line = 20};
  CHECK(parse("a = 1" + std::string(15, ' ') + "\n", limits).has_value());
  CHECK(bad("\na = 1" + std::string(16, ' '), limits).message == "a line of more than 20 bytes");
  CHECK(parse(std::string(100, '\n'), limits).has_value());
  CHECK(bad(std::string(101, '\n'), limits).message == "101 bytes are too long for a test (at most 100)");
  std::string deep = "a";
  for (int n = 0; n < 200'000; ++n) deep += ".a";
  CHECK(bad(deep + " = 1").hint.empty());
}

TEST_CASE("characters outside ASCII in comments and in quotes, nowhere else") {
  const Result<toml::table> table = parse(
      "\xef\xbb\xbf# \xc2\xb5S \xe2\x80\xa8 \xe3\x80\x80\n"
      "a = \"\xc3\xa9 # \\\" \xf0\x9f\xa6\x8b\" # \xc2\xa0\n"
      "\"\xc3\xa9\" = '\xc3\xa4\\'\n\"\xc3\xb6\" = ['''\xc3\xbc\\\n\xc3\xbc''', \"\xc3\xbc\"]\n");
  REQUIRE(table.has_value());
  CHECK(table->at("a").value<std::string>() == "\xc3\xa9 # \" \xf0\x9f\xa6\x8b");
  CHECK(table->at("\xc3\xa9").value<std::string>() == "\xc3\xa4\\");
  CHECK(table->at("\xc3\xb6").as_array()->size() == 2);

  // One of each kind that toml++ asks about: spaces, line breaks, letters and what is none of them.
  for (const std::string other : {"\xc2\xa0", "\xc3\xa9", "\xd2\x99", "\xe1\x9a\x80", "\xe2\x80\xa8", "\xe3\x80\x80",
                                  "\xe3\x80\x81", "\xef\xbb\xae", "\xef\xbb\xbf", "\xf0\x9f\xa6\x8b", "\xff", "\x80"}) {
    CAPTURE(other);
    for (const std::string before :
         {"", "a", "a ", "a = ", "a = 1", "a = 1 ", "a = [1 ", "a = 1[\"", "a = 1.\"", "a = 1=\"", "a = 2026-01-01 '",
          "a = tru", "[", "[[a", "a = {", "a.", "a = \"b\" ", "a = \"\\"}) {
      CAPTURE(before);
      const Error error = bad("# first\n" + before + other + "\" ]\n");
      CHECK(error.where.line == 2);
      if (before.find('\\') == std::string::npos && other != "\x80") CHECK(error.hint != "hint");
    }
    CHECK(bad("a = 1\nb = \"\"\"\\\n" + other + "\"\"\"\n").where.line == 2);
    CHECK(bad("b = '''" + other + "'''\nc = \"\"\"\"\"\"\n").where.line == 2);
  }
  CHECK(bad("# \xc3\xa9\na = \n").hint == "hint");  // another line is wrong
  CHECK(bad("a = \"\xc3\"\n").where.line == 1);     // half a character
}

}  // namespace danaus
