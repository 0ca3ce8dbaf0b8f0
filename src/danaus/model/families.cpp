#include "danaus/model/families.h"

#include <algorithm>

#include "danaus/core/internal_error.h"

// The table of families. Whatever tells one transformer from another stands here or in its Shape; transformer.cpp reads
// both and knows no family by name.

namespace danaus::model {
namespace {

constexpr FamilyInfo kFamilies[] = {
    {.family = Family::llama,
     .name = "llama",
     .help = "pre-norm decoder with rotary embedding, rms norm and a gated feed-forward part; also with biases, layer "
             "norm, a parallel feed-forward part, experts"},
    {.family = Family::gpt2,
     .name = "gpt2",
     .rotary = false,
     .activation = NodeKind::gelu_tanh,
     .gated = false,
     .norm = Config::Norm::layer,
     .biases = Biases::all,
     .help = "pre-norm decoder with learned positions, layer norm and biases"},
    {.family = Family::bert,
     .name = "bert",
     .rotary = false,
     .norm_after = true,
     .encoder = true,
     .activation = NodeKind::gelu,
     .gated = false,
     .norm = Config::Norm::layer,
     .biases = Biases::all,
     .epsilon = 1e-12,
     .help = "post-norm encoder with learned positions, layer norm and biases; no pooler, no task head"},
    {.family = Family::bart,
     .name = "bart",
     .rotary = false,
     .norm_after = true,
     .encoder = true,
     .activation = NodeKind::gelu,
     .gated = false,
     .norm = Config::Norm::layer,
     .biases = Biases::all,
     .help = "an encoder like bert's and a post-norm decoder with cross-attention"}};

}  // namespace

std::span<const FamilyInfo> families() { return kFamilies; }

const FamilyInfo& info_of(Family family) {
  const FamilyInfo* found = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                         [&](const FamilyInfo& entry) { return entry.family == family; });
  ensure(found != std::end(kFamilies), "the family has shapes");
  return *found;
}

Shape shape_of(Family family) {
  const FamilyInfo& info = info_of(family);
  Shape shape;
  shape.family = family;
  shape.activation = info.activation;
  shape.gated = info.gated;
  shape.norm = info.norm;
  shape.biases = info.biases;
  shape.epsilon = info.epsilon;
  return shape;
}

std::string_view name_of(Family family) {
  if (family == Family::matrices) return "matrices";
  return family == Family::graph ? "graph" : info_of(family).name;
}

}  // namespace danaus::model
