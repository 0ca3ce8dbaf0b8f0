// H of the remaining inputs is never formed: H = H_0 - B^T B, where B has one row per eliminated direction. A step
// fetches the columns of a few candidates, eliminates the best of them one by one inside their own small matrix S, and
// adds the result to B:
//   S = H[D,D] = T T^T,  B_new = T^-1 H[D,:],  Y = W[:,D] T^-T,  W -= Y B_new,  cost += ||Y||^2.
// That takes a third of the multiplications of updating H, and H_0 is shared by all groups. Rows and columns of inputs
// that are gone are dropped from time to time.

#include "danaus/factor/eliminate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "danaus/core/internal_error.h"
#include "danaus/factor/algebra.h"

namespace danaus::factor {
namespace {

/// The elimination of one group. Inputs still there are numbered anew, `alive_` has their old numbers.
class Group {
 public:
  Group(std::span<const float> weights, std::size_t rows, std::span<const float> inverse, std::size_t in,
        std::size_t keep)
      : rows_(rows), in_(in), keep_(keep), width_(in), inverse_(inverse), weights_(weights.begin(), weights.end()) {
    alive_.resize(in);
    std::iota(alive_.begin(), alive_.end(), 0u);
    is_gone_.assign(in, 0);
    diagonal_.resize(in);
    for (std::size_t j = 0; j < in; ++j) diagonal_[j] = inverse[j * in + j];
    directions_.resize((in - keep) * in);
    left_ = in;
  }

  bool done() const { return left_ == keep_; }

  /// Eliminates up to `candidates` inputs.
  void step(std::size_t candidates) {
    choose(std::min(candidates, left_ - keep_));
    fetch();
    eliminate_candidates();
    if (left_ < width_ - width_ / 8) compact();
  }

  Elimination result() && {
    compact();
    return {std::move(alive_), std::move(weights_), cost_};
  }

 private:
  /// The `count` inputs with the smallest scores, in the order of their numbers.
  void choose(std::size_t count) {
    scores_.assign(width_, 0.0f);
    for (std::size_t row = 0; row < rows_; ++row) {
      const float* const w = weights_.data() + row * width_;
      for (std::size_t j = 0; j < width_; ++j) scores_[j] += w[j] * w[j];
    }
    candidates_.clear();
    for (std::size_t j = 0; j < width_; ++j) {
      scores_[j] /= diagonal_[j];
      if (is_gone_[j] == 0) candidates_.push_back(static_cast<std::uint32_t>(j));
    }
    if (count < candidates_.size()) {
      const auto border = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
      std::nth_element(candidates_.begin(), border, candidates_.end(), [&](std::uint32_t a, std::uint32_t b) {
        return scores_[a] != scores_[b] ? scores_[a] < scores_[b] : a < b;
      });
      next_score_ = scores_[*border];
      candidates_.erase(border, candidates_.end());
    } else {
      next_score_ = INFINITY;
    }
    std::sort(candidates_.begin(), candidates_.end());
  }

  /// columns_ {candidates, width}: rows of H.
  void fetch() {
    const std::size_t count = candidates_.size();
    columns_.resize(count * width_);
    for (std::size_t c = 0; c < count; ++c) {
      const float* const row = inverse_.data() + alive_[candidates_[c]] * in_;
      float* const to = columns_.data() + c * width_;
      for (std::size_t j = 0; j < width_; ++j) to[j] = row[alive_[j]];
    }
    if (direction_count_ == 0) return;
    picked_.resize(direction_count_ * count);
    for (std::size_t n = 0; n < direction_count_; ++n) {
      for (std::size_t c = 0; c < count; ++c) picked_[n * count + c] = directions_[n * width_ + candidates_[c]];
    }
    multiply(Transpose::yes, Transpose::no, count, width_, direction_count_, -1.0f, {picked_.data(), count},
             {directions_.data(), width_}, 1.0f, {columns_.data(), width_});
  }

  /// One after the other, the cheapest first, as long as it is cheaper than what is no candidate; at least half of
  /// them.
  void eliminate_candidates() {
    const std::size_t count = candidates_.size();
    small_.resize(count * count);
    own_.resize(rows_ * count);
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = 0; b < count; ++b) small_[a * count + b] = double{columns_[a * width_ + candidates_[b]]};
      for (std::size_t row = 0; row < rows_; ++row)
        own_[row * count + a] = double{weights_[row * width_ + candidates_[a]]};
    }
    std::vector<std::uint8_t> used(count, 0);
    const std::size_t least = (count + 1) / 2;
    std::vector<float> updates;  // rows_ x eliminated, as columns
    const std::size_t first = direction_count_;
    while (direction_count_ - first < count) {
      std::size_t best = count;
      double best_score = 0;
      for (std::size_t a = 0; a < count; ++a) {
        if (used[a] != 0) continue;
        double score = 0;
        for (std::size_t row = 0; row < rows_; ++row) score += own_[row * count + a] * own_[row * count + a];
        score /= small_[a * count + a];
        if (best == count || score < best_score) {
          best = a;
          best_score = score;
        }
      }
      if (direction_count_ - first >= least && best_score > double{next_score_}) break;
      used[best] = 1;
      cost_ += best_score;
      append_direction(best, count, first, used, updates);
    }
    // The rows of W that these directions change, all at once.
    const std::size_t eliminated = direction_count_ - first;
    multiply(Transpose::yes, Transpose::no, rows_, width_, eliminated, -1.0f, {updates.data(), rows_},
             {directions_.data() + first * width_, width_}, 1.0f, {weights_.data(), width_});
    for (std::size_t a = 0; a < count; ++a) {
      if (used[a] == 0) continue;
      const std::uint32_t j = candidates_[a];
      is_gone_[j] = 1;
      diagonal_[j] = 1;
      for (std::size_t row = 0; row < rows_; ++row) weights_[row * width_ + j] = 0;
    }
    left_ -= eliminated;
  }

  /// The direction of candidate `best`: its row of H, without what the directions of this step have taken already, over
  /// the root of its diagonal element. Brings small_, own_ and the diagonal up to date.
  void append_direction(std::size_t best, std::size_t count, std::size_t first, const std::vector<std::uint8_t>& used,
                        std::vector<float>& updates) {
    const double pivot = small_[best * count + best];
    const double root = std::sqrt(pivot);
    const std::uint32_t j = candidates_[best];
    float* const row = directions_.data() + direction_count_ * width_;
    std::copy_n(columns_.data() + best * width_, width_, row);
    for (std::size_t n = first; n < direction_count_; ++n) {
      const float* const earlier = directions_.data() + n * width_;
      const float factor = earlier[j];
      for (std::size_t e = 0; e < width_; ++e) row[e] -= factor * earlier[e];
    }
    const auto scale = static_cast<float>(1 / root);
    for (std::size_t e = 0; e < width_; ++e) {
      row[e] *= scale;
      diagonal_[e] -= row[e] * row[e];
    }
    for (std::size_t i = 0; i < rows_; ++i) {
      const double own = own_[i * count + best] / root;
      updates.push_back(static_cast<float>(own));
      for (std::size_t a = 0; a < count; ++a) own_[i * count + a] -= own * small_[best * count + a] / root;
    }
    const std::vector<double> pivot_row(small_.begin() + static_cast<std::ptrdiff_t>(best * count),
                                        small_.begin() + static_cast<std::ptrdiff_t>((best + 1) * count));
    for (std::size_t a = 0; a < count; ++a) {
      if (used[a] != 0) continue;
      for (std::size_t b = 0; b < count; ++b) small_[a * count + b] -= pivot_row[a] * pivot_row[b] / pivot;
    }
    ++direction_count_;
  }

  /// Drops what is gone.
  void compact() {
    std::vector<std::uint32_t> places;
    for (std::size_t j = 0; j < width_; ++j) {
      if (is_gone_[j] == 0) places.push_back(static_cast<std::uint32_t>(j));
    }
    const std::size_t width = places.size();
    const auto squeeze = [&](std::vector<float>& values, std::size_t count) {
      for (std::size_t row = 0; row < count; ++row) {
        for (std::size_t j = 0; j < width; ++j) values[row * width + j] = values[row * width_ + places[j]];
      }
    };
    squeeze(weights_, rows_);
    weights_.resize(rows_ * width);
    squeeze(directions_, direction_count_);
    squeeze(diagonal_, 1);
    for (std::size_t j = 0; j < width; ++j) alive_[j] = alive_[places[j]];
    alive_.resize(width);
    is_gone_.assign(width, 0);
    width_ = width;
  }

  std::size_t rows_, in_, keep_, left_ = 0;
  std::size_t width_;  ///< inputs that have a column: those left and those gone since the last compaction
  std::span<const float> inverse_;
  std::vector<float> weights_;     ///< {rows, width}
  std::vector<float> directions_;  ///< B: {direction_count, width}
  std::size_t direction_count_ = 0;
  std::vector<float> diagonal_;  ///< of H
  std::vector<std::uint32_t> alive_;
  std::vector<std::uint8_t> is_gone_;
  double cost_ = 0;
  std::vector<std::uint32_t> candidates_;
  float next_score_ = 0;  ///< the smallest of what is no candidate
  std::vector<float> scores_, columns_, picked_;
  std::vector<double> small_, own_;
};

}  // namespace

Elimination eliminate(std::span<const float> weights, std::size_t rows, std::span<const float> inverse, std::size_t in,
                      std::size_t keep, std::size_t step) {
  ensure(keep >= 1 && keep <= in && step >= 1, "eliminate: some inputs stay");
  ensure(weights.size() == rows * in && inverse.size() == in * in, "eliminate: matrices of their sizes");
  Group group(weights, rows, inverse, in, keep);
  while (!group.done()) group.step(step);
  return std::move(group).result();
}

}  // namespace danaus::factor
