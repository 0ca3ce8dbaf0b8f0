// Traces and the stages of a mapping against the timing machine's own sums.
#include "danaus/pipeline/trace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "danaus/pipeline/explain_mapping.h"
#include "danaus/pipeline/run.h"
#include "small_example.h"

using namespace danaus;
using namespace danaus::pipeline;

namespace {

chip::Chip small_pcm(std::vector<std::pair<std::string, std::string>> settings = {}) {
  settings.insert(settings.begin(), {"network.arrays_per_tile", "2"});
  return small_chip(settings, "pcm-14nm");
}

}  // namespace

TEST_CASE("trace: arrays that share converters drive, wait and convert, one activation at a time") {
  const chip::Chip chip =
      small_pcm({{"adc.sharing", "group"}, {"adc.group_arrays", "8"}, {"network.arrays_per_tile", "8"}});
  const program::Program program = compile_model(tiny(), chip, "dense", small_blocks(), no_progress()).value();
  const Trace trace = trace_program(program, chip, {}, no_progress()).value();
  std::map<std::uint32_t, std::vector<Activity>> of_array;
  for (const Activity& activity : trace.activities) {
    if (activity.kind == Activity::Kind::array) of_array[activity.unit].push_back(activity);
  }
  chip::Picoseconds longest = 0;
  for (auto& [array, activities] : of_array) {
    std::sort(activities.begin(), activities.end(),
              [](const Activity& a, const Activity& b) { return a.start < b.start; });
    chip::Picoseconds held = 0, last = 0;
    for (const Activity& activity : activities) {
      CHECK(activity.start >= last);
      CHECK(activity.driving == 138'000);  // 128 ns of pulses and settling
      CHECK(activity.conversion >= activity.start + activity.driving);
      CHECK(activity.converting >= 1'000);
      CHECK(activity.end == activity.conversion + activity.converting);
      last = activity.end;
      held += activity.end - activity.start;
    }
    longest = std::max(longest, held);
  }
  CHECK(longest > 0);
  CHECK(trace.timing.busiest_array == longest);
}

TEST_CASE("trace: activations of nothing that is known have a name each time") {
  const chip::Chip chip = small_pcm();
  RunOptions options = small_blocks();
  options.emit.mode = compile::Mode::prefill;
  options.emit.tokens = 3;  // the same commands three times
  program::Program program = compile_model(tiny(), chip, "dense", options, no_progress()).value();
  program.patches.clear();
  const Trace trace = trace_program(program, chip, {}, no_progress()).value();
  REQUIRE(!trace.activities.empty());
  for (const Activity& activity : trace.activities) {
    if (activity.kind == Activity::Kind::array) CHECK(trace.names[activity.name] == "mvm");
  }
}

TEST_CASE("trace: what arrays and tiles do adds up to their busy times") {
  for (const std::string map : {"linear", "sparse", "dense", "striped"}) {
    for (const std::string buffer : {"false", "true"}) {
      CAPTURE(map);
      CAPTURE(buffer);
      const chip::Chip chip = small_pcm({{"adc.double_buffer", buffer}});
      const program::Program program = compile_model(tiny(), chip, map, small_blocks(), no_progress()).value();
      const Trace trace = trace_program(program, chip, {}, no_progress()).value();
      CHECK(trace.arrays == program.chip.arrays);
      std::map<std::uint32_t, chip::Picoseconds> driving, converting, digital;
      for (const Activity& activity : trace.activities) {
        CHECK(activity.start < activity.end);
        CHECK(activity.end <= trace.timing.total);
        if (activity.kind == Activity::Kind::array) {
          driving[activity.unit] += activity.driving;
          converting[activity.unit] += activity.converting;
          CHECK(activity.conversion >= activity.start + activity.driving);
        } else if (activity.kind == Activity::Kind::digital) {
          digital[activity.tile] += activity.end - activity.start;
        }
      }
      chip::Picoseconds busiest_array = 0, busiest_digital = 0;
      for (const auto& [array, time] : driving)
        busiest_array =
            std::max(busiest_array, buffer == "true" ? std::max(time, converting[array]) : time + converting[array]);
      for (const auto& [tile, time] : digital)
        busiest_digital = std::max<chip::Picoseconds>(
            busiest_digital, (time + chip.digital.units - 1) / std::max(1u, chip.digital.units));
      CHECK(busiest_array == trace.timing.busiest_array);
      if (chip.digital.units != 0 && !chip.digital.hub) CHECK(busiest_digital == trace.timing.busiest_digital);
    }
  }
}

TEST_CASE("trace: names of activations, and too many commands") {
  const chip::Chip chip = small_pcm();
  const program::Program program = compile_model(tiny(), chip, "sparse", small_blocks(), no_progress()).value();
  const Trace trace = trace_program(program, chip, {}, no_progress()).value();
  CHECK(trace.program == "tiny");
  const auto has = [&](std::string_view name) {
    return std::find(trace.names.begin(), trace.names.end(), name) != trace.names.end();
  };
  CHECK(has("blk.0.attn_q R"));
  CHECK(has("blk.0.ffn_down L"));
  CHECK(has("silu"));
  const Result<Trace> refused = trace_program(program, chip, {}, no_progress(), trace.activities.size() - 1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().id == "pipeline.trace");
  CHECK(trace_program(program, chip, {}, no_progress(), trace.activities.size()).has_value());
}

TEST_CASE("explain mapping: stages and the rest add up to the latency, their kinds to its breakdown") {
  for (const std::string map : {"linear", "sparse", "dense", "striped", "linear-striped"}) {
    CAPTURE(map);
    const MappingExplanation explained =
        explain_mapping(tiny(), small_pcm(), map, small_blocks(), no_progress()).value();
    const MapResult& result = explained.result;
    machine::Breakdown sum = explained.rest;
    std::uint64_t rounds = 0;
    for (const ExplainedStage& stage : explained.stages) {
      sum += stage.time;
      rounds += stage.rounds;
      CHECK(stage.layers == 1);
      CHECK_FALSE(stage.reasons.empty());
      CHECK(stage.most_rounds >= stage.bound_rounds);
    }
    CHECK(sum == result.timing.critical_path);
    CHECK(sum.total() == result.timing.total);
    CHECK(rounds == result.timing.critical_rounds);
    const bool dense = map.starts_with("linear");
    CHECK(explained.stages.size() == (dense ? 4 : 8));
    CHECK(explained.stages[0].name == (dense ? "blk.*.attn_q+attn_k+attn_v" : "blk.*.attn_q+attn_k+attn_v R"));
    CHECK(explained.stages[0].conversions == 48);
    std::uint64_t activations = 0;
    for (const ExplainedStage& stage : explained.stages) activations += stage.activations;
    CHECK(activations == result.activations);
  }
}

TEST_CASE("explain mapping: one stage counted by hand") {
  // Dense operators: q, k, v and o an array each, 16 columns on 4 converters; the unit chip has 10 ns and 1 ns.
  const chip::Chip chip =
      chip::load("unit", {{"array.rows", "16"}, {"array.cols", "16"}, {"adc.per_array", "4"}}).value();
  const MappingExplanation explained = explain_mapping(tiny(), chip, "linear", small_blocks(), no_progress()).value();
  const ExplainedStage& stage = explained.stages[0];
  CHECK(stage.structure == "dense");
  CHECK(stage.arrays == 3);
  CHECK(stage.patches == 3);
  CHECK(stage.activations == 3);
  CHECK(stage.most_activations == 1);
  CHECK(stage.most_rounds == 4);
  CHECK(stage.bound_rounds == 2);  // 48 conversions, 10 arrays of 4 converters
  CHECK(stage.bound_ns == 12);
  CHECK(stage.time.settle == 10'000);
  CHECK(stage.time.adc == 4000);
  CHECK(stage.limit == "input window");
  CHECK(stage.reasons[2] == "converters of 7 of 10 arrays are idle: they hold nothing of this stage");
}
