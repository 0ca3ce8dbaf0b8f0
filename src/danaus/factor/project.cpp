// Projection onto the family (k, l, r): the squared error is a sum over the k l slices of W, so the truncated SVD of
// every slice is the global optimum. Small slices are solved many at a time in single precision (lane_solver.cpp),
// where each one is accepted only with a proof that it is within the tolerance of the optimum; the others, and all
// large slices, in double precision (slice_solver.cpp). Errors are measured on the factors as they are stored.
// A slice needs the rows of its output block only, so W is read and dropped a few output blocks at a time.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <numeric>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/factor/activation.h"
#include "danaus/factor/factor.h"
#include "danaus/factor/gather.h"
#include "danaus/factor/moments.h"
#include "danaus/factor/slice_solver.h"

namespace danaus::factor {
namespace {

// Slices up to this size go through the SIMD lanes, so that the scratch of a group stays in the cache; the larger ones
// only if there are enough of them to fill the lanes.
constexpr std::size_t kLaneNarrow = 256;
constexpr std::size_t kLaneElements = std::size_t{1} << 16;
constexpr std::size_t kLaneRank = 64;
constexpr std::size_t kSingleNarrow = 128;
constexpr std::size_t kEnoughSlices = 8;
// What a slice may miss: a tenth of the tolerances, 2e-6 of the optimum and 1e-12 of the norm.
constexpr double kAcceptedOfOptimum = 2e-7;
constexpr double kAcceptedOfNorm = 1e-13;
// Weights that are in memory at a time, per thread: many groups of slices, so that threads seldom wait for each other.
constexpr std::size_t kElementsPerThread = std::size_t{1} << 23;

bool all_finite(std::span<const float> weights) {
  return std::all_of(weights.begin(), weights.end(), [](float value) { return std::isfinite(value); });
}

/// Scratch memory of the groups that are being solved; reused, so that its pages are touched once per thread.
class ScratchPool {
 public:
  struct alignas(64) Line {
    float values[16];
  };
  using Memory = std::vector<Line>;

  explicit ScratchPool(std::size_t floats) : lines_((floats + 15) / 16) {}

  Memory take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        Memory memory = std::move(free_.back());
        free_.pop_back();
        return memory;
      }
    }
    return Memory(lines_);
  }
  void give_back(Memory memory) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(memory));
  }

 private:
  std::mutex mutex_;
  std::vector<Memory> free_;
  std::size_t lines_;
};

struct SliceError {
  double squared_norm = 0;
  double squared_error = 0;
  double optimum = 0;  ///< sum of the discarded sigma^2
};

/// One projection: where the slices of W lie and where their factors go.
class Projector {
 public:
  explicit Projector(const Structure& structure)
      : structure_(structure),
        height_(structure.out_block),
        width_(structure.in_block),
        transposed_(height_ < width_),
        tall_(std::max(height_, width_)),
        narrow_(std::min(height_, width_)),
        rank_(std::min<std::size_t>(structure.r, narrow_)) {
    factors_.structure = structure;
    factors_.right.resize(std::size_t{structure.l} * structure.r * structure.stage_inputs(0));
    factors_.left.resize(std::size_t{structure.k} * structure.r * structure.stage_outputs(1));
    errors_.resize(std::size_t{structure.k} * structure.l);
  }

  /// Output blocks whose weights should be there at a time.
  std::size_t output_blocks_at_a_time() const {
    const std::size_t elements = kElementsPerThread * static_cast<std::size_t>(thread_count());
    const std::size_t count =
        std::clamp<std::size_t>(elements / (height_ * std::max(1u, structure_.in)), 1, structure_.l);
    const std::size_t full_lanes = lane_count() / std::gcd(lane_count(), std::size_t{structure_.k});
    return count < full_lanes || count == structure_.l ? count : count - count % full_lanes;
  }

  /// Solves the slices of `count` output blocks; `weights` begins with the rows of the first. False when some weight is
  /// not finite.
  bool run(std::span<const float> weights, std::size_t first, std::size_t count) {
    weights_ = weights;
    first_row_ = first * height_;
    const bool fits = narrow_ <= kLaneNarrow && tall_ * narrow_ <= kLaneElements && rank_ <= kLaneRank;
    const std::size_t begin = first * structure_.k, end = (first + count) * structure_.k;
    if (fits && (narrow_ <= kSingleNarrow || errors_.size() >= kEnoughSlices)) return run_lanes(begin, end);
    if (!all_finite(weights_)) return false;
    parallel_for(end - begin, 1, [&](std::size_t from, std::size_t to) {
      for (std::size_t number = begin + from; number < begin + to; ++number) solve_in_double(number);
    });
    return true;
  }

  Projection result() && {
    double squared_norm = 0, squared_error = 0, optimum = 0;
    for (const SliceError& error : errors_) {
      squared_norm += error.squared_norm;
      squared_error += error.squared_error;
      optimum += std::min(error.optimum, error.squared_error);
    }
    Projection projection{std::move(factors_), {}};
    if (squared_norm > 0)
      projection.error = {std::sqrt(squared_error / squared_norm), std::sqrt(optimum / squared_norm), squared_norm};
    return projection;
  }

 private:
  SliceSource source(std::size_t number) const {
    const std::size_t row = number / structure_.k * height_;
    const std::size_t column = number % structure_.k * width_;
    if (row >= structure_.out || column >= structure_.in) return {};
    return {weights_.data() + (row - first_row_) * structure_.in + column,
            std::min<std::size_t>(height_, structure_.out - row),
            std::min<std::size_t>(width_, structure_.in - column)};
  }

  bool run_lanes(std::size_t begin, std::size_t end) {
    const std::size_t lanes = lane_count();
    if (start_.empty()) start_ = start_values(rank_, narrow_);
    if (!scratch_) scratch_ = std::make_unique<ScratchPool>(lane_work_size(tall_, narrow_, rank_));
    std::atomic<bool> finite = true;
    parallel_for((end - begin + lanes - 1) / lanes, 1, [&](std::size_t from, std::size_t to) {
      ScratchPool::Memory scratch = scratch_->take();
      std::vector<std::size_t> unsettled;
      for (std::size_t first = begin + from * lanes; first < std::min(end, begin + to * lanes); first += lanes)
        if (!run_group(first, std::min(lanes, end - first), scratch, unsettled)) finite = false;
      scratch_->give_back(std::move(scratch));
      for (const std::size_t number : unsettled) solve_in_double(number);
    });
    return finite;
  }

  bool run_group(std::size_t first, std::size_t count, ScratchPool::Memory& scratch,
                 std::vector<std::size_t>& unsettled) {
    const std::size_t lanes = lane_count();
    SliceSource sources[16];
    for (std::size_t q = 0; q < count; ++q) sources[q] = source(first + q);
    const LaneSolution solution = solve_lanes({.tall = tall_,
                                               .narrow = narrow_,
                                               .rank = rank_,
                                               .transposed = transposed_,
                                               .row_stride = structure_.in,
                                               .sources = {sources, count},
                                               .start = start_,
                                               .work = {scratch[0].values, scratch.size() * 16}});
    if (!solution.finite) return false;
    const float* const height_factor = transposed_ ? solution.narrow_factor : solution.tall_factor;
    const float* const width_factor = transposed_ ? solution.tall_factor : solution.narrow_factor;
    for (std::size_t q = 0; q < count; ++q) {
      const double error = solution.squared_error[q];
      const double norm = solution.squared_norm[q];
      const double excess = solution.excess[q];
      const bool exact = error <= kAcceptedOfNorm * norm;
      const bool proved = excess <= kAcceptedOfOptimum * error + kAcceptedOfNorm * norm;
      if (!exact && !proved) {
        unsettled.push_back(first + q);
        continue;
      }
      const double back = std::ldexp(1.0, -2 * solution.shift[q]);
      errors_[first + q] = {norm * back, error * back, std::max(0.0, error - excess) * back};
      const float scale = std::ldexp(1.0f, -solution.shift[q] / 2);
      store(
          first + q, [&](std::size_t m, std::size_t a) { return height_factor[(m * height_ + a) * lanes + q] * scale; },
          [&](std::size_t m, std::size_t c) { return width_factor[(m * width_ + c) * lanes + q] * scale; });
    }
    return true;
  }

  void solve_in_double(std::size_t number) {
    const SliceSource part = source(number);
    std::vector<float> slice(tall_ * narrow_);
    for (std::size_t a = 0; a < part.rows; ++a)
      for (std::size_t c = 0; c < part.columns; ++c)
        slice[transposed_ ? c * narrow_ + a : a * narrow_ + c] = part.first[a * structure_.in + c];
    const SliceSolution solution = solve_slice(slice, tall_, narrow_, rank_);
    const std::vector<double>& height_factor = transposed_ ? solution.narrow_factor : solution.tall_factor;
    const std::vector<double>& width_factor = transposed_ ? solution.tall_factor : solution.narrow_factor;
    store(
        number, [&](std::size_t m, std::size_t a) { return static_cast<float>(height_factor[m * height_ + a]); },
        [&](std::size_t m, std::size_t c) { return static_cast<float>(width_factor[m * width_ + c]); });

    std::vector<double> row(narrow_);
    SliceError& error = errors_[number];
    for (std::size_t t = 0; t < tall_; ++t) {
      for (std::size_t c = 0; c < narrow_; ++c) {
        row[c] = static_cast<double>(slice[t * narrow_ + c]);
        error.squared_norm += row[c] * row[c];
      }
      for (std::size_t m = 0; m < rank_; ++m) {
        const double factor = static_cast<double>(static_cast<float>(solution.tall_factor[m * tall_ + t]));
        for (std::size_t c = 0; c < narrow_; ++c)
          row[c] -= factor * static_cast<double>(static_cast<float>(solution.narrow_factor[m * narrow_ + c]));
      }
      for (const double rest : row) error.squared_error += rest * rest;
    }
    error.optimum = solution.discarded;
  }

  /// Puts the terms of one slice into both factors; `height` and `width` give element (term, index). Padding stays
  /// zero: in the solution it is zero only up to rounding.
  template <typename Height, typename Width>
  void store(std::size_t number, const Height& height, const Width& width) {
    const std::size_t r = structure_.r;
    const auto i = static_cast<std::uint32_t>(number / structure_.k);
    const auto j = static_cast<std::uint32_t>(number % structure_.k);
    const std::size_t columns = structure_.block(0, j).in_count;
    const SliceSource part = source(number);
    float* const right = factors_.right.data() + (width_ * j * structure_.l * r) + i * r * columns;
    const std::size_t left_stride = std::size_t{structure_.k} * r;
    float* const left = factors_.left.data() + height_ * i * left_stride + j;
    for (std::size_t m = 0; m < rank_; ++m) {
      for (std::size_t c = 0; c < part.columns; ++c) right[m * columns + c] = width(m, c);
      for (std::size_t a = 0; a < part.rows; ++a) left[a * left_stride + m * structure_.k] = height(m, a);
    }
  }

  std::span<const float> weights_;  ///< rows of W from first_row_ on
  std::size_t first_row_ = 0;
  Structure structure_;
  std::size_t height_, width_;
  bool transposed_;
  std::size_t tall_, narrow_, rank_;
  Factors factors_;
  std::vector<SliceError> errors_;  ///< of slice i * k + j
  std::vector<float> start_;
  std::unique_ptr<ScratchPool> scratch_;
};

/// The dense operator is its own projection.
Result<Projection> keep(std::vector<float> weights, const Structure& structure) {
  std::vector<double> row_norms(structure.out);
  std::atomic<bool> finite = true;
  parallel_for(structure.out, 16, [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
      for (std::size_t column = 0; column < structure.in; ++column) {
        const auto value = static_cast<double>(weights[row * structure.in + column]);
        row_norms[row] += value * value;
      }
      if (!std::isfinite(row_norms[row])) finite = false;  // a sum of squares of floats does not overflow
    }
  });
  if (!finite) return fail(not_finite(weights, structure, 0));
  const double squared_norm = std::accumulate(row_norms.begin(), row_norms.end(), 0.0);
  return Projection{{structure, std::move(weights), {}}, {.squared_norm = squared_norm}};
}

}  // namespace

Result<Projection> project(std::span<const float> weights, const Structure& structure) {
  ensure(weights.size() == structure.dense_parameters(), "project: as many weights as the shape says");
  if (structure.kind == Structure::Kind::dense) return keep({weights.begin(), weights.end()}, structure);
  if (structure.kind == Structure::Kind::gather) {
    const auto read = [&](std::uint32_t first, std::uint32_t count, std::span<float> rows) {
      const std::size_t in = structure.in;
      std::copy_n(weights.begin() + static_cast<std::ptrdiff_t>(first * in), count * in, rows.begin());
    };
    return project_gathered(read, structure);
  }
  Projector projector(structure);
  if (!projector.run(weights, 0, structure.l)) return fail(not_finite(weights, structure, 0));
  return std::move(projector).result();
}

Result<Projection> project(const ReadRows& read, const Structure& structure) {
  if (structure.kind == Structure::Kind::gather) return project_gathered(read, structure);
  if (structure.kind == Structure::Kind::dense) {
    std::vector<float> weights(structure.dense_parameters());
    read(0, structure.out, weights);
    return keep(std::move(weights), structure);
  }
  Projector projector(structure);
  const std::size_t together = projector.output_blocks_at_a_time();
  std::vector<float> weights;
  for (std::size_t block = 0; block < structure.l; block += together) {
    const std::size_t count = std::min(together, structure.l - block);
    const auto first = static_cast<std::uint32_t>(std::min<std::size_t>(block * structure.out_block, structure.out));
    const auto last =
        static_cast<std::uint32_t>(std::min<std::size_t>((block + count) * structure.out_block, structure.out));
    weights.resize(std::size_t{last - first} * structure.in);
    read(first, last - first, weights);
    if (!projector.run(weights, block, count)) return fail(not_finite(weights, structure, first));
  }
  return std::move(projector).result();
}

namespace {

/// Calls visit(block, first weight) for every block of a stage.
template <typename Visit>
void for_each_block(const Structure& structure, std::uint32_t stage, std::span<const float> weights,
                    const Visit& visit) {
  std::size_t first = 0;
  for (std::uint32_t number = 0; number < structure.block_count(stage); ++number) {
    const Block block = structure.block(stage, number);
    const std::size_t size = std::size_t{block.in_count} * block.out_count;
    visit(block, weights.subspan(first, size));
    first += size;
  }
}

/// The product of one stage; inputs beyond x.size() are zero.
std::vector<double> apply_stage(const Structure& structure, std::uint32_t stage, std::span<const float> weights,
                                std::span<const double> x) {
  std::vector<double> y(structure.stage_outputs(stage));
  for_each_block(structure, stage, weights, [&](const Block& block, std::span<const float> part) {
    for (std::uint32_t b = 0; b < block.out_count; ++b) {
      double sum = 0;
      for (std::uint32_t a = 0; a < block.in_count && block.in_first + a < x.size(); ++a)
        sum += static_cast<double>(part[std::size_t{b} * block.in_count + a]) * x[block.in_first + a];
      y[block.out_first + b * block.out_step] += sum;
    }
  });
  return y;
}

}  // namespace

void apply(const Factors& factors, std::span<const float> x, std::span<float> y) {
  const Structure& structure = factors.structure;
  ensure(x.size() == structure.in && y.size() == structure.out, "apply: vectors of the operator's size");
  std::vector<double> values(x.begin(), x.end());
  if (structure.kind == Structure::Kind::gather) {
    std::vector<double> gathered(structure.stage_inputs(0));
    gather_inputs<double>(structure, values, gathered);
    values = std::move(gathered);
  }
  values = apply_stage(structure, 0, factors.right, values);
  if (structure.stages() == 2) values = apply_stage(structure, 1, factors.left, values);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(values[i]);
}

std::vector<float> reconstruct(const Factors& factors) {
  const Structure& structure = factors.structure;
  if (structure.kind == Structure::Kind::dense) return factors.right;
  std::vector<float> dense(structure.dense_parameters());
  if (structure.kind == Structure::Kind::gather) {
    const std::span<const std::uint32_t> selection = structure.selection.numbers();
    for_each_block(structure, 0, factors.right, [&](const Block& block, std::span<const float> part) {
      for (std::size_t b = 0; b < block.out_count; ++b) {
        for (std::size_t a = 0; a < block.in_count; ++a)
          dense[(block.out_first + b) * structure.in + selection[block.in_first + a]] = part[b * block.in_count + a];
      }
    });
    return dense;
  }
  std::vector<double> row(structure.in_block);
  const std::size_t terms = std::size_t{structure.k} * structure.r;
  for (std::size_t i = 0; i < structure.l; ++i) {
    for (std::size_t a = 0; a < structure.out_block && i * structure.out_block + a < structure.out; ++a) {
      const float* const left = factors.left.data() + (i * structure.out_block + a) * terms;
      for (std::uint32_t j = 0; j < structure.k; ++j) {
        const std::size_t first = std::size_t{j} * structure.in_block;
        if (first >= structure.in) break;
        const std::size_t columns = structure.block(0, j).in_count;
        const float* right = factors.right.data() + first * structure.l * structure.r + i * structure.r * columns;
        std::fill(row.begin(), row.end(), 0.0);
        for (std::size_t m = 0; m < structure.r; ++m, right += columns)
          for (std::size_t c = 0; c < columns; ++c)
            row[c] += static_cast<double>(left[m * structure.k + j]) * static_cast<double>(right[c]);
        float* const to = dense.data() + (i * structure.out_block + a) * structure.in + first;
        for (std::size_t c = 0; c < columns && first + c < structure.in; ++c) to[c] = static_cast<float>(row[c]);
      }
    }
  }
  return dense;
}

namespace {

/// Begins the step and ends it on every way out.
class ProgressStep {
 public:
  ProgressStep(Progress& progress, std::uint64_t total) : progress_(progress) { progress_.begin("project", total); }
  ~ProgressStep() { progress_.end(); }
  ProgressStep(const ProgressStep&) = delete;
  ProgressStep& operator=(const ProgressStep&) = delete;

 private:
  Progress& progress_;
};

/// What one operator is projected with; progress counts its rows.
using ProjectOperator =
    std::function<Result<Projection>(std::size_t number, const std::function<void(std::uint32_t)>&)>;

Result<std::vector<LayerReport>> project_all(
    const model::Model& model, const std::function<bool(std::string_view)>& selected,
    const ProjectOperator& project_one, const std::function<Result<void>(std::string_view, const Projection&)>& sink,
    Progress& progress) {
  std::uint64_t total = 0;
  for (const model::LinearOperator& operation : model.linear) {
    if (!selected(operation.name)) continue;
    if (!operation.weight)
      return fail(Error("factor.no-weights", Failure::unsupported,
                        fmt::format("'{}' has no weights: the model is a shape", operation.name))
                      .with_hint("give a .gguf, .safetensors or .onnx file or a Hugging Face folder"));
    total += std::uint64_t{operation.out} * operation.in;
  }

  std::vector<LayerReport> reports;
  std::uint64_t done = 0;
  const ProgressStep step(progress, total);
  for (std::size_t n = 0; n < model.linear.size(); ++n) {
    const model::LinearOperator& operation = model.linear[n];
    if (!selected(operation.name)) continue;
    const auto rows_done = [&](std::uint32_t rows) { progress.update(done + std::uint64_t{rows} * operation.in); };
    Result<Projection> projection = project_one(n, rows_done);
    if (!projection) {
      Error error = std::move(projection).error();
      error.message = fmt::format("{}: {}", operation.name, error.message);
      if (error.where.file.empty() && operation.weight->tensor.file)
        error.where.file = operation.weight->tensor.file->name();
      return fail(std::move(error));
    }
    const double relative = projection->error.relative;
    const double squared_norm = projection->error.squared_norm;
    reports.push_back({operation.name, projection->factors.structure, relative, squared_norm,
                       relative * relative * squared_norm, projection->error.output});
    DANAUS_CHECK(sink(operation.name, *projection));
    done += std::uint64_t{operation.out} * operation.in;
    progress.update(done);
  }
  return reports;
}

}  // namespace

Result<std::vector<LayerReport>> project_model(
    const model::Model& model, const std::vector<Structure>& structures,
    const std::function<bool(std::string_view)>& selected,
    const std::function<Result<void>(std::string_view, const Projection&)>& sink, Progress& progress) {
  ensure(structures.size() == model.linear.size(), "project_model: one structure per linear operator");
  const auto project_one = [&](std::size_t number, const std::function<void(std::uint32_t)>& rows_done) {
    const auto read = [&](std::uint32_t first, std::uint32_t count, std::span<float> weights) {
      rows_done(first);
      model::read_weights(model.linear[number], first, count, weights);
    };
    return project(read, structures[number]);
  };
  return project_all(model, selected, project_one, sink, progress);
}

Result<std::vector<LayerReport>> project_model(
    const model::Model& model, const std::vector<Structure>& structures, const MomentSet& moments,
    const ActivationOptions& options, const std::function<bool(std::string_view)>& selected,
    const std::function<Result<void>(std::string_view, const Projection&)>& sink, Progress& progress) {
  ensure(structures.size() == model.linear.size(), "project_model: one structure per linear operator");
  if (!moments.finished())
    return fail(Error("moments.unfinished", Failure::usage,
                      fmt::format("the calibration has seen {} of {} texts", moments.done, moments.texts))
                    .with_hint("let it go on: danaus calibrate ... --resume"));
  if (moments.model_digest != model.digest)
    return fail(
        Error("moments.model", Failure::bad_input,
              fmt::format("the calibration is of another model, '{}', or of another file of it", moments.model))
            .with_hint("calibrate this one: danaus calibrate MODEL --text FILE -o FILE, or give the text itself "
                       "to --calibrate"));
  std::optional<Metric> metric;  // operators that read one value are neighbours
  const InputMoments* of = nullptr;
  const auto project_one = [&](std::size_t number, const std::function<void(std::uint32_t)>&) -> Result<Projection> {
    const model::LinearOperator& operation = model.linear[number];
    const InputMoments* const input = moments.find(operation.name);
    if (input == nullptr || input->in != operation.in)
      return fail(Error("moments.operator", Failure::bad_input,
                        input == nullptr
                            ? fmt::format("the calibration of '{}' has not seen this operator", moments.model)
                            : fmt::format("{} inputs were calibrated, the operator has {}", input->in, operation.in))
                      .with_hint("calibrate this model: danaus calibrate MODEL --text FILE -o FILE"));
    if (input != of) metric.emplace(*input, options.damping);
    of = input;
    return project(model::read_weights(operation), structures[number], *metric, options);
  };
  return project_all(model, selected, project_one, sink, progress);
}

}  // namespace danaus::factor
