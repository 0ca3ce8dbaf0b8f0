#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "danaus/nn/patterns.h"
#include "danaus/nn/unicode.h"

namespace danaus::nn {

// What happens to a text before the vocabulary is asked: characters are changed (normalisers), then the text is cut
// into words (splitters), each of which cuts the words of the one before.

/// Unicode normalisation.
struct Normalise {
  NormalForm form = NormalForm::nfc;
};
struct LowerCase {};
/// Drops nonspacing marks (category Mn); to strip accents, after NFD.
struct DropMarks {};
/// Drops U+0000, U+FFFD and control characters; white space becomes a space.
struct CleanText {};
/// A space on both sides of every CJK ideograph, so that each becomes a word.
struct SpaceIdeographs {};
using Normaliser = std::variant<Normalise, LowerCase, DropMarks, CleanText, SpaceIdeographs>;

/// Cuts at matches of a pattern, or of a literal text; the matches are words (`keep_match`), and what is between them
/// (`keep_between`).
struct SplitMatches {
  std::variant<const Pattern*, std::u16string> wanted;
  bool keep_match = true;
  bool keep_between = true;
};
/// Digits (categories N*) apart from the rest, each for itself or in runs.
struct SplitDigits {
  bool individual = false;
};
/// A space before every word that does not start with one.
struct PrefixSpace {};
/// BERT: white space separates and goes away, punctuation characters are words.
struct SplitBert {};
using Splitter = std::variant<SplitMatches, SplitDigits, PrefixSpace, SplitBert>;

std::u16string apply(const std::vector<Normaliser>& normalisers, std::u16string text);

/// The words of a text, in order. `text` changes when a splitter adds characters; the spans refer to the changed text.
std::vector<Span> split(const std::vector<Splitter>& splitters, std::u16string& text);

}  // namespace danaus::nn
