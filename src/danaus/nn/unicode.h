#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace danaus::nn {

/// A half-open range of UTF-16 code units of a text.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const Span&) const = default;
};

/// UTF-8 to UTF-16. A byte that is not part of valid UTF-8 becomes the lone surrogate U+DC00 + byte, so that narrow()
/// gives every byte back; valid UTF-8 has no lone surrogates. At most INT32_MAX bytes.
std::u16string widen(std::string_view text);
/// The inverse of widen().
std::string narrow(std::u16string_view text);

/// The code point that starts at `position`, which moves behind it. Lone surrogates are code points of their own.
char32_t next_code_point(std::u16string_view text, std::size_t& position);
void append_code_point(std::u16string& text, char32_t code_point);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
std::u16string normalise(const std::u16string& text, NormalForm form);
/// Every character by itself, without context (Unicode's full mapping: one may become several).
std::u16string lower_case(std::u16string_view text);

bool is_white_space(char32_t code_point);      ///< property White_Space
bool is_letter(char32_t code_point);           ///< categories L*
bool is_number(char32_t code_point);           ///< categories Nd, Nl, No
bool is_punctuation(char32_t code_point);      ///< categories P*
bool is_nonspacing_mark(char32_t code_point);  ///< category Mn
bool is_other(char32_t code_point);            ///< categories Cc, Cf, Cs, Co
/// What regular expressions call a word character: letters, marks, decimal digits, connectors, joiners (UTS 18).
bool is_word_character(char32_t code_point);

}  // namespace danaus::nn
