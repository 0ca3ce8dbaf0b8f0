#include "danaus/nn/patterns.h"

#include <doctest/doctest.h>
#include <unicode/uregex.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "danaus/nn/unicode.h"

// Every written-out pattern against ICU's regular expressions on random texts.

using namespace danaus;

namespace {

std::vector<nn::Span> matches_of_icu(std::string_view expression, const std::u16string& text) {
  const std::u16string wide = nn::widen(expression);
  UErrorCode status = U_ZERO_ERROR;
  URegularExpression* regex = uregex_open(wide.data(), static_cast<std::int32_t>(wide.size()), 0, nullptr, &status);
  uregex_setText(regex, text.data(), static_cast<std::int32_t>(text.size()), &status);
  REQUIRE(U_SUCCESS(status));
  std::vector<nn::Span> spans;
  while (uregex_findNext(regex, &status) != 0)
    spans.push_back({static_cast<std::size_t>(uregex_start(regex, 0, &status)),
                     static_cast<std::size_t>(uregex_end(regex, 0, &status))});
  CHECK(U_SUCCESS(status));
  uregex_close(regex);
  return spans;
}

std::vector<nn::Span> matches_of_ours(const nn::Pattern& pattern, const std::u16string& text) {
  std::vector<nn::Span> spans;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = pattern.match(text, position);
    if (end > position)
      spans.push_back({position, end});
    else
      nn::next_code_point(text, position);
    position = std::max(position, end);
  }
  return spans;
}

/// Texts in which the characters that patterns name are frequent, and any others appear.
std::u16string random_text(std::mt19937& random, std::size_t length) {
  static constexpr char32_t kNamed[] =
      U"'''stmdrevlSTMDREVL\u017F\u212A  \t\r\n\n\u00A0\u0085\u3000\u200B0123456789\u0661\u00BD.,!?$+<=>^~|`_-ab\u00E9"
      U"\u4F60\U0001F600\u0301\u200C\u200D";
  std::u16string text;
  for (std::size_t index = 0; index < length; ++index) {
    const std::uint32_t choice = static_cast<std::uint32_t>(random());
    if (choice % 8 != 0)
      nn::append_code_point(text, kNamed[(choice / 8) % (std::size(kNamed) - 1)]);
    else if (choice % 16 == 0)
      nn::append_code_point(text, (choice / 16) % 0x3000);
    else
      nn::append_code_point(text, (choice / 16) % 0x110000);
  }
  return text;
}

}  // namespace

TEST_CASE("the written-out patterns match what ICU's regular expressions match") {
  std::mt19937 random(5);
  for (const std::string_view expression :
       {nn::kGpt2Pattern, nn::kLlama3Pattern, nn::kQwen2Pattern, std::string_view(R"([\p{P}\$\+<=>\^~\|]+)"),
        std::string_view(R"(\p{N}+)"), std::string_view(R"(\p{N}{1,3})"), std::string_view(R"(\p{N})"),
        std::string_view(R"([0-9][0-9][0-9])"), std::string_view(R"(\s+)"), std::string_view(R"(\w+|[^\w\s]+)")}) {
    const nn::Pattern* pattern = nn::find_pattern(expression);
    REQUIRE(pattern != nullptr);
    CAPTURE(expression);
    for (std::size_t round = 0; round < 1500; ++round) {
      const std::u16string text = random_text(random, round % 60);
      CAPTURE(nn::narrow(text));
      REQUIRE(matches_of_ours(*pattern, text) == matches_of_icu(expression, text));
    }
    // Every character by itself, between a letter, a space and the end.
    std::u16string all;
    for (char32_t code_point = 0; code_point < 0x110000; code_point += code_point < 0x20000 ? 1 : 101) {
      all += code_point % 2 == 0 ? u"a" : u" ";
      nn::append_code_point(all, code_point);
    }
    CHECK(matches_of_ours(*pattern, all) == matches_of_icu(expression, all));
  }
  CHECK(nn::find_pattern("b+") == nullptr);
}
