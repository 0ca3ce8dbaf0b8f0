#include "danaus/nn/pieces.h"

#include <array>
#include <utility>

// Normalisers map a text to a text in one pass; splitters map a list of words (spans of one text) to a finer list.

namespace danaus::nn {
namespace {

template <typename Keep>
std::u16string filter(std::u16string_view text, const Keep& keep) {
  std::u16string kept;
  kept.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t start = position;
    if (keep(next_code_point(text, position))) kept.append(text.substr(start, position - start));
  }
  return kept;
}

/// The blocks that BERT calls Chinese: CJK unified and compatibility ideographs (google-research/bert,
/// tokenization.py).
bool is_ideograph(char32_t code_point) {
  constexpr std::array<std::pair<char32_t, char32_t>, 8> kBlocks = {{{0x4E00, 0x9FFF},
                                                                     {0x3400, 0x4DBF},
                                                                     {0x20000, 0x2A6DF},
                                                                     {0x2A700, 0x2B73F},
                                                                     {0x2B740, 0x2B81F},
                                                                     {0x2B820, 0x2CEAF},
                                                                     {0xF900, 0xFAFF},
                                                                     {0x2F800, 0x2FA1F}}};
  for (const std::pair<char32_t, char32_t>& block : kBlocks)
    if (code_point >= block.first && code_point <= block.second) return true;
  return false;
}

bool is_control(char32_t code_point) {
  return code_point != u'\t' && code_point != u'\n' && code_point != u'\r' && is_other(code_point);
}

/// BERT counts every ASCII character that is neither letter, digit, space nor control.
bool is_bert_punctuation(char32_t code_point) {
  if (code_point < 0x80)
    return (code_point >= 33 && code_point <= 47) || (code_point >= 58 && code_point <= 64) ||
           (code_point >= 91 && code_point <= 96) || (code_point >= 123 && code_point <= 126);
  return is_punctuation(code_point);
}

struct ApplyNormaliser {
  std::u16string text;

  std::u16string operator()(const Normalise& step) { return normalise(text, step.form); }
  std::u16string operator()(const LowerCase&) { return lower_case(text); }
  std::u16string operator()(const DropMarks&) {
    return filter(text, [](char32_t code_point) { return !is_nonspacing_mark(code_point); });
  }
  std::u16string operator()(const CleanText&) {
    std::u16string clean;
    clean.reserve(text.size());
    for (std::size_t position = 0; position < text.size();) {
      const char32_t code_point = next_code_point(text, position);
      if (code_point == 0 || code_point == 0xFFFD || is_control(code_point)) continue;
      append_code_point(clean, is_white_space(code_point) ? U' ' : code_point);
    }
    return clean;
  }
  std::u16string operator()(const SpaceIdeographs&) {
    std::u16string spaced;
    spaced.reserve(text.size());
    for (std::size_t position = 0; position < text.size();) {
      const char32_t code_point = next_code_point(text, position);
      const bool ideograph = is_ideograph(code_point);
      if (ideograph) spaced += u' ';
      append_code_point(spaced, code_point);
      if (ideograph) spaced += u' ';
    }
    return spaced;
  }
};

void add(std::vector<Span>& words, std::size_t begin, std::size_t end) {
  if (begin < end) words.push_back({begin, end});
}

std::size_t match_end(const SplitMatches& step, std::u16string_view text, std::size_t position) {
  if (const Pattern* const* pattern = std::get_if<const Pattern*>(&step.wanted))
    return (*pattern)->match(text, position);
  const std::u16string& literal = std::get<std::u16string>(step.wanted);
  return text.substr(position).starts_with(literal) ? position + literal.size() : position;
}

struct ApplySplitter {
  std::u16string& text;
  std::vector<Span> words;

  std::vector<Span> operator()(const SplitMatches& step) {
    std::vector<Span> finer;
    for (const Span& word : words) {
      // Nothing outside of the word is seen, not even by look-ahead.
      const std::u16string_view inside = std::u16string_view(text).substr(word.begin, word.end - word.begin);
      std::size_t done = 0;
      for (std::size_t position = 0; position < inside.size();) {
        const std::size_t end = match_end(step, inside, position);
        if (end == position) {
          next_code_point(inside, position);
          continue;
        }
        if (step.keep_between) add(finer, word.begin + done, word.begin + position);
        if (step.keep_match) add(finer, word.begin + position, word.begin + end);
        done = position = end;
      }
      if (step.keep_between) add(finer, word.begin + done, word.end);
    }
    return finer;
  }

  std::vector<Span> operator()(const SplitDigits& step) {
    std::vector<Span> finer;
    for (const Span& word : words) {
      std::size_t start = word.begin;
      bool in_number = false;
      for (std::size_t position = word.begin; position < word.end;) {
        const std::size_t here = position;
        const bool number = is_number(next_code_point(text, position));
        if (here > start && (number != in_number || (number && step.individual))) {
          add(finer, start, here);
          start = here;
        }
        in_number = number;
      }
      add(finer, start, word.end);
    }
    return finer;
  }

  std::vector<Span> operator()(const PrefixSpace&) {
    std::u16string prefixed;
    prefixed.reserve(text.size() + words.size());
    std::vector<Span> moved;
    for (const Span& word : words) {
      const std::size_t start = prefixed.size();
      if (text[word.begin] != u' ') prefixed += u' ';
      prefixed.append(text, word.begin, word.end - word.begin);
      add(moved, start, prefixed.size());
    }
    text = std::move(prefixed);
    return moved;
  }

  std::vector<Span> operator()(const SplitBert&) {
    std::vector<Span> finer;
    for (const Span& word : words) {
      std::size_t start = word.begin;
      for (std::size_t position = word.begin; position < word.end;) {
        const std::size_t here = position;
        const char32_t code_point = next_code_point(text, position);
        const bool punctuation = is_bert_punctuation(code_point);
        if (!punctuation && !is_white_space(code_point)) continue;
        add(finer, start, here);
        if (punctuation) add(finer, here, position);
        start = position;
      }
      add(finer, start, word.end);
    }
    return finer;
  }
};

}  // namespace

std::u16string apply(const std::vector<Normaliser>& normalisers, std::u16string text) {
  for (const Normaliser& normaliser : normalisers) text = std::visit(ApplyNormaliser{std::move(text)}, normaliser);
  return text;
}

std::vector<Span> split(const std::vector<Splitter>& splitters, std::u16string& text) {
  std::vector<Span> words;
  add(words, 0, text.size());
  for (const Splitter& splitter : splitters) words = std::visit(ApplySplitter{text, std::move(words)}, splitter);
  return words;
}

}  // namespace danaus::nn
