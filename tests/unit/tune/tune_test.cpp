// Training: the loss falls, and what a run gives depends on its seed alone, not on threads or interruptions.

#include "danaus/tune/tune.h"

#include <cstring>
#include <filesystem>
#include <limits>

#include "danaus/core/files.h"
#include "danaus/tune/batches.h"
#include "danaus/tune/checkpoint.h"
#include "danaus/tune/optimiser.h"
#include "tune_support.h"

namespace danaus::tune {
namespace {

struct TemporaryFile {
  std::filesystem::path path;
  explicit TemporaryFile(const char* name) : path(std::filesystem::temp_directory_path() / name) {
    std::filesystem::remove(path);
  }
  ~TemporaryFile() { std::filesystem::remove(path); }
};

struct Ran {
  Tuned tuned;
  std::vector<Record> records;
};

Options short_options() {
  Options options;
  options.steps = 30;
  options.batch_tokens = 64;
  options.lengths = {8, 16};
  options.precision = Precision::single;
  options.log_steps = 10;
  return options;
}

Result<Ran> run(const std::string& name, const Options& options, std::uint64_t stop_at = ~0ull) {
  const model::Model model = small_model(name);
  const Text text{model.family == model::Family::bert, random_texts(60, 24, model.dimensions.vocab), {}};
  Ran ran;
  const auto record = [&](const Record& one) -> Result<void> {
    ran.records.push_back(one);
    if (one.step >= stop_at) return fail(Error("test.stop", Failure::check, "stopped"));
    return {};
  };
  Result<Tuned> tuned = tune(model, mixed_factors(model), text, options, record, no_progress());
  if (!tuned) return fail(tuned.error());
  ran.tuned = std::move(*tuned);
  return ran;
}

template <typename Value>
std::string id_of(const Result<Value>& result) {
  return result ? "" : result.error().id;
}

bool same(const factor::FactorFile& a, const factor::FactorFile& b) {
  bool is_same = a.constants == b.constants && a.operators.size() == b.operators.size();
  for (std::size_t n = 0; is_same && n < a.operators.size(); ++n)
    is_same = a.operators[n].second.right == b.operators[n].second.right &&
              a.operators[n].second.left == b.operators[n].second.left;
  return is_same;
}

TEST_CASE("tune: the loss falls, for encoders and decoders") {
  if (!has_engine()) return;
  for (const char* name : {"bert", "llama", "gpt2"}) {
    CAPTURE(name);
    const Ran ran = value_of(run(name, short_options()));
    REQUIRE(ran.records.size() == 3);
    CHECK(ran.records[2].loss < 0.9 * ran.records[0].loss);
    CHECK(ran.tuned.steps == 30);
    CHECK(ran.tuned.tokens == 30 * 64);
  }
}

TEST_CASE("tune: the same bits again, with other threads, and after an interruption") {
  if (!has_engine()) return;
  const Ran whole = value_of(run("bert", short_options()));
  set_thread_count(1);
  CHECK(same(value_of(run("bert", short_options())).tuned.factors, whole.tuned.factors));
  set_thread_count(0);
  Options other = short_options();
  other.seed = 2;
  CHECK_FALSE(same(value_of(run("bert", other)).tuned.factors, whole.tuned.factors));

  const TemporaryFile file("danaus-unit-checkpoint.safetensors");
  Options options = short_options();
  options.checkpoint = file.path;
  options.checkpoint_steps = 7;
  options.resume = true;
  const Result<Ran> stopped = run("bert", options, 20);
  REQUIRE_FALSE(stopped.has_value());
  CHECK(stopped.error().id == "test.stop");
  const Ran resumed = value_of(run("bert", options));
  CHECK(resumed.tuned.resumed_from == 14);
  CHECK(same(resumed.tuned.factors, whole.tuned.factors));

  // A finished training is finished; another one does not go on with it.
  CHECK(same(value_of(run("bert", options)).tuned.factors, whole.tuned.factors));
  Options faster = options;
  faster.rate = 2;
  CHECK(id_of(run("bert", faster)) == "tune.checkpoint");
  Options longer = options;
  longer.steps = 31;
  CHECK(id_of(run("bert", longer)) == "tune.checkpoint");
  CHECK(id_of(run("llama", options)) == "tune.checkpoint");
}

TEST_CASE("tune: what cannot be trained is refused") {
  if (!has_engine()) return;
  CHECK(id_of(run("mixtral", short_options())) == "tune.unsupported");
  CHECK(id_of(run("bart", short_options())) == "tune.unsupported");
  Options options = short_options();
  options.rate = 1e38;
  CHECK(id_of(run("llama", options)) == "tune.diverged");
  options = short_options();
  options.lengths = {1000000};
  CHECK(id_of(run("bert", options)) == "tune.lengths");
  options = short_options();
  options.batch_tokens = 1u << 20;
  CHECK(id_of(run("bert", options)) == "tune.little-text");
  options = short_options();
  options.weights.distillation = 1;  // an encoder without a head
  CHECK(id_of(run("bert", options)) == "tune.unsupported");
}

TEST_CASE("tune: factors of another model are refused") {
  const model::Model model = small_model("bert");
  factor::FactorFile file = mixed_factors(model);
  file.operators.front().first = "nobody";
  CHECK(id_of(make_network(model, file, 1, false)) == "tune.factors");
  file = mixed_factors(model);
  std::swap(file.operators[0].second, file.operators[4].second);
  CHECK(id_of(make_network(model, file, 1, false)) == "tune.factors");
  file = mixed_factors(model);
  file.constants = {{"nobody", {1}}};
  CHECK(id_of(make_network(model, file, 1, false)) == "tune.factors");
}

TEST_CASE("optimiser: steps of Adam by hand") {
  std::vector<Parameter> parameters = {{"a", {1, -2}, 0.1}, {"b", {5}, 0.01}};
  Optimiser optimiser(parameters);
  // The first step moves every element by its rate against the sign of its gradient.
  const std::vector<std::vector<float>> gradients = {{0.3F, -0.4F}, {0}};
  CHECK(optimiser.apply(0, 1, 10, gradients, parameters) == doctest::Approx(0.5));
  CHECK(parameters[0].values[0] == doctest::Approx(0.9));
  CHECK(parameters[0].values[1] == doctest::Approx(-1.9));
  CHECK(parameters[1].values[0] == 5.0F);
  CHECK(optimiser.means()[0][0] == doctest::Approx(0.03));
  CHECK(optimiser.squares()[0][1] == doctest::Approx(0.02 * 0.16));
  // Then mean 0.9 * 0.03 = 0.027 / 0.19, square 0.98 * 0.0018 = 0.001764 / 0.0396: 0.1421 / 0.2111 of the rate.
  const std::vector<std::vector<float>> none = {{0, 0}, {0}};
  optimiser.apply(1, 0.5, 10, none, parameters);
  CHECK(parameters[0].values[0] == doctest::Approx(0.9 - 0.05 * (0.027 / 0.19) / std::sqrt(0.001764 / 0.0396)));
  // A gradient of length 5 is shortened to 1.
  Optimiser clipped(parameters);
  const std::vector<std::vector<float>> large = {{3, 4}, {0}};
  CHECK(clipped.apply(0, 1, 1, large, parameters) == doctest::Approx(5));
  CHECK(clipped.means()[0][0] == doctest::Approx(0.1 * 0.6));
}

TEST_CASE("schedule: up, and down to nearly nothing") {
  CHECK(schedule(0, 100, 9) == doctest::Approx(0.1));
  CHECK(schedule(8, 100, 9) == doctest::Approx(0.9));
  CHECK(schedule(9, 100, 9) == doctest::Approx(1));
  CHECK(schedule(54, 99, 9) == doctest::Approx(0.5));
  CHECK(schedule(99, 100, 9) < 0.001);
  CHECK(schedule(0, 1, 0) == doctest::Approx(1));
}

TEST_CASE("batches: cut, shuffled, every sequence at most once in a pass") {
  std::vector<std::vector<nn::TokenId>> texts;
  for (std::uint32_t t = 0; t < 40; ++t) {
    std::vector<nn::TokenId> text = {1};
    for (std::uint32_t n = 0; n < 10 + t; ++n) text.push_back(1000 * (t + 1) + n);
    text.push_back(2);
    texts.push_back(text);
  }
  Batches batches = value_of(Batches::create(texts, {8, 16}, 32, 128, 7));
  REQUIRE(batches.groups().size() == 2);
  std::size_t long_ones = 0, short_ones = 0;  // 14 or 6 tokens beside the markers
  for (std::size_t words = 10; words < 50; ++words) {
    long_ones += words / 14;
    short_ones += words % 14 / 6;
  }
  CHECK(batches.groups()[0].sequences() == short_ones);
  CHECK(batches.groups()[1].sequences() == long_ones);
  CHECK(batches.shards_per_pass() == short_ones / 4 + long_ones / 2);
  std::vector<nn::TokenId> seen;
  for (std::uint64_t n = 0; n < batches.shards_per_pass(); ++n) {
    const Batches::Part part = batches.shard(n);
    CHECK(part.ids.size() == 32);
    for (std::size_t first = 0; first < part.ids.size(); first += part.length) {
      CHECK(part.ids[first] == 1);
      CHECK(part.ids[first + part.length - 1] == 2);
      seen.push_back(part.ids[first + 1]);
    }
  }
  std::sort(seen.begin(), seen.end());
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  // Any shard again, and another order in the next pass.
  const std::vector<nn::TokenId> third = batches.shard(2).ids, later = batches.shard(batches.shards_per_pass() + 2).ids;
  CHECK(batches.shard(2).ids == third);
  CHECK(third != later);
  CHECK(id_of(Batches::create(texts, {}, 32, 128, 7)) == "tune.lengths");
  CHECK(id_of(Batches::create(texts, {1}, 32, 128, 7)) == "tune.lengths");
  CHECK(id_of(Batches::create(texts, {256}, 32, 128, 7)) == "tune.lengths");
  CHECK(id_of(Batches::create(texts, {64}, 32, 128, 7)) == "tune.little-text");
  CHECK(id_of(Batches::create({}, {8}, 32, 128, 7)) == "tune.little-text");
}

TEST_CASE("checkpoints: round trip, and damage") {
  const TemporaryFile file("danaus-unit-checkpoint.safetensors");
  std::vector<Parameter> parameters = {{"a.R", {1, 2, 3}, 0.1}, {"b", {4}, 0.1}};
  Optimiser optimiser(parameters);
  optimiser.means()[0] = {5, 6, 7};
  optimiser.squares()[1] = {8};
  REQUIRE(write_checkpoint(file.path, {3, 9}, "this", parameters, optimiser).has_value());
  const std::string good = value_of(read_text(file.path));
  const auto read = [&](const std::string& text, const std::string& training) -> Result<Progressed> {
    REQUIRE(write_file(file.path, text).has_value());
    std::vector<Parameter> into = {{"a.R", std::vector<float>(3), 0.1}, {"b", {0}, 0.1}};
    Optimiser other(into);
    Result<Progressed> progressed = read_checkpoint(file.path, training, into, other);
    if (text == good && progressed) {
      CHECK(into[0].values == parameters[0].values);
      CHECK(other.means() == optimiser.means());
      CHECK(other.squares() == optimiser.squares());
    }
    return progressed;
  };
  const Progressed progressed = value_of(read(good, "this"));
  CHECK(progressed.step == 3);
  CHECK(progressed.steps == 9);
  CHECK(id_of(read(good, "that")) == "tune.checkpoint");
  for (std::size_t length = 0; length < good.size(); ++length)
    CHECK_FALSE(read(good.substr(0, length), "this").has_value());
  std::size_t refused = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    const Result<Progressed> result = read(damaged, "this");
    if (!result) {
      ++refused;
      CHECK(result.error().failure != Failure::internal);
    }
  }
  CHECK(refused > 100);
  std::string infinite = good;
  const float value = std::numeric_limits<float>::infinity();
  std::memcpy(infinite.data() + infinite.size() - 4, &value, 4);
  CHECK(id_of(read(infinite, "this")) == "tune.checkpoint");
}

}  // namespace
}  // namespace danaus::tune
