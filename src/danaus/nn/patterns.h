#pragma once

#include <cstddef>
#include <string_view>

namespace danaus::nn {

/// GPT-2's pattern: contractions, words, numbers, other characters, each with a space before it, and white space.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
/// Llama 3's: contractions in any case, one other character in front of a word, at most three digits, lines.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
/// Qwen 2's: Llama 3's with single digits.
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// A regular expression that tokenizers are published with, and a function that matches it.
struct Pattern {
  std::string_view expression;
  /// The end of the match that starts at `position` of the UTF-16 text; `position` itself when there is none.
  std::size_t (*match)(std::u16string_view text, std::size_t position);
};

/// The pattern written exactly so; nullptr when it is not one of those that are known.
const Pattern* find_pattern(std::string_view expression);

}  // namespace danaus::nn
