// verify: the static survey, then the proof run.
//
// The proof executes the program over a prime field with random weights and data, next to a reference that evaluates
// the intent graph. Two polynomials that differ agree at a random point with a chance below degree / 2^61, so equal
// values mean equal functions. Every driven row is compared with the stage input that its cells expect, every output
// with the graph's.
//
// It runs min(n, slots + 1) tokens, but 64 at most: damage to a register shows at the second token, and the first slot
// is used twice. Small programs run more, up to 64, very large ones fewer, but two. For tokens that are left the survey
// looks for collisions of addresses, and slots that are left are left out. KV regions start with a few random entries
// whatever the program says, so that positions and entries differ from token numbers; the room for them is checked by
// the survey.
#include "danaus/program/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "danaus/program/field.h"
#include "danaus/program/image.h"
#include "danaus/program/interpreter.h"
#include "danaus/program/reference.h"
#include "danaus/program/verify_faults.h"
#include "danaus/program/verify_survey.h"

namespace danaus::program {
namespace {

/// Elements of all node values and stage inputs of all tokens: a gigabyte.
constexpr std::uint64_t kMostValues = std::uint64_t{1} << 27;
/// Entries in every KV region before the first token.
constexpr std::uint32_t kProofStart = 3;
/// Entries of another token stream, which this program reads; those that it appends come after them.
constexpr std::uint32_t kProofOther = 5;

/// Elements that the reference holds for a token.
std::uint64_t values_of(const Graph& graph) {
  std::uint64_t values = 0;
  for (const Node& node : graph.nodes) {
    if (node.idle) continue;
    values += node.size;
    for (std::uint32_t stage = 0; node.kind == NodeKind::linear && stage < node.structure.stages(); ++stage)
      values += std::uint64_t{node.structure.stage_inputs(stage)} + node.structure.stage_outputs(stage);
  }
  return values;
}

class Proof : private ExecutionObserver<std::uint64_t> {
 public:
  Proof(const Program& program, const Images& images, const Survey& survey, const VerifyOptions& options,
        std::uint32_t tokens, std::optional<std::uint32_t> first_gate, Faults& faults)
      : program_(program),
        survey_(survey),
        tokens_(tokens),
        faults_(faults),
        arithmetic_(options.seed, first_gate),
        weights_(program.intent, options.seed, options.full_weights),
        data_(options.seed),
        reference_(program.intent, arithmetic_, weights_, data_,
                   {.tokens = tokens, .start = kProofStart, .other_start = kProofOther, .keep_stage_inputs = true}),
        interpreter_(program, images, survey, arithmetic_, weights_, data_,
                     {.tokens = tokens,
                      .start = kProofStart,
                      .other_start = kProofOther,
                      .check_dead = !first_gate,
                      .check_branches = !first_gate},
                     faults) {}

  std::uint64_t run() {
    interpreter_.run(this);
    return interpreter_.executed();
  }

 private:
  void row_values(const Piece& piece, std::uint32_t token, std::span<const std::uint64_t> x) override {
    const NodeId node = piece.patch->node;
    const std::uint32_t stage = piece.patch->stage;
    const std::span<const std::uint64_t> inputs = reference_.stage_input(token, node, stage);
    // All weights of the stage were read for this token: coverage is wrong and has been reported.
    if (inputs.empty()) return;
    const std::span<const std::uint64_t> expected = inputs.subspan(piece.in_first, piece.rows);
    if (!std::equal(expected.begin(), expected.end(), x.begin())) report(piece, expected, x);
    reference_.used(token, node, stage, std::uint64_t{piece.rows} * piece.columns);
  }

  void report(const Piece& piece, std::span<const std::uint64_t> expected, std::span<const std::uint64_t> x) {
    const auto n =
        static_cast<std::uint32_t>(std::mismatch(expected.begin(), expected.end(), x.begin()).first - expected.begin());
    const Node& node = program_.intent.at(piece.patch->node);
    const bool only_stage = node.structure.stages() == 1;
    faults_.add(
        Error("verify.row-value", Failure::check,
              fmt::format("row {} of array {} does not carry input {} of {}.{}, which its cells expect", piece.row + n,
                          index(piece.patch->array), piece.in_first + n, node.name,
                          only_stage                ? 'W'
                          : piece.patch->stage == 0 ? 'R'
                                                    : 'L'))
            .with_hint("a command before this one computed or addressed something wrong, or the source is wrong"));
  }

  void gate(const When& when, std::uint32_t token, std::uint64_t value) override {
    const std::uint64_t expected = reference_.value(token, when.gates)[when.element];
    if (value == expected) return;
    faults_.add(Error("verify.guard", Failure::check,
                      fmt::format("the value at this address is not gate {} of '{}'", when.element,
                                  program_.intent.at(when.gates).name)));
  }

  /// A token's outputs, when it is done and, where no later token uses their place, again at the end.
  void token_done(std::uint32_t token) override { compare(token); }
  void program_done() override {
    for (std::uint32_t token = 0; token + 1 < tokens_; ++token) compare(token, true);
    for (const Node& node : program_.intent.nodes) {
      if (node.kind == NodeKind::attend && appends(program_.intent, node)) compare_entries(node);
    }
  }

  /// Keys and values that are kept, for the next token or for another program, are those of the model.
  void compare_entries(const Node& node) {
    const std::size_t size = node.head_size;
    const std::size_t start = node.span == Span::other ? kProofOther : kProofStart;
    for (std::uint32_t head = 0; head < node.kv_heads && !faults_.full(); ++head) {
      const KvId region{index(node.kv_first) + head};
      for (const bool is_value : {false, true}) {
        const std::span<const std::uint64_t> kept = is_value ? interpreter_.values(region) : interpreter_.keys(region);
        bool same = kept.size() == (start + tokens_) * size;
        for (std::uint32_t token = 0; same && token < tokens_; ++token) {
          const std::span<const std::uint64_t> expected =
              reference_.value(token, node.sources[is_value ? 2 : 1]).subspan(head * size, size);
          same = std::equal(expected.begin(), expected.end(), kept.subspan((start + token) * size).begin());
        }
        if (same) continue;
        faults_.add(Error("verify.output", Failure::check,
                          fmt::format("KV region {} does not keep the {} of '{}'", index(region),
                                      is_value ? "values" : "keys", node.name)));
      }
    }
  }

  void compare(std::uint32_t token, bool only_unused_places = false) {
    for (const Location& output : program_.outputs) {
      if (faults_.full()) return;
      const auto place = [&](std::uint32_t t) {
        return output.address.offset + register_value(survey_.repeat, output.address.base, t);
      };
      bool reused = false;
      for (std::uint32_t later = token + 1; later < tokens_; ++later) reused = reused || place(later) == place(token);
      if (only_unused_places && reused) continue;
      const std::vector<std::uint64_t> found = interpreter_.look(output.tile, place(token), output.length);
      const std::span<const std::uint64_t> expected =
          reference_.value(token, output.node).subspan(output.first, output.length);
      const auto differs = std::mismatch(found.begin(), found.end(), expected.begin()).first;
      if (differs == found.end()) continue;
      const auto n = static_cast<std::uint32_t>(differs - found.begin());
      faults_.add(Error(
          "verify.output", Failure::check,
          fmt::format("element {} of the output '{}' is wrong for token {} (element {} of tile {})", output.first + n,
                      program_.intent.at(output.node).name, token, place(token) + n, index(output.tile))));
    }
  }

  const Program& program_;
  const Survey& survey_;
  std::uint32_t tokens_;
  Faults& faults_;
  FieldArithmetic arithmetic_;
  FieldWeights weights_;
  FieldData data_;
  Reference<FieldArithmetic> reference_;
  Interpreter<FieldArithmetic> interpreter_;
};

}  // namespace

VerifyReport verify(const Program& program, const VerifyOptions& options) {
  VerifyReport report;
  Faults faults(program, options.most_errors);
  const Images images(program);
  Survey surveyed = survey(program, images, faults);
  report.buffer_used = surveyed.buffer_used;
  if (options.proof && surveyed.executable && !faults.full()) {
    report.proof_tokens = surveyed.proof_tokens;
    prove_with_fewer_slots(surveyed);
    if (surveyed.work > kMostWork / report.proof_tokens ||
        values_of(program.intent) > kMostValues / report.proof_tokens) {
      faults.add(Error("verify.proof-size", Failure::unsupported, "the program is too large for a proof run"));
    } else {
      const auto prove = [&](std::optional<std::uint32_t> first_gate) {
        report.commands += Proof(program, images, surveyed, options, report.proof_tokens, first_gate, faults).run();
      };
      prove(std::nullopt);
      // That executed every command. Now the gates skip some, each of them in one token at least.
      std::uint32_t windows = 0;
      for (const Node& node : program.intent.nodes) {
        if (node.kind == NodeKind::route && !node.idle)
          windows = std::max(windows, gate_windows(node.size, program.intent.configs[index(node.configs[0])].k).count);
      }
      for (std::uint32_t first = 0; first < windows && !faults.full(); first += report.proof_tokens) prove(first);
    }
  }
  report.errors = faults.take();
  return report;
}

}  // namespace danaus::program
