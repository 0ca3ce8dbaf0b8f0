#include "danaus/program/scanner.h"

// The words and numbers of the text form. Numbers are strict (range-checked, no leading zeros), blanks are free.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace danaus::program {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The value of four hexadecimal digits at the front of text, or nothing.
std::optional<std::uint32_t> four_hex_digits(std::string_view text) {
  if (text.size() < 4) return std::nullopt;
  std::uint32_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + 4, value, 16);
  if (status != std::errc() || end != text.data() + 4) return std::nullopt;
  return value;
}

void append_utf8(std::string& out, std::uint32_t point) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6);
    put(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    put(0xe0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  } else {
    put(0xf0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3f));
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  }
}

struct Escape {
  char letter;
  char meaning;
};
constexpr Escape kEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'b', '\b'},
                               {'f', '\f'}, {'n', '\n'},  {'r', '\r'}, {'t', '\t'}};

/// Reads the escape after a backslash from the front of text; false when it is none.
bool take_escape(std::string_view& text, std::string& out) {
  if (text.empty()) return false;
  const char letter = text.front();
  text.remove_prefix(1);
  for (const Escape& escape : kEscapes) {
    if (escape.letter == letter) {
      out += escape.meaning;
      return true;
    }
  }
  if (letter != 'u') return false;
  const std::optional<std::uint32_t> unit = four_hex_digits(text);
  if (!unit) return false;
  text.remove_prefix(4);
  std::uint32_t point = *unit;
  if (point >= 0xd800 && point < 0xe000) {  // a pair of surrogates is one code point
    if (point >= 0xdc00 || !text.starts_with("\\u")) return false;
    const std::optional<std::uint32_t> low = four_hex_digits(text.substr(2));
    if (!low || *low < 0xdc00 || *low >= 0xe000) return false;
    text.remove_prefix(6);
    point = 0x10000 + ((point - 0xd800) << 10) + (*low - 0xdc00);
  }
  append_utf8(out, point);
  return true;
}

}  // namespace

std::string shown(std::string_view word) {
  constexpr std::size_t kMost = 40;
  std::string text(word.substr(0, kMost));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  if (word.size() > kMost) text += "...";
  return text;
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_real(std::string& out, double value) {
  char digits[40];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, value);
  const std::string_view text(digits, static_cast<std::size_t>(end.ptr - digits));
  const std::size_t e = text.find('e');
  if (e == std::string_view::npos) {
    out += text;
    return;
  }
  out += text.substr(0, e + 1);
  if (text[e + 1] == '-') out += '-';
  out += text.substr(text.find_first_not_of('0', e + 2));
}

std::string Scanner::found() const {
  const std::size_t end = word_end();
  return end == position_ ? std::string("nothing")
                          : fmt::format("'{}'", shown(line_.substr(position_, end - position_)));
}

std::string_view Scanner::word(std::string_view what) {
  const std::string_view next = peek();
  if (next.empty() && good()) fail_syntax(column(), fmt::format("{} is missing", what));
  position_ += next.size();
  return next;
}

bool Scanner::take_word(std::string_view expected) {
  if (peek() != expected) return false;
  position_ += expected.size();
  return good();
}

void Scanner::expect_word(std::string_view expected) {
  if (good() && !take_word(expected)) fail_syntax(column(), fmt::format("expected '{}', found {}", expected, found()));
}

void Scanner::expect_start(std::string_view prefix, std::string_view what) {
  if (!good()) return;
  skip_blanks();
  if (!line_.substr(position_).starts_with(prefix))
    return fail_syntax(column(), fmt::format("expected {}, found {}", what, found()));
  position_ += prefix.size();
}

void Scanner::expect(char c, std::string_view what) {
  if (good() && !take(c))
    fail_syntax(static_cast<std::uint32_t>(position_ + 1),
                fmt::format("expected '{}' in {}, found {}", c, what, found()));
}

std::uint32_t Scanner::number(std::string_view what, std::uint64_t least, std::uint64_t most) {
  if (!good()) return 0;
  constexpr std::uint64_t kTooLarge = std::uint64_t{1} << 40;  // above everything that a program can say
  const std::size_t start = position_;
  const std::uint32_t start_column = static_cast<std::uint32_t>(start + 1);
  std::uint64_t value = 0;
  while (position_ < line_.size() && is_digit(line_[position_])) {
    value = std::min(value * 10 + static_cast<std::uint64_t>(line_[position_] - '0'), kTooLarge);
    ++position_;
  }
  const std::string_view digits = line_.substr(start, position_ - start);
  if (digits.empty()) {
    fail_syntax(start_column, fmt::format("expected {}, found {}", what, found()));
    return 0;
  }
  if (digits.size() > 1 && digits[0] == '0') {
    fail_syntax(start_column, fmt::format("{} '{}' has leading zeros", what, shown(digits)));
    return 0;
  }
  if (value < least || value > most) {
    fail_with(start_column,
              Error("program.range", Failure::bad_input,
                    fmt::format("{} {} is out of range, {} to {} are possible", what, shown(digits), least, most)));
    return 0;
  }
  return static_cast<std::uint32_t>(value);
}

std::int32_t Scanner::signed_number(std::string_view what, unsigned bits) {
  const std::int64_t half = std::int64_t{1} << (bits - 1);
  const std::uint32_t start_column = static_cast<std::uint32_t>(position_ + 1);
  const bool negative = take('-');
  const std::int64_t magnitude = number(what, 0, ~std::uint64_t{0});
  const std::int64_t value = negative ? -magnitude : magnitude;
  if (good() && negative && value == 0) fail_syntax(start_column, fmt::format("{} '-0' is written 0", what));
  if (good() && (value < -half || value >= half))
    fail_with(start_column,
              Error("program.range", Failure::bad_input,
                    fmt::format("{} {} is out of range, {} to {} are possible", what, value, -half, half - 1)));
  return static_cast<std::int32_t>(value);
}

void Scanner::fail_at_rest(std::string_view what) {
  fail_syntax(static_cast<std::uint32_t>(position_ + 1), fmt::format("{} goes on with {}", what, found()));
}

std::uint32_t Scanner::number_word(std::string_view what, std::uint64_t least, std::uint64_t most) {
  skip_blanks();
  const std::uint32_t value = number(what, least, most);
  end_of_word(what);
  return value;
}

double Scanner::real_word(std::string_view what) {
  const std::uint32_t start_column = column();
  const std::string_view text = word(what);
  if (!good()) return 0;
  double value = 0;
  // from_chars also knows "inf", "nan" and a sign: a number starts with a digit.
  const bool plain = is_digit(text[0]) && !(text.size() > 1 && text[0] == '0' && is_digit(text[1]));
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (!plain || status == std::errc::invalid_argument || end != text.data() + text.size()) {
    fail_syntax(start_column, fmt::format("expected {}, found '{}'", what, shown(text)), "a number like 10000 or 1e-5");
  } else if (status != std::errc() || !std::isfinite(value)) {
    fail_with(start_column, Error("program.range", Failure::bad_input,
                                  fmt::format("{} {} is outside the range of a double", what, shown(text))));
  }
  return good() ? value : 0;
}

std::string Scanner::quoted(std::string_view what) {
  std::string out;
  expect_start("\"", what);
  if (!good()) return out;
  std::string_view rest = line_.substr(position_);
  const auto column_here = [&] { return static_cast<std::uint32_t>(line_.size() - rest.size() + 1); };
  for (;;) {
    if (rest.empty()) {
      fail_syntax(column_here(), fmt::format("the string of {} has no closing quote", what));
      return {};
    }
    const char c = rest.front();
    const std::uint32_t start_column = column_here();
    rest.remove_prefix(1);
    if (c == '"') break;
    if (c == '\\') {
      if (!take_escape(rest, out)) {
        fail_syntax(start_column, "this is no escape of a JSON string");
        return {};
      }
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fail_syntax(start_column, "control characters in strings are escaped", "write \\t, \\n or \\u0000");
      return {};
    } else {
      out += c;
    }
  }
  position_ = line_.size() - rest.size();
  end_of_word(what);
  return out;
}

void Scanner::finish() {
  if (good() && !at_end()) fail_syntax(column(), fmt::format("the statement ends before {}", found()));
}

void Scanner::fail_syntax(std::uint32_t column, std::string message, std::string hint) {
  fail_with(column, Error("program.syntax", Failure::bad_input, std::move(message)).with_hint(std::move(hint)));
}

void Scanner::fail_unknown(std::uint32_t column, std::string_view what, std::string_view word,
                           const std::vector<std::string_view>& candidates) {
  const std::string_view close = nearest(word, candidates);
  fail_with(column, Error("program.name", Failure::bad_input, fmt::format("there is no {} '{}'", what, shown(word)))
                        .with_hint(close.empty() ? std::string() : fmt::format("did you mean '{}'?", close)));
}

void Scanner::fail_with(std::uint32_t column, Error error) {
  if (good()) error_ = std::move(error).at_line(line_number_, column);
}

}  // namespace danaus::program
