// A calibration that is interrupted, or that has little memory, ends with the same bits as one that is not.
#include "danaus/pipeline/calibrate.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "danaus/core/parallel.h"
#include "danaus/factor/moments.h"
#include "danaus/model/model.h"

using namespace danaus;

namespace {

std::string folder(const std::string& name) { return std::string(DANAUS_SOURCE_DIR) + "/tests/data/nn/" + name; }

model::Model loaded(const std::string& name) {
  Result<model::Model> model = model::load(folder(name));
  REQUIRE(model.has_value());
  return std::move(*model);
}

pipeline::CalibrateOptions options_of(const model::Model& model, bool encoder) {
  nlohmann::json ids = nlohmann::json::array();
  for (std::uint32_t n = 0; n < 3000; ++n) {
    const std::uint32_t id = (n * n * 31 + n * 7) % model.dimensions.vocab;
    if (!encoder)
      ids.push_back(id);
    else if (n % 10 == 0)
      ids.push_back({id});
    else
      ids.back().push_back(id);
  }
  pipeline::CalibrateOptions options;
  options.text = {pipeline::EvaluateInput::Kind::ids, ids.dump(), "ids.json"};
  options.weights = {4, 0.5};
  options.save_interval_s = 0;
  return options;
}

bool same(const factor::MomentSet& a, const factor::MomentSet& b) {
  REQUIRE(a.finished());
  REQUIRE(b.finished());
  return std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(), b.inputs.end(),
                    [](const factor::InputMoments& x, const factor::InputMoments& y) {
                      return x.name == y.name && x.operators == y.operators && x.first_tokens == y.first_tokens &&
                             x.tokens == y.tokens && x.weight == y.weight && x.energy == y.energy &&
                             std::ranges::equal(x.moments, y.moments) && std::ranges::equal(x.mean, y.mean);
                    });
}

std::filesystem::path scratch() {
  return std::filesystem::temp_directory_path() / (std::to_string(::getpid()) + "-calibrate.safetensors");
}

}  // namespace

TEST_CASE("going on with a file after any save, with little memory and with one thread: the same bits") {
  for (const bool encoder : {false, true}) {
    CAPTURE(encoder);
    const std::string name = encoder ? "bert" : "llama";
    const model::Model model = loaded(name);
    pipeline::CalibrateOptions options = options_of(model, encoder);
    const Result<factor::MomentSet> whole = pipeline::calibrate(model, folder(name), options, no_progress());
    REQUIRE(whole.has_value());
    CHECK(whole->texts ==
          (encoder ? 300u
                   : (3000 + std::min(512u, model.dimensions.context) - 1) / std::min(512u, model.dimensions.context)));

    options.memory_bytes = 4000;
    std::size_t saves = 0;
    for (std::size_t stop = 1; stop <= 50; ++stop) {
      // Ends after `stop` saves, as if it had been killed, and goes on from the file.
      std::size_t count = 0;
      const auto save_and_stop = [&](factor::MomentSet& set) -> Result<void> {
        DANAUS_CHECK(factor::write_moments(scratch(), set));
        if (++count == stop) return fail(Error("cli.interrupted", Failure::interrupted, "interrupted"));
        return {};
      };
      const Result<factor::MomentSet> first =
          pipeline::calibrate(model, folder(name), options, std::nullopt, save_and_stop, no_progress());
      if (first) {
        saves = count;
        break;
      }
      CHECK(first.error().id == "cli.interrupted");
      Result<factor::MomentSet> earlier = factor::read_moments(scratch());
      REQUIRE(earlier.has_value());
      const auto keep = [](factor::MomentSet&) -> Result<void> { return {}; };
      set_thread_count(stop % 2 == 0 ? 1 : 0);
      const Result<factor::MomentSet> resumed =
          pipeline::calibrate(model, folder(name), options, std::move(*earlier), keep, no_progress());
      set_thread_count(0);
      REQUIRE(resumed.has_value());
      CHECK(same(*resumed, *whole));
    }
    std::filesystem::remove(scratch());
    CHECK(saves >= 6);  // several passes of several batches
  }
}

TEST_CASE("moments of another run are refused") {
  const model::Model model = loaded("llama");
  const pipeline::CalibrateOptions options = options_of(model, false);
  const Result<factor::MomentSet> set = pipeline::calibrate(model, folder("llama"), options, no_progress());
  REQUIRE(set.has_value());
  const auto keep = [](factor::MomentSet&) -> Result<void> { return {}; };
  const auto resumed = [&](const model::Model& with, const std::string& name, const pipeline::CalibrateOptions& other) {
    const Result<factor::MomentSet> result = pipeline::calibrate(with, folder(name), other, *set, keep, no_progress());
    return result ? std::string() : result.error().id;
  };
  CHECK(resumed(model, "llama", options).empty());
  pipeline::CalibrateOptions other = options;
  other.weights.first_token = 5;
  CHECK(resumed(model, "llama", other) == "calibrate.resume");
  other = options;
  other.window = 16;
  CHECK(resumed(model, "llama", other) == "calibrate.resume");
  other.window = 100000;
  CHECK(resumed(model, "llama", other) == "nn.window");
  CHECK(resumed(loaded("gpt2"), "gpt2", options) == "calibrate.resume");
  other = options_of(model, true);
  CHECK(resumed(loaded("bert"), "bert", other) == "calibrate.resume");
  other.window = 16;
  CHECK(resumed(loaded("bert"), "bert", other) == "nn.window");
}
