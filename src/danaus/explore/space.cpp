// Points of a study. A random sample draws without replacement by a Fisher-Yates shuffle of the product of which only
// the moved entries are kept. A Latin hypercube (McKay, Beckman and Conover, Technometrics 21, 1979) gives every axis
// its own permutation of the strata. All draws are functions of (seed, axis, counter).

#include "danaus/explore/space.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "danaus/core/internal_error.h"
#include "danaus/core/random.h"
#include "danaus/explore/options.h"

namespace danaus::explore {
namespace {

constexpr std::uint64_t kOrderStream = 0x6578706c6f726500;  // "explore"; axes draw from the streams after it

// A number below `count`; the modulus favours small ones by less than count / 2^64.
std::uint64_t below(std::uint64_t count, std::uint64_t bits) { return bits % count; }

std::vector<std::uint64_t> permutation(std::uint64_t count, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::uint64_t> order(count);
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  for (std::uint64_t n = 0; n + 1 < count; ++n)
    std::swap(order[n], order[n + below(count - n, random_bits(seed, stream, n))]);
  return order;
}

// `count` different numbers below `product`, in the order of the draws.
std::vector<std::uint64_t> draw(std::uint64_t product, std::uint64_t count, std::uint64_t seed) {
  std::unordered_map<std::uint64_t, std::uint64_t> moved;  // entries of the shuffled list not in their own place
  moved.reserve(count);
  const auto entry = [&](std::uint64_t place) {
    const auto found = moved.find(place);
    return found == moved.end() ? place : found->second;
  };
  std::vector<std::uint64_t> drawn;
  for (std::uint64_t n = 0; n < count; ++n) {
    const std::uint64_t other = n + below(product - n, random_bits(seed, kOrderStream, n));
    drawn.push_back(entry(other));
    moved[other] = entry(n);
  }
  return drawn;
}

Value between(const Axis& axis, double part) {
  const double number =
      axis.logarithmic ? axis.from * std::pow(axis.to / axis.from, part) : axis.from + part * (axis.to - axis.from);
  if (!is_whole(axis.key)) return number;
  const Result<Value> rounded = checked(axis.key, Value(std::int64_t{std::llround(number)}));
  ensure(rounded.has_value(), "between two values of a key are values of it");
  return *rounded;
}

/// Points of the full product; nothing if it is infinite or above 2^63.
std::optional<std::uint64_t> product_of(const Study& study) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 63;
  std::uint64_t product = 1;
  for (const Axis& axis : study.axes) {
    const std::uint64_t values = axis.values.size();
    if (axis.is_continuous() || product > kMost / values) return std::nullopt;
    product *= values;
  }
  return product;
}

}  // namespace

Result<std::uint64_t> Space::size_of(const Study& study) {
  const std::optional<std::uint64_t> product = product_of(study);
  const std::uint64_t budget = study.budget.value_or(std::numeric_limits<std::uint64_t>::max());
  const bool by_budget = study.sampling == Sampling::latin_hypercube || !product;
  const std::uint64_t size = by_budget ? budget : std::min(budget, *product);
  if (size <= kMostPoints) return size;
  Location where = study.budget_at;
  std::string factors = "the budget";
  if (!study.budget || (!by_budget && size == *product)) {
    if (!study.axes.empty()) where = study.axes.back().where;
    factors.clear();
    for (const Axis& axis : study.axes)
      factors += fmt::format("{}{} ({})", factors.empty() ? "" : " x ", axis.key,
                             axis.is_continuous() ? "continuous" : fmt::format("{}", axis.values.size()));
  }
  return fail(
      Error("explore.too-many-points", Failure::bad_input,
            fmt::format("the study has {} points, at most {} can be listed: {}",
                        study.budget || product ? fmt::format("{}", size) : "more than 2^63", kMostPoints, factors))
          .at(std::move(where))
          .with_hint(study.budget ? fmt::format("take a budget of at most {}", kMostPoints)
                                  : "set a budget with sampling = \"random\" or \"latin-hypercube\", or take "
                                    "fewer values"));
}

Result<Space> Space::create(const Study& study) {
  DANAUS_TRY(size, size_of(study));
  Space space;
  space.axes_ = study.axes;
  space.sampling_ = study.sampling;
  space.seed_ = study.seed;
  space.product_ = product_of(study);
  space.size_ = size;
  if (study.sampling == Sampling::random && space.product_)
    space.drawn_ = draw(*space.product_, space.size_, study.seed);
  if (study.sampling == Sampling::latin_hypercube) {
    for (std::size_t axis = 0; axis < study.axes.size(); ++axis)
      space.permutations_.push_back(permutation(space.size_, study.seed, kOrderStream + 1 + 2 * axis));
  }
  return space;
}

std::vector<Value> Space::values(std::uint64_t point) const {
  ensure(point < size_, "the space has this point");
  std::vector<Value> values(axes_.size());
  if (sampling_ == Sampling::grid || !drawn_.empty()) {
    std::uint64_t rest = drawn_.empty() ? point : drawn_[point];
    for (std::size_t axis = axes_.size(); axis-- > 0;) {
      const std::vector<Value>& list = axes_[axis].values;
      values[axis] = list[rest % list.size()];
      rest /= list.size();
    }
    return values;
  }
  for (std::size_t number = 0; number < axes_.size(); ++number) {
    const Axis& axis = axes_[number];
    const std::uint64_t stream = kOrderStream + 2 + 2 * number;
    const std::uint64_t count = axis.values.size();
    if (sampling_ == Sampling::random) {
      values[number] = axis.is_continuous() ? between(axis, random_uniform(seed_, stream, point))
                                            : axis.values[below(count, random_bits(seed_, stream, point))];
      continue;
    }
    const std::uint64_t stratum = permutations_[number][point];
    if (axis.is_continuous()) {
      const double part =
          (static_cast<double>(stratum) + random_uniform(seed_, stream, point)) / static_cast<double>(size_);
      values[number] = between(axis, part);
    } else {
      // Stratum s of N holds the values from floor(s * count / N) to the next one's first; both factors are below 2^20.
      const std::uint64_t first = stratum * count / size_;
      const std::uint64_t next = std::max(first + 1, (stratum + 1) * count / size_);
      values[number] = axis.values[first + below(next - first, random_bits(seed_, stream, point))];
    }
  }
  return values;
}

}  // namespace danaus::explore
