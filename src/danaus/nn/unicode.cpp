#include "danaus/nn/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <cstdint>

#include "danaus/core/internal_error.h"

// Unicode through ICU. Texts are UTF-16 because ICU's normalisation is; bytes that are not UTF-8 travel as lone low
// surrogates (category Cs: neither letter, number nor white space), so that no byte is lost.

namespace danaus::nn {
namespace {

constexpr char32_t kEscapedByte = 0xDC00;

std::int32_t length_of(std::u16string_view text) {
  ensure(text.size() <= INT32_MAX, "a text fits ICU's lengths");
  return static_cast<std::int32_t>(text.size());
}

std::uint32_t category_bits(char32_t code_point) {
  return std::uint32_t{1} << static_cast<unsigned>(u_charType(static_cast<UChar32>(code_point)));
}

}  // namespace

std::u16string widen(std::string_view text) {
  ensure(text.size() <= INT32_MAX, "a text fits ICU's lengths");
  std::u16string wide;
  wide.reserve(text.size());
  const std::int32_t length = static_cast<std::int32_t>(text.size());
  std::int32_t position = 0;
  while (position < length) {
    const std::int32_t start = position;
    UChar32 code_point = 0;
    // The macro narrows int to unsigned char itself.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
    U8_NEXT(text.data(), position, length, code_point);
#pragma GCC diagnostic pop
    if (code_point >= 0) {
      append_code_point(wide, static_cast<char32_t>(code_point));
      continue;
    }
    for (std::int32_t byte = start; byte < position; ++byte)
      wide += static_cast<char16_t>(kEscapedByte + static_cast<unsigned char>(text[static_cast<std::size_t>(byte)]));
  }
  return wide;
}

std::string narrow(std::u16string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    const char32_t code_point = next_code_point(text, position);
    if (code_point < 0x80) {
      bytes += static_cast<char>(code_point);
    } else if (code_point >= kEscapedByte && code_point < kEscapedByte + 0x100) {
      bytes += static_cast<char>(code_point - kEscapedByte);
    } else {
      char buffer[U8_MAX_LENGTH] = {};
      std::int32_t length = 0;
      U8_APPEND_UNSAFE(buffer, length, static_cast<UChar32>(code_point));
      bytes.append(buffer, static_cast<std::size_t>(length));
    }
  }
  return bytes;
}

char32_t next_code_point(std::u16string_view text, std::size_t& position) {
  const char16_t first = text[position++];
  if (U16_IS_LEAD(first) && position < text.size() && U16_IS_TRAIL(text[position]))
    return static_cast<char32_t>(U16_GET_SUPPLEMENTARY(first, text[position++]));
  return first;
}

void append_code_point(std::u16string& text, char32_t code_point) {
  if (code_point < 0x10000) {
    text += static_cast<char16_t>(code_point);
  } else {
    text += static_cast<char16_t>(U16_LEAD(code_point));
    text += static_cast<char16_t>(U16_TRAIL(code_point));
  }
}

std::u16string normalise(const std::u16string& text, NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* normalizer = nullptr;
  switch (form) {
    case NormalForm::nfc:
      normalizer = unorm2_getNFCInstance(&status);
      break;
    case NormalForm::nfd:
      normalizer = unorm2_getNFDInstance(&status);
      break;
    case NormalForm::nfkc:
      normalizer = unorm2_getNFKCInstance(&status);
      break;
    case NormalForm::nfkd:
      normalizer = unorm2_getNFKDInstance(&status);
      break;
  }
  ensure(U_SUCCESS(status), "ICU has its normalisation data");
  std::u16string normal(text.size(), u'\0');
  // The result may be longer: the first call then says how long.
  for (int attempt = 0; attempt < 2; ++attempt) {
    status = U_ZERO_ERROR;
    const std::int32_t length =
        unorm2_normalize(normalizer, text.data(), length_of(text), normal.data(), length_of(normal), &status);
    ensure(U_SUCCESS(status) || status == U_BUFFER_OVERFLOW_ERROR, "ICU normalises any text");
    const bool complete = U_SUCCESS(status) && static_cast<std::size_t>(length) <= normal.size();
    normal.resize(static_cast<std::size_t>(length));
    if (complete) break;
  }
  return normal;
}

std::u16string lower_case(std::u16string_view text) {
  std::u16string lower;
  lower.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    const char32_t code_point = next_code_point(text, position);
    // The only character whose lower case is several characters in every context.
    if (code_point == 0x130) {
      lower += u"i\u0307";
    } else {
      append_code_point(lower, static_cast<char32_t>(u_tolower(static_cast<UChar32>(code_point))));
    }
  }
  return lower;
}

bool is_white_space(char32_t code_point) { return u_isUWhiteSpace(static_cast<UChar32>(code_point)) != 0; }
bool is_letter(char32_t code_point) { return (category_bits(code_point) & U_GC_L_MASK) != 0; }
bool is_number(char32_t code_point) { return (category_bits(code_point) & U_GC_N_MASK) != 0; }
bool is_punctuation(char32_t code_point) { return (category_bits(code_point) & U_GC_P_MASK) != 0; }
bool is_nonspacing_mark(char32_t code_point) { return (category_bits(code_point) & U_GC_MN_MASK) != 0; }
bool is_other(char32_t code_point) {
  return (category_bits(code_point) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK)) != 0;
}
bool is_word_character(char32_t code_point) {
  return (category_bits(code_point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_isUAlphabetic(static_cast<UChar32>(code_point)) != 0 || code_point == 0x200C || code_point == 0x200D;
}

}  // namespace danaus::nn
