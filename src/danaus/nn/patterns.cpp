#include "danaus/nn/patterns.h"

#include <algorithm>
#include <array>

#include "danaus/nn/unicode.h"

// The few regular expressions that the tokenizers of language models split texts with, each written out as a function
// of one pass over the characters. A general engine remembers where it could turn back and gives up on texts of some
// megabytes; in these expressions there is at most one character to turn back over. The alternatives are tried in the
// order of the expression; tests compare every function with ICU's regular expressions.

namespace danaus::nn {
namespace {

enum class CharacterClass { letter, number, white_space, other };

CharacterClass class_of(char32_t code_point) {
  if (is_letter(code_point)) return CharacterClass::letter;
  if (is_number(code_point)) return CharacterClass::number;
  return is_white_space(code_point) ? CharacterClass::white_space : CharacterClass::other;
}

bool is_line_end(char32_t code_point) { return code_point == U'\r' || code_point == U'\n'; }

/// The end of at most `most` characters from `position` for which `belongs` holds.
template <typename Belongs>
std::size_t run(std::u16string_view text, std::size_t position, const Belongs& belongs,
                std::size_t most = static_cast<std::size_t>(-1)) {
  for (std::size_t next = position; position < text.size() && most > 0; position = next, --most)
    if (!belongs(next_code_point(text, next))) break;
  return position;
}

std::size_t run_of(CharacterClass wanted, std::u16string_view text, std::size_t position,
                   std::size_t most = static_cast<std::size_t>(-1)) {
  return run(
      text, position, [wanted](char32_t code_point) { return class_of(code_point) == wanted; }, most);
}

/// 's|'t|'re|'ve|'m|'ll|'d; of the characters beyond ASCII only the long s is one of these letters in another case.
std::size_t contraction(std::u16string_view text, std::size_t position, bool any_case) {
  if (text[position] != u'\'') return position;
  const auto letter = [&](std::size_t index) -> char16_t {
    if (index >= text.size()) return u'\0';
    const char16_t unit = text[index];
    if (any_case && unit >= u'A' && unit <= u'Z') return static_cast<char16_t>(unit + (u'a' - u'A'));
    return any_case && unit == u'\u017F' ? u's' : unit;
  };
  const char16_t first = letter(position + 1);
  if (first == u's' || first == u't' || first == u'm' || first == u'd') return position + 2;
  const char16_t second = letter(position + 2);
  if (((first == u'r' || first == u'v') && second == u'e') || (first == u'l' && second == u'l')) return position + 3;
  return position;
}

/// \s+(?!\S)|\s+ : white space without the character before a word. White space is in the first plane: one unit each.
std::size_t white_space(std::u16string_view text, std::size_t position) {
  const std::size_t end = run_of(CharacterClass::white_space, text, position);
  return end < text.size() && end - position > 1 ? end - 1 : end;
}

std::size_t match_gpt2(std::u16string_view text, std::size_t position) {
  if (const std::size_t end = contraction(text, position, false); end > position) return end;
  const std::size_t start = position + (text[position] == u' ' ? 1 : 0);
  for (const CharacterClass wanted : {CharacterClass::letter, CharacterClass::number, CharacterClass::other})
    if (const std::size_t end = run_of(wanted, text, start); end > start) return end;
  return white_space(text, position);
}

template <std::size_t most_digits>
std::size_t match_llama3(std::u16string_view text, std::size_t position) {
  if (const std::size_t end = contraction(text, position, true); end > position) return end;
  std::size_t next = position;
  const char32_t first = next_code_point(text, next);
  const CharacterClass first_class = class_of(first);
  if (first_class == CharacterClass::letter) return run_of(CharacterClass::letter, text, position);
  if (first_class == CharacterClass::number) return run_of(CharacterClass::number, text, position, most_digits);
  if (!is_line_end(first))
    if (const std::size_t end = run_of(CharacterClass::letter, text, next); end > next) return end;
  const std::size_t start = position + (first == U' ' ? 1 : 0);
  if (const std::size_t end = run_of(CharacterClass::other, text, start); end > start)
    return run(text, end, is_line_end);
  // \s*[\r\n]+ : up to the last end of a line that this white space has.
  std::size_t line_end = run_of(CharacterClass::white_space, text, position);
  while (line_end > position && !is_line_end(text[line_end - 1])) --line_end;
  return line_end > position ? line_end : white_space(text, position);
}

/// What llama.cpp splits off first by default: punctuation and ASCII's symbols but for the grave accent.
std::size_t match_punctuation(std::u16string_view text, std::size_t position) {
  return run(text, position, [](char32_t code_point) {
    return is_punctuation(code_point) || std::u32string_view(U"$+<=>^~|").find(code_point) != std::u32string_view::npos;
  });
}

template <std::size_t most>
std::size_t match_numbers(std::u16string_view text, std::size_t position) {
  return run(text, position, is_number, most);
}

std::size_t match_three_digits(std::u16string_view text, std::size_t position) {
  const std::size_t end = run(
      text, position, [](char32_t code_point) { return code_point >= U'0' && code_point <= U'9'; }, 3);
  return end - position == 3 ? end : position;
}

std::size_t match_white_space(std::u16string_view text, std::size_t position) {
  return run(text, position, is_white_space);
}

std::size_t match_words(std::u16string_view text, std::size_t position) {
  if (const std::size_t end = run(text, position, is_word_character); end > position) return end;
  return run(text, position,
             [](char32_t code_point) { return !is_word_character(code_point) && !is_white_space(code_point); });
}

constexpr std::size_t kAnyNumber = static_cast<std::size_t>(-1);
constexpr std::array kPatterns = {
    Pattern{kGpt2Pattern, match_gpt2},
    Pattern{kLlama3Pattern, match_llama3<3>},
    Pattern{kQwen2Pattern, match_llama3<1>},
    Pattern{R"([\p{P}\$\+<=>\^~\|]+)", match_punctuation},
    Pattern{R"(\p{N}+)", match_numbers<kAnyNumber>},
    Pattern{R"(\p{N}{1,3})", match_numbers<3>},
    Pattern{R"(\p{N})", match_numbers<1>},
    Pattern{R"([0-9][0-9][0-9])", match_three_digits},
    Pattern{R"(\s+)", match_white_space},
    Pattern{R"(\w+|[^\w\s]+)", match_words},
};

}  // namespace

const Pattern* find_pattern(std::string_view expression) {
  const Pattern* found = std::find_if(kPatterns.begin(), kPatterns.end(),
                                      [&](const Pattern& pattern) { return pattern.expression == expression; });
  return found == kPatterns.end() ? nullptr : found;
}

}  // namespace danaus::nn
