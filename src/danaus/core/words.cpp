// Lists of the command line and of studies.

#include "danaus/core/words.h"

#include <algorithm>

namespace danaus {

std::vector<std::string> words_between_commas(std::string_view list) {
  constexpr std::string_view kBlanks = " \t";
  std::vector<std::string> words;
  while (true) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view word = list.substr(0, comma);
    word.remove_prefix(std::min(word.find_first_not_of(kBlanks), word.size()));
    word = word.substr(0, word.find_last_not_of(kBlanks) + 1);
    words.emplace_back(word);
    if (comma == list.size()) return words;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace danaus
