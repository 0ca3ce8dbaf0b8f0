#include "danaus/core/words.h"

#include <doctest/doctest.h>

#include "danaus/core/error.h"

using namespace danaus;

TEST_CASE("what stands between commas, without blanks around it") {
  using Words = std::vector<std::string>;
  CHECK(words_between_commas("linear") == Words{"linear"});
  CHECK(words_between_commas("linear, dense") == Words{"linear", "dense"});
  CHECK(words_between_commas("\t a b ,c") == Words{"a b", "c"});
  CHECK(words_between_commas("") == Words{""});
  CHECK(words_between_commas("a,,") == Words{"a", "", ""});
  CHECK(words_between_commas(" , ") == Words{"", ""});
}

TEST_CASE("the nearest word: few letters away, or the only one that begins so") {
  CHECK(nearest("dnese", {"linear", "dense"}) == "dense");
  CHECK(nearest("pcm14", {"hermes-14nm", "pcm-14nm", "unit"}) == "pcm-14nm");
  CHECK(nearest("adc.prec", {"adc.per_array", "adc.precision"}) == "adc.precision");
  CHECK(nearest("GPT2M", {"gpt2-large", "gpt2-medium"}) == "gpt2-medium");
  CHECK(nearest("pcm", {"pcm-14nm", "pcm-22nm"}).empty());
  CHECK(nearest("--", {"pcm-14nm"}).empty());
}
