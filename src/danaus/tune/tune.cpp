// A step: the shards of the batch, their embeddings, losses and gradients from the engine, one move of the optimiser.
// What a step does follows from its number, the seed and the parameters alone, so a training that goes on with a
// checkpoint ends with the same bits.

#include "danaus/tune/tune.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "danaus/core/digest.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/transformer.h"
#include "danaus/tune/batches.h"
#include "danaus/tune/checkpoint.h"
#include "danaus/tune/network.h"
#include "danaus/tune/optimiser.h"
#include "danaus/tune/scratch.h"

namespace danaus::tune {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Error unsupported(const model::Model& model, std::string_view what, std::string hint) {
  return Error("tune.unsupported", Failure::unsupported, fmt::format("'{}' {}", model.name, what))
      .with_hint(std::move(hint));
}

Result<void> check_model(const model::Model& model) {
  constexpr std::string_view kWhich = "training takes encoders (bert) and decoders (llama, gpt2) with weights";
  if (!model.has_weights() || model.embeddings.empty())
    return fail(unsupported(model, "has no weights, or no embedding of tokens", std::string(kWhich)));
  if (model.graph.outputs.size() != 1 || model.embeddings.size() != 1)
    return fail(unsupported(model, "has several inputs or outputs", std::string(kWhich)));
  for (const Node& node : model.graph.nodes) {
    if (node.kind == NodeKind::route || node.kind == NodeKind::blend || node.guard)
      return fail(unsupported(model, "has experts, which training does not know", std::string(kWhich)));
    if (node.kind == NodeKind::attend && node.span == Span::other)
      return fail(unsupported(model, "is an encoder-decoder model", std::string(kWhich)));
  }
  return {};
}

Pooling pooling_of(nn::Pooling::Kind kind) {
  switch (kind) {
    case nn::Pooling::Kind::first:
      return Pooling::first;
    case nn::Pooling::Kind::last:
      return Pooling::last;
    case nn::Pooling::Kind::max:
      return Pooling::max;
    case nn::Pooling::Kind::mean:
      break;
  }
  return Pooling::mean;
}

double total(const LossParts& weights, const LossParts& parts) {
  return weights.output * parts.output + weights.embedding * parts.embedding + weights.features * parts.features +
         weights.distillation * parts.distillation + weights.language * parts.language;
}

/// What a training is, in one line; a checkpoint of another one is refused.
std::string training_text(const model::Model& model, const factor::FactorFile& start, const Text& text,
                          const Options& options, const LossParts& weights) {
  std::string structures;
  for (const auto& [name, factors] : start.operators) {
    structures += name + to_string(factors.structure) + to_string(factors.structure.selection.digest());
    for (const std::vector<float>* values : {&factors.right, &factors.left})
      structures += to_string(digest_of(std::as_bytes(std::span<const float>(*values))));
  }
  for (const auto& [name, values] : start.constants)
    structures += name + to_string(digest_of(std::as_bytes(std::span<const float>(values))));
  std::string ids;
  for (const std::vector<nn::TokenId>& sequence : text.sequences)
    ids += to_string(digest_of(std::as_bytes(std::span<const nn::TokenId>(sequence))));
  return fmt::format(
      "model {}{} factors {} text {} lengths {} batch {} in {} rate {} warm-up {} gradient {} loss {} {} {} {} {} "
      "until {} {} noise {} {} {}{} seed {}",
      to_string(model.digest), options.from_scratch ? " from scratch" : "", to_string(digest_of(structures)),
      to_string(digest_of(ids)), fmt::join(options.lengths, ","), options.batch_tokens, options.shards, options.rate,
      options.warm_up, options.most_gradient, weights.output, weights.embedding, weights.features, weights.distillation,
      weights.language, options.features_until, options.precision == Precision::single ? "float32" : "bfloat16",
      options.noise.input_bits, options.noise.output_bits, options.noise.weights,
      options.layer_wise ? " layer-wise" : "", options.seed);
}

/// Buffers of a step are asked for again in the next one; the system would clear each of them anew.
void keep_freed_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  ::mallopt(M_TOP_PAD, 64 << 20);
}

/// Sums of what a record is the mean of.
struct Means {
  std::uint64_t steps = 0;
  double loss = 0, gradient = 0;
  LossParts parts;
  void add(double one_loss, double one_gradient, const LossParts& one) {
    ++steps;
    loss += one_loss;
    gradient += one_gradient;
    parts += one;
  }
  void put_into(Record& record) const {
    const double n = static_cast<double>(std::max<std::uint64_t>(1, steps));
    record.loss = loss / n;
    record.gradient = gradient / n;
    record.parts = parts / n;
  }
};

class Training {
 public:
  Training(const model::Model& model, const Text& text, const Options& options, Progress& progress)
      : model_(model), text_(text), options_(options), progress_(progress) {}

  Result<Tuned> run(const factor::FactorFile& start, const std::function<Result<void>(const Record&)>& record) {
    DANAUS_CHECK(prepare(start));
    DANAUS_CHECK(resume());
    if (progressed_.steps == 0) DANAUS_CHECK(fix_steps());
    progress_.begin("train", progressed_.steps);
    progress_.update(progressed_.step);
    const Result<void> trained = train(record);
    progress_.end();
    DANAUS_CHECK(trained);
    result_.factors = trained_factors(start, parameters_, constants_);
    if (options_.from_scratch) result_.matrices = trained_matrices(model_, parameters_);
    result_.steps = progressed_.steps;
    result_.tokens = progressed_.steps * step_tokens();
    result_.engine = engine_->description();
    return std::move(result_);
  }

 private:
  Result<void> prepare(const factor::FactorFile& start) {
    weights_ = options_.from_scratch ? LossParts{0, 0, 0, 0, 1} : options_.weights;
    if (total(weights_, {1, 1, 1, 1, 1}) == 0)
      weights_ = text_.encoder ? LossParts{1, 1, 1, 0, 0} : LossParts{0, 0, 0, 1, 0.1};
    if (options_.layer_wise) weights_ = {1, 0, 1, 0, 0};
    if (options_.lengths.empty())
      options_.lengths = text_.encoder ? std::vector<std::uint32_t>{16, 32, 64, 128} : std::vector<std::uint32_t>{256};
    options_.noise.seed = options_.seed;
    const bool with_head = weights_.distillation != 0 || weights_.language != 0;
    if (with_head && !model_.head)
      return fail(unsupported(model_, "has no lm head: it gives no probabilities that could be trained on",
                              "leave out the losses of the next token"));
    DANAUS_TRY(backend, nn::float_backend(model_, {.resident_bytes = 0}));
    backend_ = std::move(backend);
    DANAUS_TRY(transformer, nn::Transformer::create(model_, *backend_));
    transformer_.emplace(std::move(transformer));
    const std::size_t context = transformer_->context();
    std::erase_if(options_.lengths, [&](std::uint32_t length) { return lengths_by_default_ && length > context; });
    DANAUS_TRY(batches, Batches::create(text_.sequences, options_.lengths,
                                        std::max<std::size_t>(1, options_.batch_tokens / options_.shards), context,
                                        options_.seed));
    batches_.emplace(std::move(batches));
    result_.text_tokens = batches_->tokens();
    progress_.begin("read the weights", 0);
    training_ = training_text(model_, start, text_, options_, weights_);
    Result<TrainingNetwork> made = make_network(model_, start, options_.rate, with_head);
    progress_.end();
    if (!made) return fail(made.error());
    if (options_.from_scratch) add_matrices(model_, options_.seed, options_.rate, *made);
    parameters_ = std::move(made->parameters);
    constants_ = std::move(made->constants);
    if (options_.layer_wise)  // the part is a mean, all layers count the same
      weights_.features = static_cast<double>(made->network.features.size());
    optimiser_.emplace(parameters_);
    for (const Parameter& parameter : parameters_) gradients_.emplace_back(parameter.values.size());
    const auto on_threads = [](std::size_t count, const std::function<void(std::size_t)>& body) {
      parallel_for(count, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t n = first; n < last; ++n) body(n);
      });
    };
    DANAUS_TRY(engine, make_engine(std::move(made->network), {options_.precision, pooling_of(text_.pooling.kind),
                                                              options_.noise, options_.layer_wise, on_threads}));
    engine_ = std::move(engine);
    keep_freed_memory();
    progressed_.steps = options_.steps;
    const std::uint64_t tokens = options_.tokens != 0    ? options_.tokens
                                 : options_.minutes != 0 ? 0
                                                         : batches_->tokens();
    if (options_.steps == 0 && tokens != 0)
      progressed_.steps = std::max<std::uint64_t>(1, (tokens + step_tokens() / 2) / step_tokens());
    return {};
  }

  /// About; a shard has whole sequences.
  std::uint64_t step_tokens() const { return options_.batch_tokens; }

  Result<void> resume() {
    std::error_code ignored;
    if (!options_.resume || !std::filesystem::exists(options_.checkpoint, ignored)) return {};
    DANAUS_TRY(read, read_checkpoint(options_.checkpoint, training_, parameters_, *optimiser_));
    if (progressed_.steps != 0 && progressed_.steps != read.steps)
      return fail(Error("tune.checkpoint", Failure::usage,
                        fmt::format("the checkpoint is of a training of {} steps, this one has {}", read.steps,
                                    progressed_.steps))
                      .in_file(options_.checkpoint.string())
                      .with_hint("the learning rate follows from the number of steps, so it cannot change"));
    progressed_ = read;
    result_.resumed_from = read.step;
    return {};
  }

  /// By the clock: a few steps show how fast they are; they are not taken.
  Result<void> fix_steps() {
    constexpr std::uint64_t kLooks = 8;
    progress_.begin("measure the speed", kLooks);
    double step_seconds = 0;  // the mean; the first step is warm-up
    const Clock::time_point start = Clock::now();
    for (std::uint64_t n = 0; n < kLooks; ++n) {
      const Clock::time_point one = Clock::now();
      DANAUS_TRY(parts, compute(n));
      static_cast<void>(parts);
      if (n != 0) step_seconds += seconds_since(one) / static_cast<double>(kLooks - 1);
      progress_.update(n + 1);
    }
    progress_.end();
    const double left = options_.minutes * 60 - seconds_since(start);
    progressed_.steps = static_cast<std::uint64_t>(std::max(1.0, left / step_seconds));
    return {};
  }

  Result<Shard> make_shard(std::uint64_t number) {
    Batches::Part part = batches_->shard(number);
    Shard shard{part.ids.size() / part.length, part.length, {}, std::move(part.ids), number};
    if (options_.from_scratch) return shard;  // there is no teacher
    std::vector<nn::Step> steps;
    for (std::size_t first = 0; first < shard.ids.size(); first += shard.length)
      steps.push_back({nullptr, std::span<const nn::TokenId>(shard.ids).subspan(first, shard.length)});
    DANAUS_TRY(vectors, transformer_->embed(steps));
    shard.vectors = std::move(vectors);
    return shard;
  }

  LossParts weights_at(std::uint64_t step) const {
    LossParts weights = weights_;
    if (options_.layer_wise) return weights;
    const double until = options_.features_until * static_cast<double>(progressed_.steps);
    weights.features *= until > 0 ? std::max(0.0, 1 - static_cast<double>(step) / until) : 0;
    return weights;
  }

  Result<LossParts> compute(std::uint64_t step) {
    std::vector<Shard> shards;
    for (std::uint64_t n = 0; n < options_.shards; ++n) {
      DANAUS_TRY(shard, make_shard(step * options_.shards + n));
      shards.push_back(std::move(shard));
    }
    return engine_->gradients(shards, weights_at(step), parameters_, gradients_);
  }

  Result<void> train(const std::function<Result<void>(const Record&)>& record) {
    const std::uint64_t steps = progressed_.steps, warm_up = std::min<std::uint64_t>(options_.warm_up, steps / 10);
    const Clock::time_point start = Clock::now();
    Clock::time_point saved = start;
    Means means;
    const std::uint64_t first = progressed_.step;
    bool is_first = true;
    while (progressed_.step < steps) {
      const std::uint64_t step = progressed_.step;
      const double part = schedule(step, steps, warm_up);
      DANAUS_TRY(parts, compute(step));
      const double loss = total(weights_at(step), parts);
      const double length = optimiser_->apply(step, part, options_.most_gradient, gradients_, parameters_);
      if (!std::isfinite(loss) || !std::isfinite(length))
        return fail(
            Error("tune.diverged", Failure::check,
                  fmt::format("the loss of step {} is {}, its gradient has the length {}", step + 1, loss, length))
                .with_hint("take a smaller --rate"));
      means.add(loss, length, parts);
      progress_.update(++progressed_.step);
      if (progressed_.step % options_.log_steps == 0 || progressed_.step == steps) {
        Record now;
        now.step = progressed_.step;
        now.steps = steps;
        now.tokens = progressed_.step * step_tokens();
        now.rate = part;
        means.put_into(now);
        now.seconds = seconds_since(start);
        now.seconds_left =
            now.seconds / static_cast<double>(progressed_.step - first) * static_cast<double>(steps - progressed_.step);
        DANAUS_CHECK(record(now));
        if (is_first) result_.first_loss = now.loss;
        is_first = false;
        result_.last_loss = now.loss;
        means = {};
      }
      const bool by_clock = seconds_since(saved) >= options_.checkpoint_minutes * 60;
      const bool by_step = options_.checkpoint_steps != 0 && progressed_.step % options_.checkpoint_steps == 0;
      if (!options_.checkpoint.empty() && (by_clock || by_step || progressed_.step == steps)) {
        DANAUS_CHECK(write_checkpoint(options_.checkpoint, progressed_, training_, parameters_, *optimiser_));
        saved = Clock::now();
      }
    }
    result_.seconds = seconds_since(start);
    result_.computed_tokens = (steps - first) * step_tokens();
    return {};
  }

  const model::Model& model_;
  const Text& text_;
  Options options_;
  bool lengths_by_default_ = options_.lengths.empty();
  Progress& progress_;
  LossParts weights_;
  std::unique_ptr<nn::LinearBackend> backend_;
  std::optional<nn::Transformer> transformer_;
  std::optional<Batches> batches_;
  std::unique_ptr<Engine> engine_;
  std::vector<Parameter> parameters_;
  std::vector<std::string> constants_;
  std::optional<Optimiser> optimiser_;
  std::vector<std::vector<float>> gradients_;
  std::string training_;
  Progressed progressed_;
  Tuned result_;
};

}  // namespace

Result<Tuned> tune(const model::Model& model, const factor::FactorFile& start, const Text& text, const Options& options,
                   const std::function<Result<void>(const Record&)>& record, Progress& progress) {
  DANAUS_CHECK(check_model(model));
  if (options.from_scratch) DANAUS_CHECK(check_from_scratch(model));
  return Training(model, text, options, progress).run(start, record);
}

}  // namespace danaus::tune
