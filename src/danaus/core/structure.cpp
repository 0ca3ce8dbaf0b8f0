#include "danaus/core/structure.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "danaus/core/internal_error.h"
#include "danaus/core/random.h"

namespace danaus {
namespace {

constexpr std::uint64_t kMost = std::uint64_t{1} << 24;  // elements of a vector: the address space of a buffer

std::uint32_t ceil_divide(std::uint32_t a, std::uint32_t b) { return a / b + (a % b != 0); }

std::uint32_t ceil_sqrt(std::uint32_t n) {
  std::uint32_t root = 0;
  while (std::uint64_t{root} * root < n) ++root;
  return root;
}

}  // namespace

Structure Structure::dense(std::uint32_t out, std::uint32_t in) {
  return {.kind = Kind::dense, .out = out, .in = in, .in_block = in, .out_block = out};
}

Structure Structure::blocks(std::uint32_t out, std::uint32_t in, std::uint32_t k, std::uint32_t l, std::uint32_t r) {
  ensure(k >= 1 && l >= 1 && r >= 1, "k, l and r are at least 1");
  return {.kind = Kind::blocks,
          .out = out,
          .in = in,
          .k = k,
          .l = l,
          .r = r,
          .in_block = ceil_divide(in, k),
          .out_block = ceil_divide(out, l)};
}

Structure Structure::padded_square(std::uint32_t out, std::uint32_t in) {
  const std::uint32_t n = std::max(out, in);
  const std::uint32_t edge = ceil_sqrt(n);
  Structure structure = blocks(out, in, edge, edge, 1);
  structure.in_block = structure.out_block = ceil_divide(n, edge);
  return structure;
}

Structure Structure::gather(std::uint32_t out, std::uint32_t in, std::uint32_t group, std::uint32_t inputs) {
  ensure(group >= 1 && group <= out && inputs >= 1 && inputs <= in, "a group has outputs and inputs of the operator");
  const std::uint32_t groups = ceil_divide(out, group);
  return {.kind = Kind::gather, .out = out, .in = in, .k = groups, .l = groups, .in_block = inputs, .out_block = group};
}

Structure Structure::trim() const {
  Structure structure = *this;
  if (kind != Kind::blocks) return structure;
  structure.k = ceil_divide(in, in_block);
  structure.l = ceil_divide(out, out_block);
  structure.trimmed = true;
  return structure;
}

std::uint32_t Structure::block_count(std::uint32_t stage) const {
  if (kind == Kind::dense) return 1;
  return stage == 0 ? k : l;
}

Block Structure::block(std::uint32_t stage, std::uint32_t number) const {
  if (kind == Kind::dense) return {.in_first = 0, .in_count = in, .out_first = 0, .out_step = 1, .out_count = out};
  if (kind == Kind::gather) {
    const std::uint32_t first = number * out_block;
    return {.in_first = number * in_block,
            .in_count = in_block,
            .out_first = first,
            .out_step = 1,
            .out_count = std::min(out_block, out - first)};
  }
  if (stage == 0) {
    const std::uint32_t first = number * in_block;
    return {.in_first = first,
            .in_count = trimmed ? std::min(in_block, in - first) : in_block,
            .out_first = number,
            .out_step = k,
            .out_count = l * r};
  }
  const std::uint32_t first = number * out_block;
  return {.in_first = number * r * k,
          .in_count = r * k,
          .out_first = first,
          .out_step = 1,
          .out_count = trimmed ? std::min(out_block, out - first) : out_block};
}

std::uint32_t Structure::block_of_input(std::uint32_t stage, std::uint32_t input) const {
  if (kind == Kind::dense) return 0;
  return input / (stage == 0 ? in_block : r * k);
}

std::uint32_t Structure::stage_inputs(std::uint32_t stage) const {
  if (kind == Kind::dense) return in;
  if (kind == Kind::gather) return k * in_block;
  if (stage == 1) return k * l * r;
  return trimmed ? in : k * in_block;
}

std::uint32_t Structure::stage_outputs(std::uint32_t stage) const {
  if (kind != Kind::blocks) return out;
  if (stage == 0) return k * l * r;
  return trimmed ? out : l * out_block;
}

std::uint64_t Structure::stage_parameters(std::uint32_t stage) const {
  if (kind == Kind::dense) return dense_parameters();
  if (kind == Kind::gather) return std::uint64_t{out} * in_block;
  return std::uint64_t{r} * (stage == 0 ? std::uint64_t{l} * stage_inputs(0) : std::uint64_t{k} * stage_outputs(1));
}

std::uint64_t Structure::parameters() const { return stage_parameters(0) + (stages() == 2 ? stage_parameters(1) : 0); }

std::string to_string(const Structure& structure) {
  if (structure.kind == Structure::Kind::dense) return "dense";
  if (structure.kind == Structure::Kind::gather)
    return fmt::format("gather {}:{}", structure.out_block, structure.in_block);
  std::string text = fmt::format("blocks {}x{}:{}", structure.k, structure.l, structure.r);
  if (structure.in_block != ceil_divide(structure.in, structure.k) ||
      structure.out_block != ceil_divide(structure.out, structure.l))
    text += fmt::format(" size {}x{}", structure.in_block, structure.out_block);
  if (structure.trimmed) text += " trim";
  return text;
}

namespace {

/// Reads a decimal number from the front of `text`; false if there is none or it does not fit.
bool take_number(std::string_view& text, std::uint32_t& value) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

Result<Structure> parse_structure(std::string_view text, std::uint32_t out, std::uint32_t in) {
  const std::string_view whole = text;
  const auto syntax = [&] {
    return fail(Error("structure.syntax", Failure::bad_input, fmt::format("'{}' is not a structure", whole))
                    .with_hint("write 'dense', 'gather S:Q' or 'blocks KxL:R' with optional ' size PxS' and ' trim'"));
  };
  if (out == 0 || in == 0)
    return fail(Error("structure.range", Failure::bad_input,
                      fmt::format("an operator of shape {}x{} has no weights", out, in)));
  if (take(text, "dense")) {
    if (!text.empty()) return syntax();
    return Structure::dense(out, in);
  }
  const auto out_of_range = [&] {
    return fail(Error("structure.range", Failure::bad_input,
                      fmt::format("'{}' is not possible for an operator of shape {}x{}", whole, out, in)));
  };
  if (take(text, "gather ")) {
    std::uint32_t group = 0, inputs = 0;
    if (!(take_number(text, group) && take(text, ":") && take_number(text, inputs) && text.empty())) return syntax();
    if (group == 0 || group > out || inputs == 0 || inputs > in ||
        std::uint64_t{ceil_divide(out, group)} * inputs > kMost)
      return out_of_range();
    return Structure::gather(out, in, group, inputs);
  }
  std::uint32_t k = 0, l = 0, r = 0;
  if (!(take(text, "blocks ") && take_number(text, k) && take(text, "x") && take_number(text, l) && take(text, ":") &&
        take_number(text, r)))
    return syntax();
  if (k == 0 || l == 0 || r == 0 || std::uint64_t{k} * l > kMost || std::uint64_t{k} * l * r > kMost)
    return out_of_range();
  Structure structure = Structure::blocks(out, in, k, l, r);
  if (take(text, " size ")) {
    if (!(take_number(text, structure.in_block) && take(text, "x") && take_number(text, structure.out_block)))
      return syntax();
    if (structure.in_block < 1 || structure.out_block < 1 || std::uint64_t{structure.in_block} * k > kMost ||
        std::uint64_t{structure.out_block} * l > kMost || std::uint64_t{structure.in_block} * k < in ||
        std::uint64_t{structure.out_block} * l < out)
      return out_of_range();
  }
  if (take(text, " trim")) {
    structure.trimmed = true;
    if (structure.trim() != structure) return out_of_range();
  }
  if (!text.empty()) return syntax();
  if (std::uint64_t{structure.in_block} * k > kMost || std::uint64_t{structure.out_block} * l > kMost)
    return out_of_range();
  return structure;
}

Result<void> check_selection(const Structure& structure) {
  const auto bad = [&](std::string message) {
    return fail(Error("structure.selection", Failure::bad_input, std::move(message)));
  };
  const std::span<const std::uint32_t> numbers = structure.selection.numbers();
  const std::size_t expected = structure.kind == Structure::Kind::gather ? structure.stage_inputs(0) : 0;
  if (numbers.size() != expected)
    return bad(fmt::format("the blocks of '{}' read {} inputs of their choice, the list has {}", to_string(structure),
                           expected, numbers.size()));
  for (std::size_t n = 0; n < numbers.size(); ++n) {
    if (numbers[n] >= structure.in)
      return bad(fmt::format("entry {} is input {}, the operator has {}", n, numbers[n], structure.in));
    if (n % structure.in_block != 0 && numbers[n] <= numbers[n - 1])
      return bad(fmt::format("entry {} is input {} after input {}: those of a block are ascending, each once", n,
                             numbers[n], numbers[n - 1]));
  }
  return {};
}

IndexList draw_selection(const Structure& structure, std::uint64_t seed, std::uint64_t stream) {
  ensure(structure.kind == Structure::Kind::gather, "only gathered operators have a selection");
  // Floyd's sampling: one draw for each chosen input.
  std::vector<std::uint32_t> numbers;
  numbers.reserve(structure.stage_inputs(0));
  std::vector<bool> chosen(structure.in);
  std::uint64_t counter = 0;
  for (std::uint32_t block = 0; block < structure.k; ++block) {
    const std::size_t first = numbers.size();
    for (std::uint32_t last = structure.in - structure.in_block; last < structure.in; ++last) {
      const std::uint64_t bits = random_bits(seed, stream, counter++) >> 32;
      const auto drawn = static_cast<std::uint32_t>(bits * (std::uint64_t{last} + 1) >> 32);
      numbers.push_back(chosen[drawn] ? last : drawn);
      chosen[numbers.back()] = true;
    }
    const auto begin = numbers.begin() + static_cast<std::ptrdiff_t>(first);
    for (auto number = begin; number != numbers.end(); ++number) chosen[*number] = false;
    std::sort(begin, numbers.end());
  }
  return IndexList(std::move(numbers));
}

}  // namespace danaus
