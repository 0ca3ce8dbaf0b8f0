// The little of JSON that lists of token ids are made of, so that an error can say where it is: a general reader gives
// no positions of values.

#include "danaus/pipeline/token_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "danaus/model/text.h"

namespace danaus::pipeline {
namespace {

class Reader {
 public:
  Reader(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  Result<std::vector<nn::TokenId>> ids() {
    std::vector<nn::TokenId> list;
    DANAUS_CHECK(each([&]() -> Result<void> {
      DANAUS_TRY(id, number());
      list.push_back(id);
      return {};
    }));
    return list;
  }

  Result<std::vector<std::vector<nn::TokenId>>> lists() {
    std::vector<std::vector<nn::TokenId>> all;
    DANAUS_CHECK(each([&]() -> Result<void> {
      DANAUS_TRY(list, ids());
      all.push_back(std::move(list));
      return {};
    }));
    return all;
  }

  Result<void> end() {
    if (peek() == '\0' && position_ == text_.size()) return {};
    return wrong("something follows the list");
  }

 private:
  tl::unexpected<Error> wrong(std::string_view what) const {
    return fail(Error("eval.ids", Failure::bad_input, fmt::format("{}", what))
                    .at(model::location_in(text_, std::min(position_, text_.size()), file_))
                    .with_hint("token ids are a JSON list, [1, 2, 3]; for encoders a list of lists, one per text"));
  }

  /// The next character that is no white space; 0 at the end.
  char peek() {
    while (position_ < text_.size() && std::string_view(" \t\r\n").find(text_[position_]) != std::string_view::npos)
      ++position_;
    return position_ < text_.size() ? text_[position_] : '\0';
  }

  template <typename Element>
  Result<void> each(const Element& element) {
    if (peek() != '[') return wrong("a list was expected here");
    ++position_;
    if (peek() == ']') {
      ++position_;
      return {};
    }
    for (;;) {
      DANAUS_CHECK(element());
      const char next = peek();
      if (next != ',' && next != ']') return wrong("a comma or the end of the list was expected here");
      ++position_;
      if (next == ']') return {};
    }
  }

  Result<nn::TokenId> number() {
    if (peek() == '[') return wrong("a list stands where a token id was expected");
    const char* begin = text_.data() + position_;
    nn::TokenId id = 0;
    const auto [end, status] = std::from_chars(begin, text_.data() + text_.size(), id);
    const bool ends =
        end == text_.data() + text_.size() || std::string_view(" \t\r\n,]").find(*end) != std::string_view::npos;
    const bool leading_zero = status == std::errc() && *begin == '0' && end - begin > 1;
    if (status != std::errc() || !ends || leading_zero) return wrong("a token id is a whole number of 32 bits");
    position_ += static_cast<std::size_t>(end - begin);
    return id;
  }

  std::string_view text_;
  std::string_view file_;
  std::size_t position_ = 0;
};

}  // namespace

Result<std::vector<nn::TokenId>> parse_token_list(std::string_view json, std::string_view file) {
  Reader reader(json, file);
  DANAUS_TRY(list, reader.ids());
  DANAUS_CHECK(reader.end());
  return list;
}

Result<std::vector<std::vector<nn::TokenId>>> parse_token_lists(std::string_view json, std::string_view file) {
  Reader reader(json, file);
  DANAUS_TRY(lists, reader.lists());
  DANAUS_CHECK(reader.end());
  return lists;
}

}  // namespace danaus::pipeline
