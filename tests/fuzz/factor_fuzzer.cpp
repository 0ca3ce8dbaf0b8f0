// Any bytes as a factor file, as a policy file, as weights and as a moment file: an error, or factors, structures and
// moments that can be used.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "danaus/factor/activation.h"
#include "danaus/factor/choose.h"
#include "danaus/factor/factor.h"
#include "danaus/factor/moments.h"

namespace {

/// A small operator whose shape, structure and weights are the bytes.
void project_bytes(const std::uint8_t* data, std::size_t size) {
  if (size < 5) return;
  const std::uint32_t out = 1 + data[0] % 40, in = 1 + data[1] % 40;
  const bool gathered = data[2] >= 128;
  const danaus::Structure structure =
      gathered ? danaus::Structure::gather(out, in, 1 + data[3] % out, 1 + data[4] % in)
               : danaus::Structure::blocks(out, in, 1 + data[2] % 8, 1 + data[3] % 8, 1 + data[4] % 8);
  std::vector<float> weights(structure.dense_parameters());
  std::memcpy(weights.data(), data + 5, std::min(size - 5, weights.size() * sizeof(float)));
  const danaus::Result<danaus::factor::Projection> projection = danaus::factor::project(weights, structure);
  const bool finite = std::all_of(weights.begin(), weights.end(), [](float value) { return std::isfinite(value); });
  if (projection.has_value() != finite) std::abort();
  if (projection && !(projection->error.relative <= 1 + 1e-6)) std::abort();
  if (projection && !danaus::check_selection(projection->factors.structure)) std::abort();
}

/// Moments of any bytes: weights are projected with them, or it is said that they are none.
void use_moments(std::span<const std::byte> bytes) {
  const auto set = danaus::factor::parse_moments(bytes, "fuzz.safetensors");
  if (!set) return;
  for (const danaus::factor::InputMoments& input : set->inputs) {
    if (input.moments.empty() || input.in > 40) continue;
    danaus::factor::Metric metric(input, 0.01);
    const std::vector<float> weights(4 * input.in, 0.5f);
    for (const danaus::Structure& structure : {danaus::Structure::gather(4, input.in, 3, (input.in + 1) / 2),
                                               danaus::Structure::blocks(4, input.in, 2, 2, 1)}) {
      const danaus::Result<danaus::factor::Projection> projection =
          danaus::factor::project(weights, structure, metric, {});
      if (projection && !danaus::check_selection(projection->factors.structure)) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::uint8_t kind = data[0] % 4;
  ++data;
  --size;
  if (kind == 0) {
    const auto factors = danaus::factor::parse_factors(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
    if (!factors) return 0;
    for (const auto& [name, factor] : factors->operators) {
      std::vector<float> x(factor.structure.in, 1), y(factor.structure.out);
      danaus::factor::apply(factor, x, y);
    }
  } else if (kind == 1) {
    const auto rules = danaus::factor::parse_policy({reinterpret_cast<const char*>(data), size}, "fuzz.toml", {});
    if (!rules) return 0;
    for (const danaus::factor::LayerRule& rule : *rules) {
      (void)danaus::factor::matches(rule.pattern, "layer.0.ffn.up");
      (void)danaus::factor::choose_structure(96, 64, rule.policy, 256);
    }
  } else if (kind == 2) {
    project_bytes(data, size);
  } else {
    use_moments(std::as_bytes(std::span(data, size)));
  }
  return 0;
}
