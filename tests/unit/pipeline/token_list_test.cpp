#include "danaus/pipeline/token_list.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

using namespace danaus;
using Json = nlohmann::json;

namespace {

std::string where(std::string_view json, bool lists = false) {
  const auto describe = [](const auto& read) -> std::string {
    if (read) return "";
    CHECK(read.error().id == "eval.ids");
    return std::to_string(read.error().where.line) + ":" + std::to_string(read.error().where.column);
  };
  return lists ? describe(pipeline::parse_token_lists(json, "i.json"))
               : describe(pipeline::parse_token_list(json, "i.json"));
}

}  // namespace

TEST_CASE("lists of token ids are read, and what is wrong is found where it is") {
  CHECK(pipeline::parse_token_list(" [ 1,2 ,\n4294967295, 0]\r\n", "i").value() ==
        std::vector<nn::TokenId>{1, 2, 4294967295, 0});
  CHECK(pipeline::parse_token_list("[]", "i").value().empty());
  CHECK(pipeline::parse_token_lists("[[1], [], [2, 3]]", "i").value() ==
        std::vector<std::vector<nn::TokenId>>{{1}, {}, {2, 3}});
  CHECK(where("") == "1:1");
  CHECK(where("[1, 2") == "1:6");
  CHECK(where("[1,\n 2 3]") == "2:4");
  CHECK(where("[1,\n\n -2]") == "3:2");
  CHECK(where("[1, 4294967296]") == "1:5");
  CHECK(where("[1.0]") == "1:2");
  CHECK(where("[01]") == "1:2");
  CHECK(where("[1,]") == "1:4");
  CHECK(where("[1] 2") == "1:5");
  CHECK(where("[[1]]") == "1:2");
  CHECK(where("[1]", true) == "1:2");
  CHECK(where("[\"1\"]") == "1:2");
}

TEST_CASE("what is accepted is JSON of the same value, whatever byte is damaged") {
  const std::string text = "[[1, 20], [],\n [3]]";
  const auto check = [](const std::string& damaged) {
    const Json document = Json::parse(damaged, nullptr, false);
    if (const auto lists = pipeline::parse_token_lists(damaged, "i")) CHECK(Json(*lists) == document);
    if (const auto list = pipeline::parse_token_list(damaged, "i")) CHECK(Json(*list) == document);
  };
  for (std::size_t size = 0; size < text.size(); ++size) check(text.substr(0, size));
  for (std::size_t place = 0; place < text.size(); ++place)
    for (int byte = 0; byte < 256; ++byte) {
      std::string damaged = text;
      damaged[place] = static_cast<char>(byte);
      check(damaged);
    }
}
