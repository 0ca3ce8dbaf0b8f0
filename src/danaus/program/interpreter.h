#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "danaus/program/branch_tracker.h"
#include "danaus/program/image.h"
#include "danaus/program/interpreter_data.h"
#include "danaus/program/program.h"
#include "danaus/program/state.h"
#include "danaus/program/verify_faults.h"
#include "danaus/program/verify_survey.h"

namespace danaus::program {

/// What an execution shows to whoever checks it.
template <typename Scalar>
class ExecutionObserver {
 public:
  virtual ~ExecutionObserver() = default;
  /// An activation drives the rows of a piece with x.
  virtual void row_values(const Piece& piece, std::uint32_t token, std::span<const Scalar> x) = 0;
  /// A `when` has found this gate.
  virtual void gate(const When& when, std::uint32_t token, Scalar value) = 0;
  /// The last loop has executed an iteration.
  virtual void token_done(std::uint32_t token) = 0;
  virtual void program_done() = 0;
};

/// Executes a surveyed program command by command: the meaning of the command set, for any scalar (see
/// FloatArithmetic). Undefined reads and dead data are reported to the faults, with their command.
template <typename Arithmetic>
class Interpreter : private MemoryEvents {
 public:
  using Scalar = typename Arithmetic::Scalar;

  struct Options {
    std::uint32_t tokens = 1;       ///< iterations of every loop: at most those of the program
    std::uint32_t start = 0;        ///< entries in every KV region before the first token
    std::uint32_t other_start = 0;  ///< the same for regions of span `other`
    bool check_dead = true;         ///< report what is never read
    bool check_branches = false;    ///< report what only another branch has written
    std::uint64_t most_bytes = std::uint64_t{4} << 30;
  };

  Interpreter(const Program& program, const Images& images, const Survey& survey, const Arithmetic& arithmetic,
              StageWeights<Scalar>& weights, const ExecutionData<Scalar>& data, const Options& options, Faults& faults)
      : program_(program),
        images_(images),
        survey_(survey),
        arithmetic_(arithmetic),
        weights_(weights),
        data_(data),
        options_(options),
        faults_(faults),
        memory_(*this),
        regions_(program.kv.size()) {
    if (options.check_branches && !survey.branches.empty()) tracker_.emplace();
    for (const Node& node : program.intent.nodes) {
      if (node.kind != NodeKind::attend || node.span != Span::other) continue;
      for (std::uint32_t head = 0; head < node.kv_heads; ++head) regions_[index(node.kv_first) + head].other = true;
    }
  }

  /// Loads constants and inputs, runs to the end (or until the faults are full), then looks for what was never read.
  void run(ExecutionObserver<Scalar>* observer);

  /// Elements of a buffer as they are now; counts as read.
  std::vector<Scalar> look(TileId tile, std::uint32_t first, std::uint32_t length) {
    std::vector<Scalar> values(length);
    if (tracker_) tracker_->at(token_, 0);
    note_read(tile, first, length);
    const Scalar* found = memory_.read(tile, first, length, values.data());
    if (found != values.data()) std::copy_n(found, length, values.data());
    return values;
  }
  /// The entries that a KV region has now, prior ones included, one after the other.
  std::span<const Scalar> keys(KvId region) const { return regions_[index(region)].keys; }
  std::span<const Scalar> values(KvId region) const { return regions_[index(region)].values; }
  std::uint64_t executed() const { return executed_; }

 private:
  /// Addresses: element e of run q at first + e * step + q * run_step.
  struct Pattern {
    std::uint32_t first = 0;
    std::uint32_t length = 1;
    std::int64_t step = 1;
    std::uint32_t count = 1;
    std::int64_t run_step = 0;

    std::uint32_t run(std::uint32_t q) const { return static_cast<std::uint32_t>(first + q * run_step); }
    std::uint32_t at(std::uint32_t q, std::uint32_t e) const {
      return static_cast<std::uint32_t>(first + q * run_step + e * step);
    }
    bool is_run() const { return count == 1 && step == 1; }
  };
  struct SinkRange {
    TileId tile{};
    std::uint32_t first = 0;
    std::uint32_t end = 0;
  };
  struct Entries {
    bool other = false;  ///< of span `other`
    bool loaded = false;
    std::vector<Scalar> keys, values;
  };

  Pattern pattern(const Place& place, std::uint32_t length, std::uint32_t count) const {
    Pattern result{place.offset + registers_[place.base], length, place.element_stride, count, place.run_stride};
    if (length == 1 || (count > 1 && result.run_step == result.step * length)) {  // one run in fact
      result.step = length == 1 ? (count > 1 ? result.run_step : 1) : result.step;
      result.length = length * count;
      result.count = 1;
      result.run_step = 0;
    }
    return result;
  }
  std::uint32_t address(const Address& a) const { return a.offset + registers_[a.base]; }

  void note_read(TileId tile, std::uint32_t first, std::uint32_t length);
  void note_write(TileId tile, std::uint32_t first, std::uint32_t length) {
    if (tracker_) tracker_->write(tile, first, length);
  }
  void load();
  void check_size();
  void execute_at(std::uint32_t command, std::uint32_t token, bool last_time);

  const Scalar* gather(TileId tile, const Pattern& from, std::vector<Scalar>& scratch);
  void scatter(TileId tile, const Pattern& to, const Scalar* values);
  /// Reports and forgets a tile when no later command uses it.
  void leave(TileId tile) {
    if (!last_time_) return;
    const std::uint32_t* last = survey_.last_command.find(index(tile));
    if (!last || *last != command_ + 1) return;
    memory_.finish(tile);
    if (tracker_) tracker_->forget(tile);
  }

  void execute(const Mvm& mvm);
  void execute(const Move& move);
  void execute(const Vec& vec);
  void execute(const Attend& attend);
  void execute(const When& when);
  void execute(const Repeat&) {}
  void execute(const End&) { branch_ = 0; }
  void execute(const Halt&) {}
  template <typename Visit>
  void for_targets(const Move& move, const Visit& visit);

  void undefined(TileId tile, std::uint32_t address) override;
  void dead(TileId tile, std::uint32_t address) override;
  bool in_sink(TileId tile, std::uint32_t address) const;

  const Program& program_;
  const Images& images_;
  const Survey& survey_;
  const Arithmetic& arithmetic_;
  StageWeights<Scalar>& weights_;
  const ExecutionData<Scalar>& data_;
  Options options_;
  Faults& faults_;
  ExecutionObserver<Scalar>* observer_ = nullptr;

  Memory<Scalar> memory_;
  std::vector<Entries> regions_;
  std::uint64_t region_bytes_ = 0;
  std::vector<SinkRange> sinks_;  ///< of all executed tokens, sorted
  std::array<std::uint32_t, 4> registers_{};
  std::uint32_t token_ = 0;
  std::uint32_t command_ = 0;
  std::optional<BranchTracker> tracker_;
  std::uint32_t branch_ = 0;              ///< that is executed, counted from 1
  std::optional<std::uint32_t> skip_to_;  ///< the `end` of a branch that is not taken
  bool last_time_ = false;                ///< this command is not executed again
  bool reported_ = false;                 ///< of this command: one error of the memory is enough
  bool finished_ = false;
  std::uint64_t executed_ = 0;

  // Scratch that keeps its memory from command to command.
  Activation activation_;
  std::array<std::vector<Scalar>, 3> sources_;
  std::vector<Scalar> result_;
  std::vector<typename Memory<Scalar>::Part> parts_;
  std::vector<std::size_t> part_begin_;
};

template <typename Arithmetic>
void Interpreter<Arithmetic>::run(ExecutionObserver<Scalar>* observer) {
  observer_ = observer;
  load();
  const auto code_size = static_cast<std::uint32_t>(program_.code.size());
  std::size_t next_loop = 0;
  for (std::uint32_t command = 0; command < code_size && !faults_.full();) {
    if (next_loop == survey_.loops.size() || command != survey_.loops[next_loop].begin) {
      execute_at(command, 0, true);
      command = std::exchange(skip_to_, std::nullopt).value_or(command) + 1;
      continue;
    }
    const Loop& loop = survey_.loops[next_loop++];
    for (std::uint32_t token = 0; token < options_.tokens && !faults_.full(); ++token) {
      for (std::uint8_t base = 1; base < 4; ++base) registers_[base] = register_value(loop.repeat, base, token);
      for (std::uint32_t inner = loop.begin + 1; inner < loop.end && !faults_.full(); ++inner) {
        execute_at(inner, token, token + 1 == options_.tokens);
        inner = std::exchange(skip_to_, std::nullopt).value_or(inner);
      }
      faults_.at_no_command();
      reported_ = false;
      if (observer_ && next_loop == survey_.loops.size()) observer_->token_done(token);
    }
    registers_ = {};
    command = loop.end + 1;
  }
  faults_.at_no_command();
  if (observer_ && survey_.loops.empty()) observer_->token_done(0);
  if (observer_) observer_->program_done();
  finished_ = true;
  reported_ = false;
  if (!faults_.full()) memory_.finish_all();
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::execute_at(std::uint32_t command, std::uint32_t token, bool last_time) {
  command_ = command;
  token_ = token;
  last_time_ = last_time;
  reported_ = false;
  ++executed_;
  faults_.at_command(command, token);
  if (tracker_) tracker_->at(token, branch_);
  std::visit([&](const auto& concrete) { execute(concrete); }, decode_unchecked(program_.code[command]));
  check_size();
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::check_size() {
  if (memory_.bytes() + region_bytes_ > options_.most_bytes) {
    faults_.add(Error("verify.proof-size", Failure::unsupported, "executing the program needs too much memory")
                    .with_hint("verify a program of fewer tokens or layers"));
    faults_.stop();
  }
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::load() {
  for (const Sink& sink : program_.sinks) {
    for (std::uint32_t token = 0; token < options_.tokens; ++token) {
      const std::uint32_t first = sink.address.offset + register_value(survey_.repeat, sink.address.base, token);
      sinks_.push_back({sink.tile, first, first + sink.length});
      if (sink.address.base == 0) break;
    }
  }
  std::sort(sinks_.begin(), sinks_.end(), [](const SinkRange& a, const SinkRange& b) {
    return std::pair(a.tile, a.first) < std::pair(b.tile, b.first);
  });
  for (std::size_t n = 1; n < sinks_.size();
       ++n) {  // so that the last range that begins before an address is the one to ask
    if (sinks_[n].tile == sinks_[n - 1].tile) sinks_[n].end = std::max(sinks_[n].end, sinks_[n - 1].end);
  }

  const auto load_range = [&](TileId tile, std::uint32_t first, std::span<const Scalar> values, std::string_view name) {
    const auto length = static_cast<std::uint32_t>(values.size());
    if (memory_.any_defined(tile, first, length))
      faults_.add(Error("verify.intent", Failure::check,
                        fmt::format("'{}' lies on another constant or input, elements {} to {} of tile {}", name, first,
                                    first + length - 1, index(tile))));
    memory_.write(tile, first, values.data(), length);
    memory_.mark_read(tile, first, length);
    check_size();
  };
  for (const Constant& constant : program_.constants) {
    if (faults_.full()) return;
    result_.assign(constant.length, Scalar{});
    if (constant.name != "zero") data_.constant(constant.name, constant.first, result_);
    load_range(constant.tile, constant.offset, result_, constant.name);
  }
  for (const Location& input : program_.inputs) {
    for (std::uint32_t token = 0; token < options_.tokens && !faults_.full(); ++token) {
      result_.assign(input.length, Scalar{});
      data_.input(input.node, token, input.first, result_);
      const std::uint32_t first = input.address.offset + register_value(survey_.repeat, input.address.base, token);
      load_range(input.tile, first, result_, program_.intent.at(input.node).name);
    }
  }
}

template <typename Arithmetic>
const typename Arithmetic::Scalar* Interpreter<Arithmetic>::gather(TileId tile, const Pattern& from,
                                                                   std::vector<Scalar>& scratch) {
  scratch.resize(std::size_t{from.length} * from.count);
  if (tracker_) {
    for (std::uint32_t q = 0; q < from.count; ++q) {
      for (std::uint32_t e = 0; from.step != 1 && e < from.length; ++e) note_read(tile, from.at(q, e), 1);
      if (from.step == 1) note_read(tile, from.run(q), from.length);
    }
  }
  if (from.is_run()) return memory_.read(tile, from.first, from.length, scratch.data());
  Scalar* out = scratch.data();
  for (std::uint32_t q = 0; q < from.count; ++q, out += from.length) {
    if (from.step == 1) {
      const Scalar* run = memory_.read(tile, from.run(q), from.length, out);
      if (run != out) std::copy_n(run, from.length, out);
    } else {
      for (std::uint32_t e = 0; e < from.length; ++e) out[e] = memory_.read_one(tile, from.at(q, e));
    }
  }
  return scratch.data();
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::scatter(TileId tile, const Pattern& to, const Scalar* values) {
  for (std::uint32_t q = 0; q < to.count; ++q, values += to.length) {
    if (to.step == 1) {
      memory_.write(tile, to.run(q), values, to.length);
      note_write(tile, to.run(q), to.length);
    } else {
      for (std::uint32_t e = 0; e < to.length; ++e) {
        memory_.write_one(tile, to.at(q, e), values[e]);
        note_write(tile, to.at(q, e), 1);
      }
    }
  }
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::execute(const Mvm& mvm) {
  const TileId tile = program_.tile_of(mvm.array);
  const Scalar* x = gather(tile, pattern(mvm.src, mvm.rows.length, mvm.rows.count), sources_[0]);
  const Pattern to = pattern(mvm.dst, mvm.columns.length, mvm.columns.count);
  result_.assign(mvm.columns.cells(), Scalar{});
  activation_.resolve(mvm, images_.of(mvm.array), program_.chip);
  for (const Piece& piece : activation_.pieces()) {
    const std::span<const Scalar> rows(x + piece.row_element, piece.rows);
    if (observer_) observer_->row_values(piece, token_, rows);
    weights_.multiply(piece.patch->node, piece.patch->stage, piece.in_first, rows, piece.out_first,
                      piece.patch->out_step, std::span(result_).subspan(piece.column_element, piece.columns));
  }
  if (mvm.add) {
    const Scalar* old = gather(tile, to, sources_[1]);
    for (std::size_t n = 0; n < result_.size(); ++n) result_[n] = arithmetic_.add(old[n], result_[n]);
  }
  scatter(tile, to, result_.data());
  leave(tile);
}

template <typename Arithmetic>
template <typename Visit>
void Interpreter<Arithmetic>::for_targets(const Move& move, const Visit& visit) {
  if (!move.to_group) {
    visit(TileId{move.to}, 0u);
    return;
  }
  std::uint32_t position = 0;
  for (const TileId member : program_.groups[move.to].members) visit(member, position++);
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::execute(const Move& move) {
  const Pattern from = pattern(move.src, move.length, move.count);
  const Pattern to = pattern(move.dst, move.length, move.deal ? 1 : move.count);
  const bool in_runs = to.step == 1 && from.length == to.length && from.count == to.count && from.step == 1;
  if (in_runs && !move.deal && from.length >= Memory<Scalar>::kLeastExtent) {
    // Long runs are shared, not copied; all of them are collected before the first is written.
    parts_.clear();
    part_begin_.clear();
    for (std::uint32_t q = 0; q < from.count; ++q) {
      part_begin_.push_back(parts_.size());
      note_read(move.from, from.run(q), from.length);
      memory_.collect(move.from, from.run(q), from.length, parts_);
    }
    part_begin_.push_back(parts_.size());
    for_targets(move, [&](TileId target, std::uint32_t) {
      for (std::uint32_t q = 0; q < to.count; ++q) {
        note_write(target, to.run(q), to.length);
        memory_.put(target, to.run(q), std::span(parts_).subspan(part_begin_[q], part_begin_[q + 1] - part_begin_[q]));
      }
    });
    parts_.clear();
  } else {
    const Scalar* values = gather(move.from, from, sources_[0]);
    if (values != sources_[0].data()) std::copy_n(values, sources_[0].size(), sources_[0].data());
    const std::size_t dealt = move.deal ? move.length : 0;
    for_targets(move, [&](TileId target, std::uint32_t position) {
      scatter(target, to, sources_[0].data() + position * dealt);
    });
  }
  leave(move.from);
  for_targets(move, [&](TileId target, std::uint32_t) {
    if (target != move.from) leave(target);
  });
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::execute(const Vec& vec) {
  const Config& config = program_.intent.configs[vec.op == VecOp::gather ? 0 : index(vec.config)];
  std::array<const Scalar*, 3> source{};
  for (std::uint32_t s = 0; s < source_count(vec.op); ++s) {
    const std::uint32_t length = source_length(vec, s);
    sources_[s].resize(length);
    note_read(vec.tile, address(vec.src[s]), length);
    source[s] = memory_.read(vec.tile, address(vec.src[s]), length, sources_[s].data());
  }
  const Scalar *a = source[0], *b = source[1], *c = source[2];
  const std::uint32_t n = vec.length;
  result_.assign(result_length(vec), Scalar{});
  switch (vec.op) {
    case VecOp::add:
      for (std::uint32_t e = 0; e < n; ++e) result_[e] = arithmetic_.add(a[e], b[e]);
      break;
    case VecOp::mul:
      for (std::uint32_t e = 0; e < n; ++e) result_[e] = arithmetic_.multiply(a[e], b[e]);
      break;
    case VecOp::silu:
    case VecOp::gelu:
    case VecOp::gelu_tanh:
    case VecOp::relu: {
      const NodeKind kind = vec.op == VecOp::silu        ? NodeKind::silu
                            : vec.op == VecOp::gelu      ? NodeKind::gelu
                            : vec.op == VecOp::gelu_tanh ? NodeKind::gelu_tanh
                                                         : NodeKind::relu;
      for (std::uint32_t e = 0; e < n; ++e) result_[e] = arithmetic_.activate(kind, a[e]);
      break;
    }
    case VecOp::rope: {
      const bool adjacent = config.pairs == Config::Pairs::adjacent;
      const std::uint32_t half = config.turned() / 2;
      std::copy(a + config.turned(), a + n, result_.begin() + config.turned());
      for (std::uint32_t pair = 0; pair < half; ++pair) {
        const std::uint32_t first = adjacent ? 2 * pair : pair;
        const std::uint32_t second = adjacent ? first + 1 : pair + half;
        std::tie(result_[first], result_[second]) =
            arithmetic_.rotate(config, std::uint64_t{options_.start} + token_, pair, a[first], a[second]);
      }
      break;
    }
    case VecOp::moments:
      for (std::uint32_t e = 0; e < n; ++e) {
        result_[0] = arithmetic_.add(result_[0], a[e]);
        result_[1] = arithmetic_.add(result_[1], arithmetic_.multiply(a[e], a[e]));
      }
      break;
    case VecOp::stat:
      std::tie(result_[0], result_[1]) = arithmetic_.statistics(config, a[0], a[1]);
      break;
    case VecOp::route:
      arithmetic_.route(config, token_, {a, n}, result_);
      break;
    case VecOp::scale:
      for (std::uint32_t e = 0; e < n; ++e) result_[e] = arithmetic_.multiply(a[e], b[0]);
      break;
    case VecOp::gather: {
      const std::span<const std::uint32_t> numbers = program_.lists[vec.list()].numbers();
      for (std::uint32_t e = 0; e < n; ++e) result_[e] = a[numbers[vec.first_picked() + e]];
      break;
    }
    case VecOp::norm: {
      const Scalar scale = arithmetic_.norm_scale(config, b[1]);
      for (std::uint32_t e = 0; e < n; ++e) result_[e] = arithmetic_.normalise(a[e], b[0], scale, c[e]);
      break;
    }
  }
  memory_.write(vec.tile, address(vec.dst), result_.data(), static_cast<std::uint32_t>(result_.size()));
  note_write(vec.tile, address(vec.dst), static_cast<std::uint32_t>(result_.size()));
  leave(vec.tile);
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::execute(const When& when) {
  note_read(when.tile, address(when.gate), 1);
  const Scalar gate = memory_.read_one(when.tile, address(when.gate));
  if (observer_) observer_->gate(when, token_, gate);
  leave(when.tile);
  const auto branch = std::lower_bound(survey_.branches.begin(), survey_.branches.end(), command_,
                                       [](const Branch& b, std::uint32_t command) { return b.begin < command; });
  if (gate != Scalar{})
    branch_ = static_cast<std::uint32_t>(branch - survey_.branches.begin()) + 1;
  else
    skip_to_ = branch->end;
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::execute(const Attend& attend) {
  const KvId id{index(attend.region) + registers_[attend.region_base]};
  const KvRegion& region = program_.kv[index(id)];
  Entries& entries = regions_[index(id)];
  const std::size_t size = region.size;
  const std::size_t before = entries.keys.size();
  if (!std::exchange(entries.loaded, true)) {
    const std::uint32_t start = entries.other ? options_.other_start : options_.start;
    entries.keys.resize(start * size);
    entries.values.resize(start * size);
    for (std::uint32_t entry = 0; entry < start; ++entry) {
      data_.prior(id, false, entry, std::span(entries.keys).subspan(entry * size, size));
      data_.prior(id, true, entry, std::span(entries.values).subspan(entry * size, size));
    }
  }
  sources_[0].resize(size * region.queries);
  if (attend.append) {
    for (const auto& [list, from] : {std::pair(&entries.keys, attend.a), std::pair(&entries.values, attend.b)}) {
      note_read(region.tile, address(from), region.size);
      const Scalar* element = memory_.read(region.tile, address(from), region.size, sources_[0].data());
      list->insert(list->end(), element, element + size);
    }
  } else {
    const std::uint32_t length = region.size * region.queries;
    note_read(region.tile, address(attend.a), length);
    const Scalar* queries = memory_.read(region.tile, address(attend.a), length, sources_[0].data());
    result_.assign(length, Scalar{});
    for (std::size_t first = 0; first < length; first += size)
      arithmetic_.attend({queries + first, size}, entries.keys, entries.values,
                         std::span(result_).subspan(first, size));
    memory_.write(region.tile, address(attend.b), result_.data(), length);
    note_write(region.tile, address(attend.b), length);
  }
  region_bytes_ += (entries.keys.size() - before) * 2 * sizeof(Scalar);
  leave(region.tile);
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::note_read(TileId tile, std::uint32_t first, std::uint32_t length) {
  if (!tracker_ || reported_) return;
  const std::optional<std::uint32_t> element = tracker_->read(tile, first, length);
  if (!element) return;
  reported_ = true;
  faults_.add(Error("verify.guard", Failure::check,
                    fmt::format("element {} of tile {} is read, but only the branch of another gate has written it",
                                *element, index(tile)))
                  .with_hint("that branch may be skipped: move the value again, or write it before the branches"));
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::undefined(TileId tile, std::uint32_t element) {
  if (std::exchange(reported_, true)) return;
  faults_.add(
      Error("verify.undefined", Failure::check,
            fmt::format("element {} of tile {} is read before anything was written there", element, index(tile)))
          .with_hint("check the source address, and that the element was written or moved to this tile before"));
}

template <typename Arithmetic>
void Interpreter<Arithmetic>::dead(TileId tile, std::uint32_t element) {
  if (reported_ || !options_.check_dead || in_sink(tile, element)) return;
  reported_ = true;
  faults_.add(Error("verify.dead", Failure::check,
                    fmt::format("element {} of tile {} is written, but never read before {}", element, index(tile),
                                finished_ ? "the program ends" : "this command overwrites it or leaves the tile"))
                  .with_hint("every element that is written has to be read, or be an output or a sink"));
}

template <typename Arithmetic>
bool Interpreter<Arithmetic>::in_sink(TileId tile, std::uint32_t element) const {
  const auto after = std::upper_bound(
      sinks_.begin(), sinks_.end(), std::pair(tile, element),
      [](const auto& value, const SinkRange& range) { return value < std::pair(range.tile, range.first); });
  return after != sinks_.begin() && std::prev(after)->tile == tile && element < std::prev(after)->end;
}

}  // namespace danaus::program
