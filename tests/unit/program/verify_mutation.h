#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "danaus/program/program.h"
#include "danaus/program/verify.h"

/// Systematic damage to a program: every number of every command one up and one down, every command deleted, every one
/// doubled.
namespace danaus::program {

/// A damaged program, named by what was done to it.
struct Mutant {
  std::string name;
  Program program;
};

namespace mutation {

/// visit(name, value) for every number of a command; ids and lengths as plain numbers.
template <typename Visit>
void for_numbers(Window& w, const std::string& name, const Visit& visit) {
  visit(name + ".first", w.first);
  visit(name + ".length", w.length);
  visit(name + ".count", w.count);
  visit(name + ".stride", w.stride);
}
template <typename Visit>
void for_numbers(Place& p, const std::string& name, const Visit& visit) {
  visit(name + ".offset", p.offset);
  visit(name + ".element stride", p.element_stride);
  visit(name + ".run stride", p.run_stride);
  visit(name + ".base", p.base);
}
template <typename Visit>
void for_numbers(Address& a, const std::string& name, const Visit& visit) {
  visit(name + ".offset", a.offset);
  visit(name + ".base", a.base);
}
template <typename Visit>
void for_numbers(Mvm& c, const Visit& visit) {
  visit("array", c.array);
  for_numbers(c.rows, "rows", visit);
  for_numbers(c.columns, "columns", visit);
  for_numbers(c.src, "src", visit);
  for_numbers(c.dst, "dst", visit);
  visit("add", c.add);
  visit("config", c.config);
}
template <typename Visit>
void for_numbers(Move& c, const Visit& visit) {
  visit("from", c.from);
  for_numbers(c.src, "src", visit);
  visit("length", c.length);
  visit("count", c.count);
  visit("to group", c.to_group);
  visit("deal", c.deal);
  visit("to", c.to);
  for_numbers(c.dst, "dst", visit);
  visit("config", c.config);
}
template <typename Visit>
void for_numbers(Vec& c, const Visit& visit) {
  visit("op", c.op);
  visit("tile", c.tile);
  visit("length", c.length);
  for (std::uint32_t s = 0; s < c.src.size(); ++s) for_numbers(c.src[s], "src" + std::to_string(s), visit);
  for_numbers(c.dst, "dst", visit);
  visit("config", c.config);
}
template <typename Visit>
void for_numbers(Attend& c, const Visit& visit) {
  visit("region", c.region);
  visit("region base", c.region_base);
  visit("append", c.append);
  for_numbers(c.a, "a", visit);
  for_numbers(c.b, "b", visit);
}
template <typename Visit>
void for_numbers(Repeat& c, const Visit& visit) {
  visit("n", c.n);
  for (std::size_t b = 0; b < c.step.size(); ++b) {
    visit("step " + std::to_string(b + 1), c.step[b]);
    visit("modulus " + std::to_string(b + 1), c.modulus[b]);
  }
}
template <typename Visit>
void for_numbers(When& c, const Visit& visit) {
  visit("tile", c.tile);
  for_numbers(c.gate, "gate", visit);
  visit("gates", c.gates);
  visit("element", c.element);
}
template <typename Visit>
void for_numbers(End&, const Visit&) {}
template <typename Visit>
void for_numbers(Halt&, const Visit&) {}

/// Adds delta; false if the type cannot hold the result.
template <typename T>
bool shift(T& value, int delta) {
  if constexpr (std::is_same_v<T, bool>) {
    if (delta < 0) return false;  // a flag has one other value
    value = !value;
    return true;
  } else if constexpr (std::is_enum_v<T>) {
    auto number = static_cast<std::underlying_type_t<T>>(value);
    if (!shift(number, delta)) return false;
    value = static_cast<T>(number);
    return true;
  } else {
    if (delta < 0 && value == std::numeric_limits<T>::min()) return false;
    if (delta > 0 && value == std::numeric_limits<T>::max()) return false;
    value = static_cast<T>(value + delta);
    return true;
  }
}

}  // namespace mutation

/// Calls visit(name, record) for every damaged form of a command that the encoding accepts; returns how many it
/// refuses.
template <typename Visit>
std::uint64_t for_damaged_records(const Record& record, const Visit& visit) {
  std::uint64_t refused = 0;
  for (std::uint32_t target = 0;; ++target) {
    bool exists = false;
    for (const int delta : {-1, 1}) {
      Command command = decode_unchecked(record);
      std::uint32_t position = 0;
      bool changed = false;
      std::string name;
      std::visit(
          [&](auto& concrete) {
            mutation::for_numbers(concrete, [&](const std::string& number, auto& value) {
              if (position++ != target) return;
              exists = true;
              changed = mutation::shift(value, delta);
              name = number + (delta < 0 ? " - 1" : " + 1");
            });
          },
          command);
      if (!changed) continue;
      const Result<Record> damaged = encode(command);
      if (damaged && decode(*damaged))
        visit(name, *damaged);
      else
        ++refused;
    }
    if (!exists) return refused;
  }
}

struct MutationCounts {
  std::uint64_t total = 0;
  std::uint64_t refused = 0;  ///< by the encoding
  std::uint64_t found = 0;    ///< by the verifier
  std::vector<Mutant> survivors;
};

/// Verifies the damaged forms of every `every`-th command (numbers, deletion, duplication).
inline MutationCounts mutate(const Program& program, std::size_t every = 1) {
  MutationCounts counts;
  Program damaged = program;
  const auto judge = [&](std::string name, std::size_t command) {
    ++counts.total;
    if (verify(damaged, {.most_errors = 1}).ok())
      counts.survivors.push_back({"command " + std::to_string(command) + " '" +
                                      to_text(decode_unchecked(program.code[command])) + "': " + name,
                                  damaged});
    else
      ++counts.found;
  };
  for (std::size_t n = 0; n < program.code.size(); n += every) {
    const Record original = program.code[n];
    const std::uint64_t refused = for_damaged_records(original, [&](const std::string& name, const Record& record) {
      damaged.code[n] = record;
      judge(name, n);
    });
    counts.refused += refused;
    counts.total += refused;
    damaged.code = program.code;
    damaged.code.erase(damaged.code.begin() + static_cast<std::ptrdiff_t>(n));
    judge("deleted", n);
    damaged.code = program.code;
    damaged.code.insert(damaged.code.begin() + static_cast<std::ptrdiff_t>(n), original);
    judge("doubled", n);
    damaged.code = program.code;
  }
  return counts;
}

}  // namespace danaus::program
