// The bridge to the list machine: which of its transformers the model is, which passes the mode means, and the schedule
// in the terms of the other machine's results. Both schedules, the full one and that of the linear operators alone, run
// at the same time.

#include "danaus/pipeline/list.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "danaus/core/parallel.h"
#include "danaus/machine/list/list_machine.h"

namespace danaus::pipeline {
namespace {

namespace list = machine::list;

Result<list::Transformer> transformer_of(const model::Model& model) {
  const model::Dimensions& size = model.dimensions;
  const auto refuse = [&model](std::string what) {
    return fail(Error("pipeline.list-model", Failure::unsupported, std::move(what))
                    .in_file(model.name)
                    .with_hint("list scheduling knows the encoder of BERT and the decoder of GPT-2; use another chip"));
  };
  const bool decoder = model.family == model::Family::gpt2;
  if (!decoder && model.family != model::Family::bert)
    return refuse(fmt::format("list scheduling knows no models of family {}", name_of(model.family)));
  const auto has = [&model](NodeKind kind) {
    return std::any_of(model.graph.nodes.begin(), model.graph.nodes.end(),
                       [kind](const Node& node) { return node.kind == kind; });
  };
  const bool gelu = has(NodeKind::gelu) || has(NodeKind::gelu_tanh);
  if (!gelu && !has(NodeKind::relu)) return refuse("list scheduling knows the activations GELU and ReLU only");
  if (has(NodeKind::mul)) return refuse("list scheduling knows no gated feed-forward layers");
  if (size.kv_heads != size.heads || size.heads * size.head_size != size.hidden)
    return refuse("list scheduling knows square projections only: as many key heads as query heads");
  if (decoder && size.vocab == 0) return refuse("the size of the vocabulary is not known");
  return list::Transformer{.decoder = decoder,
                           .layers = size.layers,
                           .hidden = size.hidden,
                           .ffn = size.ffn,
                           .gelu = gelu,
                           .vocab = size.vocab,
                           .context = size.context};
}

Result<list::Work> work_of(const list::Transformer& transformer, const RunResult& result, const RunOptions& options) {
  const auto refuse = [](std::string_view what, std::string_view hint) {
    return fail(Error("pipeline.list-mode", Failure::unsupported, std::string(what)).with_hint(std::string(hint)));
  };
  if (options.generation) {
    if (!transformer.decoder) return refuse("an encoder generates no text", "use --mode encode");
    return list::generation(options.generation->prompt, result.tokens, options.generation->kv_cache, result.sequences);
  }
  switch (result.mode) {
    case compile::Mode::encode:
      if (transformer.decoder) return refuse("this model is a decoder", "use --mode prefill, decode or generate");
      break;
    case compile::Mode::prefill:
      if (!transformer.decoder) return refuse("this model is an encoder", "use --mode encode or decode");
      break;
    case compile::Mode::decode: {
      list::Work work = list::one_pass(1, result.sequences);
      work.passes.front().attended = result.kv;
      work.kv_cache = transformer.decoder;
      return work;
    }
  }
  return list::one_pass(result.tokens, result.sequences);
}

/// Weights that a token meets: those of the layers, and of a decoder the head.
std::uint64_t macs_of(const list::Transformer& transformer) {
  const std::uint64_t hidden = transformer.hidden, ffn = transformer.ffn;
  const std::uint64_t head = transformer.decoder ? hidden * transformer.vocab : 0;
  return transformer.layers * (4 * hidden * hidden + 2 * hidden * ffn) + head;
}

machine::Timing timing_of(const list::Schedule& schedule, const chip::Chip& chip) {
  machine::Timing timing;
  timing.total = schedule.total;
  timing.token_end = {schedule.total};
  timing.counts.activations = schedule.counts.mvms;
  timing.counts.messages = schedule.counts.communications;
  timing.counts.message_bits = schedule.counts.communications * chip.input.bits * chip.array.cols;
  timing.counts.bit_hops = timing.counts.message_bits;
  timing.counts.vector_ops =
      schedule.counts.adds + schedule.counts.norms + schedule.counts.activations + schedule.counts.samples;
  timing.critical_path.settle = schedule.path.mvm;
  timing.critical_path.network = schedule.path.communication;
  timing.critical_path.digital = schedule.path.digital;
  timing.critical_path.attention = schedule.path.attention;
  timing.critical_path.wait = schedule.path.wait;
  timing.critical_rounds = schedule.path.mvms;
  timing.energy.cells = schedule.energy.mvms;
  timing.energy.network = schedule.energy.communications;
  timing.energy.digital = schedule.energy.digital;
  timing.energy.attention = schedule.energy.attention;
  timing.energy.passive = schedule.energy.passive;
  return timing;
}

}  // namespace

bool schedules_by_list(const chip::Chip& chip) { return chip.system.scheduling == chip::Scheduling::list; }

Result<void> check_runs_programs(const chip::Chip& chip) {
  if (schedules_by_list(chip))
    return fail(Error("pipeline.list-chip", Failure::unsupported,
                      fmt::format("chip '{}' schedules operations by list: it runs no programs", chip.name))
                    .with_hint("danaus run takes such a chip; or set chip.scheduling=scoreboard"));
  if (chip.system.tiers != 1)
    return fail(Error("pipeline.list-chip", Failure::unsupported,
                      fmt::format("programs know arrays of one tier, chip.tiers is {}", chip.system.tiers))
                    .with_hint("set chip.tiers=1, or chip.scheduling=list"));
  return {};
}

Result<RunResult> run_list(const model::Model& model, const chip::Chip& chip, const RunOptions& options,
                           Progress& progress) {
  for (const std::string& map : options.maps) {
    if (map != "linear")
      return fail(
          Error("pipeline.list-map", Failure::unsupported,
                fmt::format("chip '{}' schedules dense operators by list: there is no map '{}'", chip.name, map))
              .with_hint("use --map linear, or set chip.scheduling=scoreboard"));
  }
  if (options.reload || options.copies != 0)
    return fail(
        Error("pipeline.list-option", Failure::unsupported,
              fmt::format("list scheduling knows no {}", options.reload ? "reload" : "copies of arrays"))
            .with_hint(options.reload ? "leave --reload out; chip.tiers stacks weights" : "leave --replicate out"));
  DANAUS_TRY(transformer, transformer_of(model));
  RunResult run_result = describe_run(model, chip, options);
  DANAUS_TRY(work, work_of(transformer, run_result, options));

  Result<list::Schedule> full, linear;
  parallel_for(2, 1, [&](std::size_t first, std::size_t last) {
    for (std::size_t task = first; task < last; ++task) {
      if (task == 0) full = list::schedule(transformer, work, chip, {}, progress);
      if (task == 1) linear = list::schedule(transformer, work, chip, {.linear_only = true});
    }
  });
  if (!full) return fail(full.error());
  if (!linear) return fail(linear.error());

  MapResult result;
  result.map = "linear";
  result.structure = "dense";
  result.parameters = full->parameters;
  result.macs = macs_of(transformer);
  result.arrays = static_cast<std::uint32_t>(std::min<std::uint64_t>(full->tiles, full->tiers));
  result.tiles = full->tiles;
  const double cells = static_cast<double>(chip.array.rows) * chip.array.cols;
  result.utilisation =
      static_cast<double>(full->parameters) / (static_cast<double>(result.arrays) * cells * chip.system.tiers);
  result.bound.arrays =
      static_cast<std::uint32_t>(std::ceil(static_cast<double>(full->parameters) / (cells * chip.system.tiers)));
  const bool generates = options.generation.has_value();
  const std::uint64_t tokens =
      std::uint64_t{work.sequences} * (generates ? run_result.tokens - options.generation->prompt : run_result.tokens);
  result.activations = full->counts.mvms / tokens;
  result.linear_latency_ns = chip::to_nanoseconds(linear->total);
  result.latency_ns = chip::to_nanoseconds(full->total);
  if (full->total > 0) result.throughput_tokens_per_s = 1e9 * static_cast<double>(tokens) / result.latency_ns;
  result.timing = timing_of(*full, chip);
  result.flops = std::llround(full->flops);
  result.peak_buffer_bytes = full->peak_bytes;
  if (generates) {
    result.passes =
        generation_work(model.graph, options.generation->prompt, run_result.tokens, options.generation->kv_cache, 0);
  } else {
    const std::uint64_t entries = run_result.mode == compile::Mode::decode ? run_result.kv : run_result.tokens;
    result.passes = {pipeline::work_of(model.graph, run_result.tokens, entries, 0)};
  }
  for (Work& pass : result.passes) pass = for_sequences(pass, work.sequences);
  run_result.results.push_back(std::move(result));
  return run_result;
}

}  // namespace danaus::pipeline
