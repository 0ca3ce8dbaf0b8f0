// The operations of the command set in double precision, and whole programs executed with them.
#include "danaus/program/interpreter_float.h"

#include <cmath>
#include <numbers>
#include <numeric>

#include "danaus/core/internal_error.h"
#include "danaus/program/interpreter.h"

namespace danaus::program {

double FloatArithmetic::activate(NodeKind kind, Scalar x) const {
  switch (kind) {
    case NodeKind::silu:
      return x / (1 + std::exp(-x));
    case NodeKind::gelu:
      return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case NodeKind::gelu_tanh: {
      // Hendrycks and Gimpel 2016 (arXiv:1606.08415).
      const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      return 0.5 * x * (1 + std::tanh(inner));
    }
    case NodeKind::relu:
      return std::max(x, 0.0);
    default:
      break;
  }
  ensure(false, "silu, gelu, gelu_tanh and relu are the activations");
  return x;
}

std::pair<double, double> FloatArithmetic::statistics(const Config& config, Scalar sum, Scalar squares) const {
  const double mean = config.norm == Config::Norm::layer ? sum / config.n : 0;
  const double variance = squares / config.n - mean * mean;
  return {mean, 1 / std::sqrt(variance + config.epsilon)};
}

std::pair<double, double> FloatArithmetic::rotate(const Config& config, std::uint64_t position, std::uint32_t pair,
                                                  Scalar a, Scalar b) const {
  const double angle = static_cast<double>(position) * std::pow(config.theta, -2.0 * pair / config.turned());
  const double cosine = std::cos(angle), sine = std::sin(angle);
  return {cosine * a - sine * b, sine * a + cosine * b};
}

void FloatArithmetic::route(const Config& config, std::uint32_t, std::span<const Scalar> logits,
                            std::span<Scalar> gates) const {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  order.resize(config.k);
  std::fill(gates.begin(), gates.end(), 0.0);
  double sum = 0;
  for (const std::size_t e : order) sum += gates[e] = std::exp(logits[e] - logits[order.front()]);
  for (const std::size_t e : order) gates[e] /= sum;
}

void FloatArithmetic::attend(std::span<const Scalar> query, std::span<const Scalar> keys,
                             std::span<const Scalar> values, std::span<Scalar> context) const {
  const std::size_t size = query.size();
  std::vector<double> weight(keys.size() / size);
  double most = -HUGE_VAL;
  for (std::size_t entry = 0; entry < weight.size(); ++entry) {
    for (std::size_t e = 0; e < size; ++e) weight[entry] += query[e] * keys[entry * size + e];
    weight[entry] /= std::sqrt(static_cast<double>(size));
    most = std::max(most, weight[entry]);
  }
  double sum = 0;
  for (double& w : weight) sum += w = std::exp(w - most);
  for (Scalar& element : context) element = 0;
  for (std::size_t entry = 0; entry < weight.size(); ++entry) {
    for (std::size_t e = 0; e < size; ++e) context[e] += weight[entry] / sum * values[entry * size + e];
  }
}

namespace {

class FloatWeights : public StageWeights<double> {
 public:
  explicit FloatWeights(const FloatSource& source) : source_(source) {}
  void multiply(NodeId node, std::uint32_t stage, std::uint32_t in_first, std::span<const double> x,
                std::uint32_t out_first, std::uint32_t out_step, std::span<double> y) override {
    for (std::uint32_t j = 0; j < y.size(); ++j) {
      for (std::uint32_t i = 0; i < x.size(); ++i)
        y[j] += source_.weight(node, stage, in_first + i, out_first + j * out_step) * x[i];
    }
  }

 private:
  const FloatSource& source_;
};

class FloatData : public ExecutionData<double> {
 public:
  explicit FloatData(const FloatSource& source) : source_(source) {}
  void input(NodeId node, std::uint32_t token, std::uint32_t first, std::span<double> out) const override {
    for (std::uint32_t e = 0; e < out.size(); ++e) out[e] = source_.input(node, token, first + e);
  }
  void constant(std::string_view name, std::uint32_t first, std::span<double> out) const override {
    for (std::uint32_t e = 0; e < out.size(); ++e) out[e] = source_.constant(name, first + e);
  }
  void prior(KvId region, bool value, std::uint32_t entry, std::span<double> out) const override {
    for (std::uint32_t e = 0; e < out.size(); ++e) out[e] = source_.prior(region, value, entry, e);
  }

 private:
  const FloatSource& source_;
};

/// Takes the outputs of every token.
class Collector : public ExecutionObserver<double> {
 public:
  Collector(const Program& program, const Survey& survey, Interpreter<FloatArithmetic>& interpreter)
      : program_(program), survey_(survey), interpreter_(interpreter), outputs_(survey.tokens) {}

  void row_values(const Piece&, std::uint32_t, std::span<const double>) override {}
  void program_done() override {}
  void gate(const When&, std::uint32_t, double) override {}
  void token_done(std::uint32_t token) override {
    const Graph& graph = program_.intent;
    std::vector<std::size_t> first(graph.nodes.size());
    std::size_t size = 0;
    for (const NodeId output : graph.outputs) {
      if (!graph.at(output).idle) first[index(output)] = std::exchange(size, size + graph.at(output).size);
    }
    outputs_[token].resize(size);
    for (const Location& output : program_.outputs) {
      const std::uint32_t place = output.address.offset + register_value(survey_.repeat, output.address.base, token);
      const std::vector<double> values = interpreter_.look(output.tile, place, output.length);
      std::copy(values.begin(), values.end(),
                outputs_[token].begin() + static_cast<std::ptrdiff_t>(first[index(output.node)] + output.first));
    }
  }
  std::vector<std::vector<double>> take() { return std::move(outputs_); }

 private:
  const Program& program_;
  const Survey& survey_;
  Interpreter<FloatArithmetic>& interpreter_;
  std::vector<std::vector<double>> outputs_;
};

}  // namespace

Result<std::vector<std::vector<double>>> execute(const Program& program, const FloatSource& source) {
  Faults faults(program, 1);
  const Images images(program);
  const Survey surveyed = survey(program, images, faults);
  if (!faults.empty()) return fail(std::move(faults.take().front()));
  constexpr std::uint64_t kMostOutputs = std::uint64_t{1} << 27;
  std::uint64_t outputs = 0;
  for (const NodeId output : program.intent.outputs) outputs += program.intent.at(output).size;
  if (surveyed.tokens > kMostOutputs / std::max<std::uint64_t>(outputs, 1))
    return fail(
        Error("verify.proof-size", Failure::unsupported, "the program has too many tokens and outputs to be executed"));
  const FloatArithmetic arithmetic;
  FloatWeights weights(source);
  const FloatData data(source);
  Interpreter<FloatArithmetic> interpreter(
      program, images, surveyed, arithmetic, weights, data,
      {.tokens = surveyed.tokens, .start = surveyed.start, .other_start = surveyed.other_start}, faults);
  Collector collector(program, surveyed, interpreter);
  interpreter.run(&collector);
  if (!faults.empty()) return fail(std::move(faults.take().front()));
  return collector.take();
}

}  // namespace danaus::program
