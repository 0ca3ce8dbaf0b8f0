#include "danaus/model/summary.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <tuple>

// Groups by name: in "blk.7.ffn_up.3" the first number is the layer's, the second the expert's.

namespace danaus::model {
namespace {

std::string pattern_of(const std::string& name) {
  std::string pattern;
  int numbers = 0;
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find('.', start), name.size());
    const std::string part = name.substr(start, end - start);
    const bool is_number = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return std::isdigit(static_cast<unsigned char>(c)) != 0;
    });
    if (start != 0) pattern += '.';
    pattern += !is_number ? part : numbers++ == 0 ? "{layer}" : "{expert}";
    start = end + 1;
  }
  return pattern;
}

std::string_view reason_of(NodeKind kind) {
  switch (kind) {
    case NodeKind::norm:
      return "needs mean and deviation of the whole vector";
    case NodeKind::attend:
      return "keys and values are other ones for every text";
    case NodeKind::rope:
      return "turns pairs of elements by the position";
    case NodeKind::route:
      return "compares the logits of the router";
    default:
      return "element by element";
  }
}

/// Adds one matrix to the group that it belongs to, or as a new group behind the others.
class Groups {
 public:
  explicit Groups(std::vector<MatrixGroup>& groups) : groups_(groups) {}

  void add(MatrixGroup matrix) {
    matrix.name = pattern_of(matrix.name);
    const auto [entry, is_new] =
        numbers_.emplace(std::tuple(matrix.name, matrix.rows, matrix.cols, matrix.type, matrix.reason), groups_.size());
    if (is_new) groups_.push_back(std::move(matrix));
    ++groups_[entry->second].count;
  }

 private:
  std::vector<MatrixGroup>& groups_;
  std::map<std::tuple<std::string, std::uint64_t, std::uint64_t, std::string, std::string>, std::size_t> numbers_;
};

}  // namespace

Summary summarise(const Model& model) {
  Summary summary;
  Groups operators(summary.operators);
  std::uint64_t largest = 0, guarded = 0;
  for (const LinearOperator& operation : model.linear) {
    const std::uint64_t weights = std::uint64_t{operation.out} * operation.in;
    const std::string type = operation.weight ? std::string(name_of(operation.weight->tensor.type)) : "";
    operators.add({operation.name, 0, operation.out, operation.in, type, ""});
    summary.operator_weights += weights;
    if (model.graph.at(operation.node).guard) guarded += weights;
    if (weights <= largest) continue;
    largest = weights;
    summary.largest_operator = operation.name;
  }
  summary.operator_count = model.linear.size();
  summary.weights_per_token = summary.operator_weights - guarded;
  if (guarded != 0)
    summary.weights_per_token += guarded / model.dimensions.experts * model.dimensions.experts_per_token;
  std::map<NodeKind, std::uint64_t> kinds;
  for (const Node& node : model.graph.nodes) {
    if (node.kind != NodeKind::linear && node.kind != NodeKind::input) ++kinds[node.kind];
  }
  for (const auto& [kind, count] : kinds) summary.nodes.push_back({kind, count, reason_of(kind)});
  Groups digital(summary.digital);
  for (const DigitalMatrix& matrix : model.digital)
    digital.add({matrix.name, 0, matrix.rows, matrix.cols, "", matrix.reason});
  std::set<const MappedFile*> files;
  for (const Tensor& tensor : model.tensors) {
    if (tensor.file != nullptr && files.insert(tensor.file.get()).second)
      summary.file_bytes += tensor.file->bytes().size();
  }
  summary.files = files.size();
  summary.largest_operator_bytes = largest * sizeof(float);
  if (model.has_weights()) summary.projection_bytes = 2 * summary.largest_operator_bytes;
  return summary;
}

}  // namespace danaus::model
