#include "danaus/core/error.h"

#include <fmt/format.h>

#include <algorithm>

namespace danaus {

std::string to_string(const Error& error) {
  std::string text = fmt::format("error[{}]: {}", error.id, error.message);
  if (!error.where.file.empty()) {
    text += fmt::format("\n  --> {}", error.where.file);
    if (error.where.line != 0) text += fmt::format(":{}", error.where.line);
    if (error.where.line != 0 && error.where.column != 0) text += fmt::format(":{}", error.where.column);
    if (error.where.offset) text += fmt::format(" at byte {}", *error.where.offset);
  } else if (error.where.line != 0) {
    text += fmt::format("\n  --> line {}", error.where.line);
    if (error.where.column != 0) text += fmt::format(", column {}", error.where.column);
  }
  for (const std::string& note : error.notes) text += fmt::format("\n  note: {}", note);
  if (!error.hint.empty()) text += fmt::format("\n  hint: {}", error.hint);
  return text;
}

namespace {

// Optimal string alignment distance: a swap of neighbours counts one.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitution = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::string letters_and_digits(std::string_view word) {
  std::string kept;
  for (const char letter : word) {
    const bool is_upper = letter >= 'A' && letter <= 'Z';
    const bool is_kept = is_upper || (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    if (is_kept) kept += is_upper ? static_cast<char>(letter - 'A' + 'a') : letter;
  }
  return kept;
}

// The only candidate that begins with the word, whatever stands between letters and digits.
std::string_view begun(std::string_view word, const std::vector<std::string_view>& candidates) {
  constexpr std::size_t kShortestBeginning = 3;
  std::string_view found;
  const std::string beginning = letters_and_digits(word);
  if (beginning.size() < kShortestBeginning) return found;
  for (const std::string_view candidate : candidates) {
    if (!letters_and_digits(candidate).starts_with(beginning)) continue;
    if (!found.empty() && found != candidate) return {};
    found = candidate;
  }
  return found;
}

}  // namespace

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  constexpr std::size_t kLongestWord = 64;  // longer words are no typing errors
  std::string_view best;
  if (word.empty() || word.size() > kLongestWord) return best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (std::string_view candidate : candidates) {
    if (candidate.size() > 2 * kLongestWord) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best.empty() ? begun(word, candidates) : best;
}

}  // namespace danaus
