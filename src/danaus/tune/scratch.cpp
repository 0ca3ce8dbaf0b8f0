// The trained model is the file that gave its shape with other numbers in its tensors, so nothing has to know how to
// write the rest of it. Number n of the draws of the matrix i is number n of the stream i.

#include "danaus/tune/scratch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/files.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/random.h"
#include "danaus/model/encode.h"

namespace danaus::tune {
namespace {

constexpr double kEmbeddingDeviation = 0.02;
// Of the streams of random numbers; operators have their own numbers.
constexpr std::uint64_t kEmbeddingStream = 1ull << 40, kHeadStream = kEmbeddingStream + 1;

std::vector<float> drawn(std::size_t count, double deviation, std::uint64_t seed, std::uint64_t stream) {
  std::vector<float> values(count);
  random_gaussians(seed, stream, 0, values);
  for (float& value : values) value *= static_cast<float>(deviation);
  return values;
}

Error unsupported(const model::Model& model, std::string what) {
  return Error("tune.unsupported", Failure::unsupported, fmt::format("'{}' {}", model.name, what))
      .with_hint(
          "training from scratch takes a decoder of the llama family in one file, with tensors of type F32, "
          "F16, BF16 or Q8_0");
}

bool is_whole(const model::WeightView& view) { return view.first == 0 && !view.transposed; }

/// Names of the tensors that training changes; nothing if one of them is more than what is trained.
std::optional<std::map<std::string, std::string>> trained_tensors(const model::Model& model) {
  std::map<std::string, std::string> names;  // of the tensors, to what is trained
  for (const model::LinearOperator& linear : model.linear) {
    if (!is_whole(*linear.weight) || linear.weight->tensor.elements() != std::uint64_t{linear.out} * linear.in)
      return {};
    names[linear.weight->tensor.name] = linear.name;
  }
  for (const model::ConstantView& view : model.constants) {
    if (view.first != 0 || view.count != view.tensor.elements()) return {};
    names[view.tensor.name] = view.name;
  }
  for (const model::WeightView* view : {&model.embeddings.front().tokens, &model.head->weight}) {
    if (!is_whole(*view)) return {};
    names[view->tensor.name] = view->tensor.name;
  }
  return names;
}

}  // namespace

Result<void> check_from_scratch(const model::Model& model) {
  if (!model.has_weights() || model.embeddings.size() != 1)
    return fail(unsupported(model, "has no tensors, or not one embedding of tokens"));
  if (!model.head || model.head->bias) return fail(unsupported(model, "has no lm head, or one with a bias"));
  const model::Embedding& embedding = model.embeddings.front();
  if (embedding.positions || embedding.types || embedding.gain || embedding.scale != 1)
    return fail(unsupported(model, "has an embedding that is more than a row for each token"));
  const std::optional<std::map<std::string, std::string>> trained = trained_tensors(model);
  if (!trained) return fail(unsupported(model, "has tensors that hold more than one operator"));
  for (const model::Tensor& tensor : model.tensors) {
    if (!trained->contains(tensor.name))
      return fail(unsupported(model, fmt::format("has a tensor '{}' that is not trained", tensor.name)));
    if (!model::can_encode(tensor.type))
      return fail(unsupported(model, fmt::format("has a tensor '{}' of type {}, which cannot be written", tensor.name,
                                                 model::name_of(tensor.type))));
    if (tensor.file == nullptr || tensor.file != model.tensors.front().file)
      return fail(unsupported(model, "is in several files, or in none"));
  }
  return {};
}

factor::FactorFile random_start(const model::Model& model, std::uint64_t seed) {
  factor::FactorFile start;
  for (std::size_t n = 0; n < model.linear.size(); ++n) {
    const model::LinearOperator& linear = model.linear[n];
    const double deviation = 0.5 / std::sqrt(static_cast<double>(linear.in));
    start.operators.emplace_back(linear.name,
                                 factor::Factors{Structure::dense(linear.out, linear.in),
                                                 drawn(std::size_t{linear.out} * linear.in, deviation, seed, n),
                                                 {}});
  }
  std::map<std::string_view, float> values;
  for (const Node& node : model.graph.nodes)
    if (!node.constant.empty()) values[node.constant] = node.kind == NodeKind::norm ? 1.0F : 0.0F;
  for (const model::ConstantView& view : model.constants)
    start.constants.emplace_back(view.name, std::vector<float>(view.count, values.at(view.name)));
  return start;
}

void add_matrices(const model::Model& model, std::uint64_t seed, double rate, TrainingNetwork& made) {
  const model::Embedding& embedding = model.embeddings.front();
  const std::size_t count = std::size_t{embedding.vocab} * embedding.size;
  made.network.trained_embedding = made.network.trained_head = made.parameters.size();
  made.parameters.push_back(
      {embedding.tokens.tensor.name, drawn(count, kEmbeddingDeviation, seed, kEmbeddingStream), 0});
  if (!model.head->tied) {
    made.network.trained_head = made.parameters.size();
    made.parameters.push_back(
        {model.head->weight.tensor.name, drawn(count, kEmbeddingDeviation, seed, kHeadStream), 0});
  }
  for (Parameter& parameter : made.parameters) parameter.rate = rate * kScratchRate;
}

factor::Constants trained_matrices(const model::Model& model, std::span<const Parameter> parameters) {
  factor::Constants matrices;
  for (const Parameter& parameter : parameters) {
    if (parameter.name == model.embeddings.front().tokens.tensor.name ||
        parameter.name == model.head->weight.tensor.name)
      matrices.emplace_back(parameter.name, parameter.values);
  }
  return matrices;
}

Result<void> write_model(const std::filesystem::path& path, const model::Model& model, const Tuned& tuned) {
  DANAUS_CHECK(check_from_scratch(model));
  std::map<std::string_view, const std::vector<float>*> values;
  for (const auto& [name, factors] : tuned.factors.operators) values[name] = &factors.right;
  for (const factor::Constants* list : {&tuned.factors.constants, &tuned.matrices}) {
    for (const auto& [name, numbers] : *list) values[name] = &numbers;
  }
  const std::map<std::string, std::string> trained = *trained_tensors(model);
  const std::span<const std::byte> original = model.tensors.front().file->bytes();
  std::vector<std::byte> bytes(original.begin(), original.end());
  for (const model::Tensor& tensor : model.tensors) {
    const std::vector<float>& numbers = *values.at(trained.at(tensor.name));
    ensure(numbers.size() == tensor.elements(), "a tensor has as many numbers as were trained");
    model::encode(
        tensor.type, numbers,
        std::span(bytes).subspan(static_cast<std::size_t>(tensor.bytes.data() - original.data()), tensor.bytes.size()));
  }
  DANAUS_TRY(file, AtomicFile::create(path));
  DANAUS_CHECK(file.write(bytes));
  return file.commit();
}

}  // namespace danaus::tune
