// Search for choices near the dual's prices p. At these prices every option has a reduced cost r = cost + p * uses, and
// for every choice within the budgets
//   cost = bound + sum over items of (r - least r of the item) + p * (budgets - uses),
// all terms but the bound being >= 0. So an improvement on a solution of gap g can only use options whose r exceeds the
// least by less than g, and a change of items gains at most p * slack beyond the sum of its changes of r. Both keep the
// search small.

#include "danaus/optimise/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "danaus/core/random.h"

namespace danaus::optimise {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::uint64_t kStopEvery = 2048;  ///< moves between two questions to `stop`

double priced(const Reduced& problem, const Dual& dual, std::uint32_t option) {
  double cost = problem.cost[option];
  for (std::size_t n = 0; n < dual.prices.size(); ++n) cost += dual.prices[n] * problem.uses_of(option)[n];
  return cost;
}

/// Overspending in shares of the budgets.
double overspending(const Reduced& problem, const std::vector<double>& uses) {
  double sum = 0;
  for (std::size_t n = 0; n < uses.size(); ++n) sum += std::max(0.0, uses[n] / problem.budgets[n] - 1);
  return sum;
}

/// Item `item` takes option `to`.
struct Change {
  std::uint32_t item = 0;
  std::uint32_t to = 0;
  double priced = 0;  ///< change of the reduced cost
  double cost = 0;    ///< change of the cost
};

/// All changes of one item that could be part of a gain; of items of one class with the same option, two stand for all.
std::vector<Change> changes(const Reduced& problem, const Dual& dual, const Choice& choice,
                            const std::vector<std::vector<std::uint32_t>>& lists) {
  std::vector<Change> all;
  std::vector<int> seen(problem.cost.size());
  for (std::uint32_t item = 0; item < choice.size(); ++item) {
    const std::uint32_t from = choice[item];
    if (++seen[from] > 2) continue;
    for (const std::uint32_t to : lists[problem.class_of[item]])
      if (to != from)
        all.push_back(
            {item, to, priced(problem, dual, to) - priced(problem, dual, from), problem.cost[to] - problem.cost[from]});
  }
  std::stable_sort(all.begin(), all.end(), [](const Change& a, const Change& b) { return a.priced < b.priced; });
  return all;
}

}  // namespace

Found found(const Reduced& problem, Choice choice) {
  Found made;
  made.feasible = keeps_budgets(problem, uses_of(problem, choice));
  made.cost = cost_of(problem, choice);
  made.choice = std::move(choice);
  return made;
}

std::vector<std::vector<std::uint32_t>> candidates(const Reduced& problem, const Dual& dual, double limit) {
  std::vector<std::vector<std::uint32_t>> lists;
  const double gap = (limit - dual.bound) * (1 + 1e-9) + 1e-12 * std::abs(dual.bound);  // rounding must not exclude
  for (const Reduced::Class& one : problem.classes) {
    double least = kInfinity;
    for (std::uint32_t option = one.first; option < one.last; ++option)
      least = std::min(least, priced(problem, dual, option));
    std::vector<std::uint32_t>& list = lists.emplace_back();
    for (std::uint32_t option = one.first; option < one.last; ++option)
      if (priced(problem, dual, option) - least <= gap) list.push_back(option);
  }
  return lists;
}

Found repair(const Reduced& problem, const Dual& dual, Choice choice) {
  std::vector<double> uses = uses_of(problem, choice);
  const std::size_t budgets = problem.budgets.size();
  for (double over = overspending(problem, uses); over > 0;) {
    double best = kInfinity;
    std::uint32_t best_item = 0, best_option = 0;
    std::vector<char> seen(problem.cost.size());
    std::vector<double> after(budgets);
    for (std::uint32_t item = 0; item < choice.size(); ++item) {
      const std::uint32_t from = choice[item];
      if (seen[from]++ != 0) continue;  // the same for all of the class
      const Reduced::Class& one = problem.classes[problem.class_of[item]];
      for (std::uint32_t to = one.first; to < one.last; ++to) {
        for (std::size_t n = 0; n < budgets; ++n)
          after[n] = uses[n] - problem.uses_of(from)[n] + problem.uses_of(to)[n];
        const double removed = over - overspending(problem, after);
        if (removed <= 1e-12 * over) continue;
        const double loss = priced(problem, dual, to) - priced(problem, dual, from);
        const double rank = loss > 0 ? loss / removed : loss * removed;
        if (rank < best) {
          best = rank;
          best_item = item;
          best_option = to;
        }
      }
    }
    if (best == kInfinity) break;
    choice[best_item] = best_option;
    uses = uses_of(problem, choice);
    const double left = overspending(problem, uses);
    if (left >= over) break;
    over = left;
  }
  return found(problem, std::move(choice));
}

Found exchange(const Reduced& problem, const Dual& dual, Found start, const std::function<bool()>& stop) {
  constexpr std::size_t kPairs = 4'000'000;  // looked at per step at most: a bound on time, seldom met
  const std::size_t budgets = problem.budgets.size();
  while (start.feasible && !(stop && stop())) {
    const std::vector<double> uses = uses_of(problem, start.choice);
    std::vector<double> slack(budgets);
    double reach = 0;  // what a change may gain beyond its reduced cost
    for (std::size_t n = 0; n < budgets; ++n) {
      slack[n] = problem.budgets[n] - uses[n];
      reach += dual.prices[n] * slack[n];
    }
    const std::vector<Change> all = changes(problem, dual, start.choice, candidates(problem, dual, start.cost));
    const double gain = 1e-12 * (std::abs(start.cost) + 1);
    double best = -gain;
    const Change *first = nullptr, *second = nullptr;
    const auto fits = [&](const Change& a, const Change* b) {
      for (std::size_t n = 0; n < budgets; ++n) {
        double more = problem.uses_of(a.to)[n] - problem.uses_of(start.choice[a.item])[n];
        if (b != nullptr) more += problem.uses_of(b->to)[n] - problem.uses_of(start.choice[b->item])[n];
        if (more > slack[n]) return false;
      }
      return true;
    };
    std::size_t pairs = 0;
    for (std::size_t a = 0; a < all.size() && pairs < kPairs; ++a) {
      if (all[a].cost < best && fits(all[a], nullptr)) {
        best = all[a].cost;
        first = &all[a];
        second = nullptr;
      }
      for (std::size_t b = a + 1; b < all.size(); ++b, ++pairs) {
        if (all[a].priced + all[b].priced - reach >= best) break;
        if (all[a].item == all[b].item || all[a].cost + all[b].cost >= best || !fits(all[a], &all[b])) continue;
        best = all[a].cost + all[b].cost;
        first = &all[a];
        second = &all[b];
      }
    }
    if (first == nullptr) break;
    Choice choice = start.choice;
    choice[first->item] = first->to;
    if (second != nullptr) choice[second->item] = second->to;
    Found next = found(problem, std::move(choice));
    if (!next.feasible || next.cost >= start.cost) break;  // a gain of rounding only
    start = std::move(next);
  }
  return start;
}

Found anneal(const Reduced& problem, const Dual& dual, const std::vector<std::vector<std::uint32_t>>& candidates,
             const Found& start, const Annealing& annealing, const std::function<bool()>& stop) {
  const std::size_t budgets = problem.budgets.size();
  std::vector<std::uint32_t> free;  // items with something to choose
  double spread = 0, hottest = 0;
  for (std::uint32_t item = 0; item < problem.items(); ++item) {
    const std::vector<std::uint32_t>& list = candidates[problem.class_of[item]];
    if (list.size() < 2) continue;
    free.push_back(item);
    double least = kInfinity, sum = 0;
    for (const std::uint32_t option : list) {
      least = std::min(least, priced(problem, dual, option));
      sum += priced(problem, dual, option);
    }
    hottest += sum / static_cast<double>(list.size()) - least;
    const auto [low, high] = std::minmax_element(
        list.begin(), list.end(), [&](std::uint32_t a, std::uint32_t b) { return problem.cost[a] < problem.cost[b]; });
    spread += problem.cost[*high] - problem.cost[*low];
  }
  Found best = start;
  if (free.empty()) return best;
  const double items = static_cast<double>(free.size());
  hottest = std::max(hottest, spread * 1e-3) / items;
  if (hottest <= 0) hottest = 1;
  const double coldest = hottest * 1e-3;

  // Overspending costs twice the dual's price and something beside; more while the walk stays outside, less while
  // inside.
  std::vector<double> least_penalty(budgets), penalty(budgets);
  for (std::size_t n = 0; n < budgets; ++n)
    penalty[n] = least_penalty[n] = 1.2 * dual.prices[n] + 0.01 * (spread + hottest) / problem.budgets[n];

  Choice choice = start.choice;
  std::vector<double> uses = uses_of(problem, choice), after(budgets);
  double cost = cost_of(problem, choice);
  const auto penalised = [&](const std::vector<double>& of) {
    double sum = 0;
    for (std::size_t n = 0; n < budgets; ++n) sum += penalty[n] * std::max(0.0, of[n] - problem.budgets[n]);
    return sum;
  };
  const std::uint64_t moves = std::max<std::uint64_t>(1, annealing.moves);
  const std::uint64_t adapt_every = std::max<std::uint64_t>(32, moves / 400);
  const double cooling = std::pow(coldest / hottest, static_cast<double>(adapt_every) / static_cast<double>(moves));
  double temperature = hottest;
  std::uint64_t inside = 0;
  for (std::uint64_t move = 0; move < moves; ++move) {
    if (move % kStopEvery == 0 && stop && stop()) break;
    if (move % adapt_every == adapt_every - 1) {
      temperature *= cooling;
      for (std::size_t n = 0; n < budgets; ++n) {
        if (inside * 4 < adapt_every) penalty[n] *= 1.25;
        if (inside * 4 > adapt_every * 3) penalty[n] = std::max(least_penalty[n], penalty[n] / 1.25);
      }
      inside = 0;
    }
    // One item, or two at once: their new options from one draw of 64 bits each, which also decides which of the two.
    const auto draw = [&](std::uint64_t bits, std::uint32_t& item, std::uint32_t& to) {
      item = free[(bits >> 32) * free.size() >> 32];
      const std::vector<std::uint32_t>& list = candidates[problem.class_of[item]];
      to = list[(bits & 0xFFFFFFFEU) * list.size() >> 32];
    };
    std::uint32_t item = 0, to = 0, item2 = 0, to2 = 0;
    const std::uint64_t bits = random_bits(annealing.seed, annealing.stream, 3 * move);
    draw(bits, item, to);
    bool pair = (bits & 1) != 0 && free.size() > 1;
    if (pair) {
      draw(random_bits(annealing.seed, annealing.stream, 3 * move + 1), item2, to2);
      pair = item2 != item;
    }
    double cost_after = cost - problem.cost[choice[item]] + problem.cost[to];
    if (pair) cost_after += problem.cost[to2] - problem.cost[choice[item2]];
    for (std::size_t n = 0; n < budgets; ++n) {
      after[n] = uses[n] - problem.uses_of(choice[item])[n] + problem.uses_of(to)[n];
      if (pair) after[n] += problem.uses_of(to2)[n] - problem.uses_of(choice[item2])[n];
    }
    const double change = cost_after + penalised(after) - cost - penalised(uses);
    if (change <= 0 ||
        random_uniform(annealing.seed, annealing.stream, 3 * move + 2) < std::exp(-change / temperature)) {
      choice[item] = to;
      if (pair) choice[item2] = to2;
      cost = cost_after;
      uses.swap(after);
      if (keeps_budgets(problem, uses) && (!best.feasible || cost < best.cost)) {
        Found next = found(problem, choice);  // summed anew: the running sums collect rounding
        cost = next.cost;
        uses = uses_of(problem, choice);
        if (next.feasible && (!best.feasible || next.cost < best.cost)) best = std::move(next);
      }
    }
    inside += keeps_budgets(problem, uses) ? 1 : 0;
  }
  return best;
}

}  // namespace danaus::optimise
