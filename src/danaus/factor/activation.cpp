// min ||(W - M) C^(1/2)||_F. Everything is computed in the units of the metric, in single precision; what is inverted
// (Cholesky factors of C_jj, normal equations) in double precision.
//
// Blocks: outputs of different groups i are independent, M_i = sum over chunks j of U_ij V_ij. The start is the
// projection of W times the Cholesky factors of all C_jj. One sweep of a group, with T = V C (rows of all chunks):
//   V, chunk after chunk, with G = U^T U:  V_j = G_jj^-1 (U_j^T W C - sum over j' != j of G_jj' T_j') [columns j]
//   C_jj^-1, whereafter only the rows T_j = V_j C_j change; U = B A^-1 with A = T V^T, B = W C V^T; then the error is
//   tr(W C W^T) - tr(U B^T).
// A few groups share the products with C.

#include "danaus/factor/activation.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/factor/algebra.h"
#include "danaus/factor/eliminate.h"
#include "danaus/factor/gather.h"

namespace danaus::factor {
namespace {

constexpr double kRidge = 1e-6;         // of normal equations, relative to each diagonal element
constexpr std::size_t kBatchRows = 32;  // rows of a product with C
constexpr double kMostDamping = 0.3;    // far beyond what rounding needs

double dot(const float* a, const float* b, std::size_t n) {
  double lanes[8] = {};
  std::size_t e = 0;
  for (; e + 8 <= n; e += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) lanes[lane] += double{a[e + lane]} * double{b[e + lane]};
  }
  for (; e < n; ++e) lanes[e % 8] += double{a[e]} * double{b[e]};
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// x {rows, n} = x A^-1 for a positive semidefinite A {n, n}, in double precision; every diagonal element a little
/// larger. False if it is not nearly that.
[[nodiscard]] bool solve_rows(std::size_t rows, std::size_t n, std::span<const float> a, float* x, std::size_t stride) {
  std::vector<double> scale(n), matrix(n * n), right(rows * n);
  for (std::size_t i = 0; i < n; ++i) {
    const double own = double{a[i * n + i]};
    scale[i] = own > 0 ? 1 / std::sqrt(own) : 1;
  }
  for (double ridge = kRidge;; ridge *= 10) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        const double mean = (double{a[i * n + j]} + double{a[j * n + i]}) / 2;
        matrix[i * n + j] = matrix[j * n + i] = mean * scale[i] * scale[j];
      }
      matrix[i * n + i] = 1 + ridge;
    }
    if (cholesky(n, matrix.data())) break;
    if (!(ridge < 1)) return false;
  }
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < n; ++i) right[row * n + i] = double{x[row * stride + i]} * scale[i];
  }
  divide_rows(Transpose::yes, rows, n, {matrix.data(), n}, {right.data(), n});
  divide_rows(Transpose::no, rows, n, {matrix.data(), n}, {right.data(), n});
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < n; ++i) x[row * stride + i] = static_cast<float>(right[row * n + i] * scale[i]);
  }
  return true;
}

/// Why a matrix of moments could not be factored, when the whole one is looked at: rounded to single precision, moments
/// of vectors may be those of none, which more damping mends; what takes more than kMostDamping was never of vectors.
Error impossible_moments(const Metric& metric) {
  const std::size_t in = metric.in();
  std::vector<double> matrix(in * in);
  for (double damping = metric.damping() * 10; damping <= kMostDamping; damping *= 10) {
    const double factor = (1 - damping) / (1 - metric.damping());
    for (std::size_t e = 0; e < matrix.size(); ++e)
      matrix[e] = double{metric.correlation()[e]} * (e % (in + 1) == 0 ? 1 : factor);
    if (!cholesky(in, matrix.data())) continue;
    return Error("moments.damping", Failure::usage,
                 fmt::format("a damping of {:g} is too small: as they are rounded, no vectors have these moments",
                             metric.damping()))
        .with_hint(fmt::format("try --damping {:g} (the default is {:g})", damping, ActivationOptions().damping));
  }
  return Error("moments.value", Failure::bad_input, "the moments of its inputs are none: no vectors have them")
      .with_hint("the calibration is damaged: write it anew with `danaus calibrate`");
}

/// The blocks of one operator.
class BlockFit {
 public:
  BlockFit(const Structure& structure, const Metric& metric, std::span<const float> scaled,
           const ActivationOptions& options)
      : structure_(structure),
        metric_(metric),
        options_(options),
        scaled_(scaled),
        in_(structure.in),
        width_(structure.in_block),
        height_(structure.out_block),
        rank_(structure.r),
        chunks_((structure.in + structure.in_block - 1) / structure.in_block),
        groups_((structure.out + structure.out_block - 1) / structure.out_block),
        terms_(chunks_ * rank_) {}

  /// U of all groups {group, rows, (chunk, rank)} and V {group, (chunk, rank), width}, in the units of the metric.
  Result<Factors> run() {
    factor_chunks();
    if (!possible_) return fail(impossible_moments(metric_));
    DANAUS_TRY(start, project(whitened(), structure_));
    take_start(start.factors);
    if (chunks_ > 1) {
      products_ = product(structure_.out, in_, in_, scaled_.data(), metric_.correlation().data());
      const std::size_t together = std::clamp<std::size_t>(kBatchRows / rank_, 1, groups_);
      sweeps_.assign((groups_ + together - 1) / together, 0);
      parallel_for(sweeps_.size(), 1, [&](std::size_t from, std::size_t to) {
        for (std::size_t n = from; n < to; ++n)
          sweeps_[n] = alternate(n * together, std::min(groups_, (n + 1) * together));
      });
    }
    if (!possible_) return fail(impossible_moments(metric_));
    return factors();
  }

  std::uint32_t sweeps() const { return sweeps_.empty() ? 0 : *std::max_element(sweeps_.begin(), sweeps_.end()); }

 private:
  std::size_t first_column(std::size_t chunk) const { return chunk * width_; }
  std::size_t columns(std::size_t chunk) const { return std::min(width_, in_ - first_column(chunk)); }
  std::size_t rows(std::size_t group) const { return std::min<std::size_t>(height_, structure_.out - group * height_); }
  float* u(std::size_t group) { return u_.data() + group * height_ * terms_; }
  float* v(std::size_t group) { return v_.data() + group * terms_ * width_; }

  /// Cholesky factors of C_jj, one after the other, and the inverses that sweeps need.
  void factor_chunks() {
    lower_.resize(chunks_ * width_ * width_);
    if (chunks_ > 1) inverse_.resize(lower_.size());
    parallel_for(chunks_, 1, [&](std::size_t from, std::size_t to) {
      std::vector<double> matrix;
      for (std::size_t chunk = from; chunk < to; ++chunk) {
        const std::size_t n = columns(chunk), first = first_column(chunk);
        matrix.resize(n * n);
        for (std::size_t i = 0; i < n; ++i) {
          for (std::size_t j = 0; j < n; ++j)
            matrix[i * n + j] = double{metric_.correlation()[(first + i) * in_ + first + j]};
        }
        const auto place = static_cast<std::ptrdiff_t>(chunk * width_ * width_);
        if (chunks_ > 1) {
          std::vector<double> inverse = matrix;
          if (!invert(n, inverse.data())) possible_ = false;
          std::copy_n(inverse.begin(), n * n, inverse_.begin() + place);
        }
        if (!cholesky(n, matrix.data())) possible_ = false;
        std::copy_n(matrix.begin(), n * n, lower_.begin() + place);
      }
    });
  }

  /// W with the columns of every chunk times its Cholesky factor.
  std::vector<float> whitened() const {
    std::vector<float> result(scaled_.size());
    parallel_for(chunks_, 1, [&](std::size_t from, std::size_t to) {
      for (std::size_t chunk = from; chunk < to; ++chunk) {
        const std::size_t n = columns(chunk), first = first_column(chunk);
        const std::vector<float> lower = lower_of(chunk);
        multiply(Transpose::no, Transpose::no, structure_.out, n, n, 1.0f, {scaled_.data() + first, in_},
                 {lower.data(), n}, 0.0f, {result.data() + first, in_});
      }
    });
    return result;
  }

  std::vector<float> lower_of(std::size_t chunk) const {
    const std::size_t n = columns(chunk);
    const auto begin = lower_.begin() + static_cast<std::ptrdiff_t>(chunk * width_ * width_);
    return {begin, begin + static_cast<std::ptrdiff_t>(n * n)};
  }

  /// From the layout of factors, and V out of the whitened units.
  void take_start(const Factors& start) {
    u_.assign(groups_ * height_ * terms_, 0.0f);
    v_.assign(groups_ * terms_ * width_, 0.0f);
    const std::size_t left_stride = std::size_t{structure_.k} * rank_;
    for (std::size_t group = 0; group < groups_; ++group) {
      for (std::size_t row = 0; row < rows(group); ++row) {
        const float* const from = start.left.data() + (group * height_ + row) * left_stride;
        for (std::size_t chunk = 0; chunk < chunks_; ++chunk) {
          for (std::size_t m = 0; m < rank_; ++m)
            u(group)[row * terms_ + chunk * rank_ + m] = from[m * structure_.k + chunk];
        }
      }
    }
    parallel_for(chunks_, 1, [&](std::size_t from, std::size_t to) {
      for (std::size_t chunk = from; chunk < to; ++chunk) {
        const std::size_t n = columns(chunk);
        const std::size_t stored = structure_.block(0, static_cast<std::uint32_t>(chunk)).in_count;
        const float* const right = start.right.data() + width_ * chunk * structure_.l * rank_;
        const std::span<const double> lower(lower_.data() + chunk * width_ * width_, n * n);
        std::vector<double> part(groups_ * rank_ * n);
        for (std::size_t row = 0; row < groups_ * rank_; ++row)
          for (std::size_t c = 0; c < n; ++c) part[row * n + c] = double{right[row * stored + c]};
        divide_rows(Transpose::no, groups_ * rank_, n, {lower.data(), n}, {part.data(), n});
        for (std::size_t group = 0; group < groups_; ++group) {
          for (std::size_t m = 0; m < rank_; ++m)
            for (std::size_t c = 0; c < n; ++c)
              v(group)[(chunk * rank_ + m) * width_ + c] = static_cast<float>(part[(group * rank_ + m) * n + c]);
        }
      }
    });
  }

  /// Sweeps over groups [first, last) until they do not get better; how many there were.
  std::uint32_t alternate(std::size_t first, std::size_t last) {
    Batch batch{first, last, std::vector<float>((last - first) * terms_ * in_), {}, {}};
    for (std::size_t chunk = 0; chunk < chunks_; ++chunk) update_products(batch, chunk);
    double error = 0;
    for (std::size_t group = first; group < last; ++group) error += fit_left(batch, group);
    for (std::uint32_t sweep = 1; sweep <= options_.most_sweeps; ++sweep) {
      fit_right(batch);
      double next = 0;
      for (std::size_t group = first; group < last; ++group) next += fit_left(batch, group);
      if (!(error - next > options_.tolerance * error)) return sweep;
      error = next;
    }
    return options_.most_sweeps;
  }

  struct Batch {
    std::size_t first, last;
    std::vector<float> t;                ///< {group, terms, in}: V C
    std::vector<float> stacked, result;  ///< of one chunk, all groups
    float* at(std::size_t group, std::size_t terms, std::size_t in) { return t.data() + (group - first) * terms * in; }
  };

  /// The rows of T that belong to a chunk.
  void update_products(Batch& batch, std::size_t chunk) {
    const std::size_t n = columns(chunk), count = (batch.last - batch.first) * rank_;
    batch.stacked.resize(count * n);
    batch.result.resize(count * in_);
    for (std::size_t group = batch.first; group < batch.last; ++group) {
      for (std::size_t m = 0; m < rank_; ++m)
        std::copy_n(v(group) + (chunk * rank_ + m) * width_, n,
                    batch.stacked.data() + ((group - batch.first) * rank_ + m) * n);
    }
    multiply(Transpose::no, Transpose::no, count, in_, n, 1.0f, {batch.stacked.data(), n},
             {metric_.correlation().data() + first_column(chunk) * in_, in_}, 0.0f, {batch.result.data(), in_});
    for (std::size_t group = batch.first; group < batch.last; ++group)
      std::copy_n(batch.result.data() + (group - batch.first) * rank_ * in_, rank_ * in_,
                  batch.at(group, terms_, in_) + chunk * rank_ * in_);
  }

  /// U of a group; returns the squared error.
  double fit_left(Batch& batch, std::size_t group) {
    const std::size_t count = rows(group);
    const float* const t = batch.at(group, terms_, in_);
    const float* const wc = products_.data() + group * height_ * in_;
    std::vector<float> gram(terms_ * terms_), right(count * terms_);
    for (std::size_t chunk = 0; chunk < chunks_; ++chunk) {
      const std::size_t n = columns(chunk), first = first_column(chunk);
      const View<const float> own{v(group) + chunk * rank_ * width_, width_};
      multiply(Transpose::no, Transpose::yes, terms_, rank_, n, 1.0f, {t + first, in_}, own, 0.0f,
               {gram.data() + chunk * rank_, terms_});
      multiply(Transpose::no, Transpose::yes, count, rank_, n, 1.0f, {wc + first, in_}, own, 0.0f,
               {right.data() + chunk * rank_, terms_});
    }
    std::copy(right.begin(), right.end(), u(group));
    if (!solve_rows(count, terms_, gram, u(group), terms_)) possible_ = false;
    return dot(wc, scaled_.data() + group * height_ * in_, count * in_) - dot(u(group), right.data(), right.size());
  }

  /// V of all groups of the batch, chunk after chunk.
  void fit_right(Batch& batch) {
    const std::size_t groups = batch.last - batch.first;
    std::vector<float> grams(groups * terms_ * terms_);
    for (std::size_t n = 0; n < groups; ++n) {
      const View<const float> left{u(batch.first + n), terms_};
      multiply(Transpose::yes, Transpose::no, terms_, terms_, rows(batch.first + n), 1.0f, left, left, 0.0f,
               {grams.data() + n * terms_ * terms_, terms_});
    }
    std::vector<float> stacked, own(rank_ * rank_), turned, right, result;
    for (std::size_t chunk = 0; chunk < chunks_; ++chunk) {
      const std::size_t n = columns(chunk), first = first_column(chunk), term = chunk * rank_;
      right.resize(groups * rank_ * n);
      stacked.resize(rank_ * n);
      for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t group = batch.first + g;
        const float* const gram = grams.data() + g * terms_ * terms_;
        const float* const t = batch.at(group, terms_, in_);
        multiply(Transpose::yes, Transpose::no, rank_, n, rows(group), 1.0f, {u(group) + term, terms_},
                 {products_.data() + group * height_ * in_ + first, in_}, 0.0f, {stacked.data(), n});
        const auto subtract = [&](std::size_t begin, std::size_t end) {
          if (begin == end) return;
          multiply(Transpose::no, Transpose::no, rank_, n, end - begin, -1.0f, {gram + term * terms_ + begin, terms_},
                   {t + begin * in_ + first, in_}, 1.0f, {stacked.data(), n});
        };
        subtract(0, term);
        subtract(term + rank_, terms_);
        for (std::size_t a = 0; a < rank_; ++a)
          for (std::size_t b = 0; b < rank_; ++b) own[a * rank_ + b] = gram[(term + a) * terms_ + term + b];
        turned.resize(n * rank_);
        for (std::size_t m = 0; m < rank_; ++m)
          for (std::size_t c = 0; c < n; ++c) turned[c * rank_ + m] = stacked[m * n + c];
        if (!solve_rows(n, rank_, own, turned.data(), rank_)) possible_ = false;
        for (std::size_t m = 0; m < rank_; ++m)
          for (std::size_t c = 0; c < n; ++c) right[(g * rank_ + m) * n + c] = turned[c * rank_ + m];
      }
      result.resize(groups * rank_ * n);
      multiply(Transpose::no, Transpose::no, groups * rank_, n, n, 1.0f, {right.data(), n},
               {inverse_.data() + chunk * width_ * width_, n}, 0.0f, {result.data(), n});
      for (std::size_t row = 0; row < groups * rank_; ++row) {
        float* const to = v(batch.first + row / rank_) + (term + row % rank_) * width_;
        std::copy_n(result.data() + row * n, n, to);
      }
      update_products(batch, chunk);
    }
  }

  /// Out of the units of the metric, both sides of a term equally long, in the layout of factors.
  Factors factors() {
    Factors result;
    result.structure = structure_;
    result.right.resize(std::size_t{structure_.l} * rank_ * structure_.stage_inputs(0));
    result.left.resize(std::size_t{structure_.k} * rank_ * structure_.stage_outputs(1));
    const std::size_t left_stride = std::size_t{structure_.k} * rank_;
    parallel_for(groups_, 1, [&](std::size_t from, std::size_t to) {
      for (std::size_t group = from; group < to; ++group) {
        for (std::size_t chunk = 0; chunk < chunks_; ++chunk) {
          const std::size_t n = columns(chunk), first = first_column(chunk);
          const std::size_t stored = structure_.block(0, static_cast<std::uint32_t>(chunk)).in_count;
          for (std::size_t m = 0; m < rank_; ++m) {
            float* const right =
                result.right.data() + width_ * chunk * structure_.l * rank_ + (group * rank_ + m) * stored;
            const float* const from_right = v(group) + (chunk * rank_ + m) * width_;
            double left_norm = 0, right_norm = 0;
            for (std::size_t c = 0; c < n; ++c) {
              right[c] = from_right[c] / metric_.scale()[first + c];
              right_norm += double{right[c]} * double{right[c]};
            }
            const auto term = [&](std::size_t row) { return u(group)[row * terms_ + chunk * rank_ + m]; };
            for (std::size_t row = 0; row < rows(group); ++row) left_norm += double{term(row)} * double{term(row)};
            const bool is_term = left_norm > 0 && right_norm > 0;
            const auto balance = static_cast<float>(is_term ? std::pow(right_norm / left_norm, 0.25) : 0);
            for (std::size_t c = 0; c < n; ++c) right[c] = is_term ? right[c] / balance : 0;
            for (std::size_t row = 0; row < rows(group); ++row)
              result.left[(group * height_ + row) * left_stride + m * structure_.k + chunk] = term(row) * balance;
          }
        }
      }
    });
    return result;
  }

  const Structure& structure_;
  const Metric& metric_;
  const ActivationOptions& options_;
  std::span<const float> scaled_;  ///< W D
  std::size_t in_, width_, height_, rank_, chunks_, groups_, terms_;
  std::vector<double> lower_;
  std::vector<float> inverse_;
  std::vector<float> u_, v_;
  std::vector<float> products_;  ///< W D C
  std::vector<std::uint32_t> sweeps_;
  std::atomic<bool> possible_ = true;  ///< no matrix of moments has turned out to be none
};

/// Gathered blocks, each by elimination.
Factors eliminate_groups(const Structure& structure, const Metric& metric, std::span<const float> inverse,
                         std::span<const float> scaled, std::size_t candidates) {
  const std::size_t in = structure.in, kept = structure.in_block, height = structure.out_block;
  std::vector<std::uint32_t> selection(structure.stage_inputs(0));
  Factors factors;
  factors.right.resize(structure.parameters());
  parallel_for(structure.k, 1, [&](std::size_t from, std::size_t to) {
    for (std::size_t group = from; group < to; ++group) {
      const std::size_t row = group * height, rows = std::min<std::size_t>(height, structure.out - row);
      const Elimination left = eliminate(scaled.subspan(row * in, rows * in), rows, inverse, in, kept, candidates);
      std::copy(left.kept.begin(), left.kept.end(), selection.begin() + static_cast<std::ptrdiff_t>(group * kept));
      for (std::size_t n = 0; n < rows * kept; ++n)
        factors.right[row * kept + n] = left.weights[n] / metric.scale()[left.kept[n % kept]];
    }
  });
  factors.structure = structure;
  factors.structure.selection = IndexList(std::move(selection));
  return factors;
}

/// M as a dense matrix, on all threads; single precision.
std::vector<float> dense_of(const Factors& factors) {
  const Structure& structure = factors.structure;
  if (structure.kind != Structure::Kind::blocks) return reconstruct(factors);
  const std::size_t in = structure.in, rank = structure.r, height = structure.out_block;
  const std::size_t stride = std::size_t{structure.k} * rank;
  std::vector<float> dense(structure.dense_parameters());
  parallel_for((structure.out + height - 1) / height, 1, [&](std::size_t from, std::size_t to) {
    std::vector<float> left;
    for (std::size_t group = from; group < to; ++group) {
      const std::size_t row = group * height, rows = std::min<std::size_t>(height, structure.out - row);
      for (std::uint32_t chunk = 0; std::size_t{chunk} * structure.in_block < in; ++chunk) {
        const std::size_t first = std::size_t{chunk} * structure.in_block;
        const std::size_t stored = structure.block(0, chunk).in_count, n = std::min(stored, in - first);
        left.resize(rows * rank);
        for (std::size_t a = 0; a < rows; ++a)
          for (std::size_t m = 0; m < rank; ++m)
            left[a * rank + m] = factors.left[(row + a) * stride + m * structure.k + chunk];
        const float* const right = factors.right.data() + first * structure.l * rank + group * rank * stored;
        multiply(Transpose::no, Transpose::no, rows, n, rank, 1.0f, {left.data(), rank}, {right, stored}, 0.0f,
                 {dense.data() + row * in + first, in});
      }
    }
  });
  return dense;
}

/// Errors over all rows: of the weights, and of the outputs relative to `energy`.
struct Errors {
  double weights = 0;
  double output = 0;
};

Errors errors_of(std::span<const float> weights, const Factors& factors, const Metric& metric, double energy) {
  const std::size_t out = factors.structure.out, in = factors.structure.in;
  std::vector<float> rest = dense_of(factors);
  std::vector<double> row_errors(out);
  parallel_for(out, 16, [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
      float* const own = rest.data() + row * in;
      for (std::size_t j = 0; j < in; ++j) own[j] = weights[row * in + j] - own[j];
      row_errors[row] = dot(own, own, in);
      for (std::size_t j = 0; j < in; ++j) own[j] *= metric.scale()[j];
    }
  });
  const std::vector<double> energies = metric.row_energies(rest, out);
  const double lost = std::accumulate(energies.begin(), energies.end(), 0.0);
  return {std::accumulate(row_errors.begin(), row_errors.end(), 0.0), energy > 0 ? std::sqrt(lost / energy) : 0};
}

std::vector<float> scaled_weights(std::span<const float> weights, const Metric& metric) {
  std::vector<float> scaled(weights.size());
  const std::size_t in = metric.in();
  parallel_for(weights.size() / in, 64, [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row)
      for (std::size_t j = 0; j < in; ++j) scaled[row * in + j] = weights[row * in + j] * metric.scale()[j];
  });
  return scaled;
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

}  // namespace

Metric::Metric(const InputMoments& input, double damping) : damping_(damping) {
  ensure(damping > 0 && damping < 1, "Metric: the damping is between 0 and 1");
  ensure(input.moments.size() == triangle(input.in), "Metric: the moments are there");
  const std::size_t in = input.in;
  std::vector<double> diagonal(in);
  for (std::size_t j = 0; j < in; ++j) diagonal[j] = double{input.moments[triangle(j) + j]};
  std::vector<double> sorted = diagonal;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(in / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double least = *middle > 0 ? 1e-6 * *middle : 1e-12 * *std::max_element(diagonal.begin(), diagonal.end());
  scale_.resize(in);
  for (std::size_t j = 0; j < in; ++j)
    scale_[j] = static_cast<float>(std::sqrt(least > 0 ? std::max(diagonal[j], least) : 1.0));
  correlation_.resize(in * in);
  parallel_for(in, 32, [&](std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) {
      for (std::size_t j = 0; j < in; ++j) {
        const double moment = double{input.moments[triangle(std::max(i, j)) + std::min(i, j)]};
        const double correlation = moment / (double{scale_[i]} * double{scale_[j]});
        correlation_[i * in + j] = i == j ? 1.0f : static_cast<float>(correlation * (1 - damping));
      }
    }
  });
}

Result<std::span<const float>> Metric::inverse() {
  if (inverse_.empty()) {
    std::vector<double> matrix(correlation_.begin(), correlation_.end());
    if (!invert(in(), matrix.data())) return fail(impossible_moments(*this));
    inverse_.assign(matrix.begin(), matrix.end());
  }
  return inverse_;
}

std::vector<double> Metric::row_energies(std::span<const float> scaled, std::size_t rows) const {
  const std::vector<float> products = product(rows, in(), in(), scaled.data(), correlation_.data());
  std::vector<double> energies(rows);
  parallel_for(rows, 16, [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
      const float* const own = scaled.data() + row * in();
      const double damped = dot(products.data() + row * in(), own, in());
      energies[row] = std::max(0.0, (damped - damping_ * dot(own, own, in())) / (1 - damping_));
    }
  });
  return energies;
}

Result<Projection> project(std::span<const float> weights, const Structure& structure, Metric& metric,
                           const ActivationOptions& options) {
  ensure(weights.size() == structure.dense_parameters() && metric.in() == structure.in,
         "project: weights and moments of the operator's shape");
  DANAUS_TRY(plain, project(weights, structure));  // refuses weights that are not finite
  OutputError output;
  if (structure.kind == Structure::Kind::dense) {
    plain.error.output = output;
    return std::move(plain);
  }
  const std::vector<float> scaled = scaled_weights(weights, metric);
  const double energy = sum(metric.row_energies(scaled, structure.out));
  output.plain = errors_of(weights, plain.factors, metric, energy).output;
  Projection fitted;
  if (structure.kind == Structure::Kind::gather) {
    DANAUS_TRY(inverse, metric.inverse());
    fitted.factors = eliminate_groups(structure, metric, inverse, scaled, options.candidates);
  } else {
    BlockFit fit(structure, metric, scaled, options);
    DANAUS_TRY(factors, fit.run());
    fitted.factors = std::move(factors);
    output.sweeps = fit.sweeps();
  }
  const Errors errors = errors_of(weights, fitted.factors, metric, energy);
  output.fitted = errors.output;
  const double squared_norm = plain.error.squared_norm;
  fitted.error.relative = squared_norm > 0 ? std::sqrt(errors.weights / squared_norm) : 0;
  fitted.error.squared_norm = squared_norm;
  fitted.error.output = output;
  return fitted;
}

double relative_output_error(std::span<const float> weights, const Factors& factors, const Metric& metric) {
  const std::vector<float> scaled = scaled_weights(weights, metric);
  return errors_of(weights, factors, metric, sum(metric.row_energies(scaled, factors.structure.out))).output;
}

}  // namespace danaus::factor
