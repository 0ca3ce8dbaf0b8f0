// Signal-to-noise ratios by bits against figures of another program (numpy, other random numbers; the same as in
// tests/property/analog.cpp): normal weights and inputs, 8-bit weights with a scale per column, 8-bit inputs with one
// static scale.
#include "danaus/pipeline/precision.h"

#include <doctest/doctest.h>

#include <cmath>

#include "danaus/model/shape_file.h"
#include "danaus/pipeline/run.h"

using namespace danaus;
using namespace danaus::pipeline;

namespace {

model::Model square_model() {
  const Result<model::Shape> shape = model::parse_shape(
      "name = \"square\"\nfamily = \"llama\"\nlayers = 2\nhidden = 256\nffn = 256\nheads = 4\nvocab = 64\n"
      "context = 8\nactivation = \"silu\"\n",
      "square.toml");
  REQUIRE(shape.has_value());
  return model::model_from_shape(*shape).value();
}

PrecisionOptions options_for(const std::string& map, std::vector<std::pair<std::string, std::string>> settings) {
  settings.insert(settings.begin(), {{"array.rows", "32"}, {"noise.input_scale", "tensor"}});
  PrecisionOptions options;
  options.chip = chip::load("unit", settings).value();
  options.map = map;
  options.policy.blocks = "16";
  options.vectors = 192;
  return options;
}

Precision precision_of(const PrecisionOptions& options) {
  Result<Precision> precision = find_precision(square_model(), "square.toml", options, no_progress());
  if (!precision) FAIL(to_string(precision.error()));
  return std::move(*precision);
}

void check_db(double db, double expected, double tolerance) {
  CAPTURE(db);
  CHECK(std::fabs(db - expected) <= tolerance);
}

}  // namespace

TEST_CASE("decibels by bits, and the fewest bits that keep a floor") {
  PrecisionOptions options = options_for("linear", {});
  options.least_snr_db = 28;
  const Precision precision = precision_of(options);
  REQUIRE(precision.stages.size() == 7);  // q, k, v, o, gate, up, down
  for (const StagePrecision& stage : precision.stages) {
    CAPTURE(stage.pattern);
    CHECK(stage.pattern.starts_with("blk.*."));
    CHECK(stage.operators == 2);
    CHECK(stage.measured == 1);  // layers without weights are alike
    CHECK(stage.rows == 32);
    check_db(stage.snr_of(4), 18.2, 0.5);
    check_db(stage.snr_of(5), 23.4, 0.5);
    check_db(stage.snr_of(6), 28.2, 0.5);
    check_db(stage.snr_of(8), 35.3, 0.6);
    CHECK(stage.cells_db == doctest::Approx(stage.codes_db).epsilon(1e-9));  // the unit chip's cells are ideal
    CHECK(stage.cells_db > stage.snr_of(10));
    CHECK(stage.limit == PrecisionLimit::none);
    for (std::uint32_t bits = kFewestBits; bits < stage.bits; ++bits) CHECK(stage.snr_of(bits) < 28);
    CHECK(stage.snr_of(stage.bits) >= 28);
  }
  CHECK(precision.notes.size() == 2);
}

TEST_CASE("what is in the way where no bits keep the floor") {
  // 8-bit inputs and weights alone are 36.9 dB or so.
  PrecisionOptions options = options_for("linear", {});
  options.vectors = 32;
  options.least_snr_db = 60;
  for (const StagePrecision& stage : precision_of(options).stages) {
    CHECK(stage.limit == PrecisionLimit::codes);
    CHECK(stage.snr_of(stage.bits) >= stage.snr_of(10) - kSaturationDb);
    CHECK(stage.snr_of(stage.bits - 1) < stage.snr_of(10) - kSaturationDb);
  }
  options = options_for("linear", {{"noise.device", "pcm"}});
  options.vectors = 32;
  for (const StagePrecision& stage : precision_of(options).stages) {
    CHECK(stage.codes_db > 30);
    CHECK(stage.cells_db < 30);
    CHECK(stage.limit == PrecisionLimit::cells);
  }
  options = options_for("linear", {{"noise.adc_range", "full"}});
  options.vectors = 32;
  for (const StagePrecision& stage : precision_of(options).stages) {
    CHECK(stage.cells_db > 30);
    CHECK(stage.limit == PrecisionLimit::converters);
  }
  options = options_for("linear", {{"noise.adc_range", "lossless"}});
  CHECK(find_precision(square_model(), "", options, no_progress()).error().id == "precision.range");
}

TEST_CASE("stages of blocks are measured apart, and the table is one that run takes") {
  PrecisionOptions options = options_for("sparse", {});
  options.vectors = 192;
  options.least_snr_db = 25;
  const Precision precision = precision_of(options);
  REQUIRE(precision.stages.size() == 14);
  for (std::size_t n = 0; n < 14; ++n) {
    CHECK(precision.stages[n].stage == n % 2);
    check_db(precision.stages[n].snr_of(6), 28.2, 1.5);  // of one conversion, not of two in series (25.4)
  }
  CHECK(precision_of(options).stages == precision.stages);  // the seed alone
  Precision renamed = precision;
  renamed.model = "mod\xc3\xa8le\n[[stage]]";
  CHECK(parse_adc_bits(bits_file(renamed), "bits.toml").has_value());
  const Result<AdcBits> table = parse_adc_bits(bits_file(precision), "bits.toml");
  if (!table) FAIL(to_string(table.error()));
  CHECK(table->rules.size() == 14);
  RunOptions run_options;
  run_options.maps = {"sparse"};
  run_options.policy.blocks = "16";
  run_options.adc_bits = *table;
  const chip::Chip chip = chip::load("unit", {{"array.rows", "32"}, {"adc.rule", "calibrated"}}).value();
  const Result<RunResult> result = run(square_model(), chip, run_options, no_progress());
  if (!result) FAIL(to_string(result.error()));
  std::uint32_t most = 0;
  for (const AdcBits::Rule& rule : table->rules) most = std::max(most, rule.bits);
  CHECK(result->results[0].adc_bits == most);
}
