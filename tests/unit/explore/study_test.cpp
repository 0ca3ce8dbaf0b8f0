#include "danaus/explore/study.h"

#include "danaus/explore/options.h"
#include "explore_test.h"

using namespace danaus;
using namespace danaus::explore;

namespace {

std::vector<std::string> texts(const Axis& axis) {
  std::vector<std::string> result;
  for (const Value& value : axis.values) result.push_back(to_string(value));
  return result;
}

std::vector<std::string> values(const std::string& sweep, const std::string& more = "") {
  return texts(good_study(sweep, more).axes.at(0));
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("lists and ranges") {
  CHECK(values("\"adc.per_array\" = [4, 8, 32]") == Texts{"4", "8", "32"});
  CHECK(values("adc.per_array = [4, 8]") == Texts{"4", "8"});
  CHECK(values("adc = {per_array = [4, 8]}") == Texts{"4", "8"});
  CHECK(values("blocks = [16, \"8x4:2\"]") == Texts{"16", "8x4:2"});
  CHECK(values("kv = {from = 4, to = 32, step = 8}") == Texts{"4", "12", "20", "28"});
  CHECK(values("kv = {from = 4, to = 32, factor = 2}") == Texts{"4", "8", "16", "32"});
  CHECK(values("kv = {from = 7, to = 7, step = 1}") == Texts{"7"});
  CHECK(values("\"array.settle_ns\" = {from = 0, to = 1, step = 0.1}").size() == 11);
  CHECK(values("\"array.settle_ns\" = {from = 1, to = 1000, points = 4, log = true}").back() == "1000");
  CHECK(values("\"array.settle_ns\" = {from = 0, to = 10, points = 5}") == Texts{"0", "2.5", "5", "7.5", "10"});
  CHECK(values("kv = {from = 1, to = 8, points = 8, log = true}") == Texts{"1", "2", "3", "4", "6", "8"});
  CHECK(values("kv = {from = 1, to = 4}", "sampling = \"random\"\nbudget = 2") == Texts{"1", "2", "3", "4"});
}

TEST_CASE("a log range has equal ratios") {
  const Study study = good_study("\"array.settle_ns\" = {from = 1, to = 1000, points = 4, log = true}");
  const std::vector<double> expected = {1, 10, 100, 1000};
  for (std::size_t n = 0; n < 4; ++n)
    CHECK(std::get<double>(study.axes[0].values[n]) == doctest::Approx(expected[n]).epsilon(1e-12));
}

TEST_CASE("axes are in the order of the file, models first") {
  const Study study = good_study("map = [\"linear\"]\nkv = [4]\nadc.per_array = [8]\nchip = [\"unit\"]");
  std::vector<std::string> keys;
  for (const Axis& axis : study.axes) keys.push_back(axis.key);
  CHECK(keys == Texts{"map", "kv", "adc.per_array", "chip"});
  const Result<Study> models = parse_study("[sweep]\nkv = [1]\n[study]\nmodel = [\"bert-base\", \"gpt2\"]\n", "s.toml");
  REQUIRE(models);
  CHECK(models->axes[0].key == "model");
}

TEST_CASE("objectives and constraints") {
  const Study study = good_study("kv = [1]",
                                 "objective = [\"latency_ns\", \"max energy_nj\", \"throughput_tokens_per_s\"]\n"
                                 "constraint = \"area_mm2<=50\"");
  REQUIRE(study.objectives.size() == 3);
  CHECK(to_string(study.objectives[0]) == "min latency_ns");
  CHECK(to_string(study.objectives[1]) == "max energy_nj");
  CHECK(to_string(study.objectives[2]) == "max throughput_tokens_per_s");
  CHECK(to_string(study.constraints.at(0)) == "area_mm2 <= 50");
  MetricValues values(metrics().size());
  CHECK(why_infeasible(study, values) ==
        "there is no latency_ns; there is no throughput_tokens_per_s; there is no energy_nj; there is no area_mm2");
  for (const char* const objective : {"latency_ns", "energy_nj", "throughput_tokens_per_s"})
    values[*find_metric(objective)] = 1;
  CHECK(why_infeasible(study, values) == "there is no area_mm2");
  values[*find_metric("area_mm2")] = 50;
  CHECK(why_infeasible(study, values).empty());
  values[*find_metric("area_mm2")] = 50.001;
  CHECK(why_infeasible(study, values) == "area_mm2 <= 50 is not kept");
}

TEST_CASE("bounds that meet leave a point, strict ones do not") {
  CHECK(study_of("kv = [1]", "constraint = [\"area_mm2 <= 5\", \"area_mm2 >= 5\"]"));
  CHECK(study_of("kv = [1]", "constraint = [\"area_mm2 < 5\", \"area_mm2 >= 5\"]").error().id ==
        "explore.contradiction");
  CHECK(study_of("kv = [1]", "constraint = \"energy_nj < 0\"").error().id == "explore.contradiction");
  CHECK(study_of("kv = [1]", "constraint = \"energy_nj <= 0\""));
}

TEST_CASE("every wrong study has a place and a hint") {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"kv = [4, 4]", "explore.duplicate"},
      {"\"array.settle_ns\" = [4, 4.0]", "explore.duplicate"},
      {"kv = {from = 4, to = 2, step = 1}", "explore.empty-range"},
      {"kv = {from = 1, to = 2, step = 0}", "explore.value"},
      {"kv = {from = 1, to = 2, step = 0.5}", "explore.type"},
      {"kv = {from = 1, to = 8, factor = 1}", "explore.value"},
      {"kv = {from = 0, to = 8, factor = 2}", "explore.value"},
      {"kv = {from = 1, to = 8, factor = 2, step = 1}", "explore.conflict"},
      {"kv = {from = 1, to = 8}", "explore.missing-key"},
      {"kv = {from = \"1\", to = 8, step = 1}", "explore.unit"},
      {"kv = {from = nan, to = 8, step = 1}", "explore.type"},
      {"\"array.settle_ns\" = {from = 0, to = 1e6, step = 1e-6}", "explore.too-many-points"},
      {"map = {from = 1, to = 8, step = 1}", "explore.type"},
      {"kv = [[1]]", "explore.type"},
      {"kv = [1979-05-27]", "explore.type"},
      {"adc.kind = [\"sarr\"]", "explore.value"},
      {"adc.frobnicate = [1]", "explore.unknown-key"},
      {"frobnicate = [1]", "explore.unknown-key"},
  };
  for (const auto& [sweep, id] : wrong) {
    CAPTURE(sweep);
    const Result<Study> study = study_of(sweep);
    REQUIRE_FALSE(study);
    CHECK(study.error().id == id);
    CHECK(study.error().where.file == "s.toml");
    CHECK(study.error().where.line == 5);
    CHECK(study.error().where.column > 0);
    CHECK_FALSE(study.error().hint.empty());
  }
}

TEST_CASE("options are called as on the command line, with _ for -") {
  CHECK(study_of("map = [\"auto\"]", "max_arrays = 4\nmax_area_mm2 = 2.5\nmax_energy_nj = 1\nmax_latency_us = 1")
            .has_value());
  const Result<Study> before = study_of("most_arrays = [4]");
  REQUIRE_FALSE(before);
  CHECK(before.error().id == "explore.unknown-key");
  CHECK(before.error().hint == "write max_arrays");
  CHECK(study_of("max_area = [4]").error().hint == "write max_area_mm2");
  CHECK(study_of("no_kv_cache = [true]").error().hint == "write kv_cache = false");

  CHECK(in_words_of_a_study("give a higher --max-arrays, or another --objective") ==
        "give a higher max_arrays, or another goal");
  CHECK(in_words_of_a_study("--set adc.per_array=8, --chips 2, --kv") == "adc.per_array=8, chips 2, kv");
  CHECK(in_words_of_a_study("--adc-bits FILE -- no key") == "--adc-bits FILE -- no key");
}

TEST_CASE("characters outside ASCII are for comments and quotes") {
  CHECK(values("kv = [4]  # \xc2\xb5") == Texts{"4"});
  CHECK(study_of("kv = [4]", "name = \"\xc3\xa9\"").error().id == "explore.value");  // TOML, but no name of a study
  for (const std::string sweep : {"kv\xc2\xa0= [4]", "kv = [4\xe3\x80\x80]", "k\xc3\xa9 = 4"}) {
    CAPTURE(sweep);
    const Error error = study_of(sweep).error();
    CHECK(error.id == "explore.syntax");
    CHECK(error.where.line == 5);
    CHECK_FALSE(error.hint.empty());
  }
}

TEST_CASE("any damage of a study is an error or a study, never a crash") {
  const std::string text =
      "[study]\nmodel = [\"gpt2\"]\nobjective = [\"min latency_ns\"]\nconstraint = \"area_mm2 <= 5\"\nbudget = 3\n"
      "sampling = \"random\"\n[sweep]\nkv = {from = 1, to = 64, factor = 2}\n\"adc.bits\" = [4, 8]\n[accuracy]\ntext = "
      "\"t\"\n";
  REQUIRE(parse_study(text, "s.toml"));
  for (std::size_t n = 0; n < text.size(); ++n) static_cast<void>(parse_study(text.substr(0, n), "s.toml"));
  for (std::size_t n = 0; n < text.size(); ++n) {
    for (const char c : {'\0', '"', '[', '{', '=', '9', '\n', '\xff'}) {
      std::string damaged = text;
      damaged[n] = c;
      static_cast<void>(parse_study(damaged, "s.toml"));
    }
  }
}

TEST_CASE("the canonical text ignores layout and the budget of a grid, and nothing else") {
  const std::string base = canonical_text(good_study("kv = [1, 2]\nmap = [\"linear\"]", "slots = 1"));
  CHECK(canonical_text(good_study("kv   = [1,\n 2] # why\nmap = ['linear']", "slots = 1\nbudget = 7")) == base);
  CHECK(canonical_text(good_study("map = [\"linear\"]\nkv = [1, 2]", "slots = 1")) != base);
  CHECK(canonical_text(good_study("kv = [1, 3]\nmap = [\"linear\"]", "slots = 1")) != base);
  CHECK(canonical_text(good_study("kv = [1, 2]\nmap = [\"linear\"]", "slots = 2")) != base);
  CHECK(canonical_text(good_study("kv = [1, 2]\nmap = [\"linear\"]", "slots = 1\nseed = 2")) != base);
  CHECK(canonical_text(good_study("kv = [1, 2]\nmap = [\"linear\"]", "slots = 1\nobjective = \"area_mm2\"")) != base);
}
