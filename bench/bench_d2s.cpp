// Projects random weights of the size of BERT-large (24 layers of four 1024x1024 and two 4096x1024 operators) and
// prints the seconds as JSON: what compare_d2s.py sets against batched LAPACK.
//   bench_d2s [FILE [threads]]: the six matrices of one layer come from FILE (float32, one after the other), or are
//   random.

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/factor/factor.h"

int main(int argc, char** argv) {
  using danaus::Structure;
  constexpr int kLayers = 24;
  std::vector<Structure> structures(4, Structure::blocks(1024, 1024, 32, 32, 1));
  structures.resize(6, Structure::blocks(4096, 1024, 32, 32, 1));
  danaus::set_thread_count(argc > 2 ? std::atoi(argv[2]) : 1);

  std::vector<std::vector<float>> weights;
  std::ifstream file;
  if (argc > 1) file.open(argv[1], std::ios::binary);
  for (std::size_t n = 0; n < structures.size(); ++n) {
    std::vector<float> matrix(structures[n].dense_parameters());
    if (argc > 1) {
      file.read(reinterpret_cast<char*>(matrix.data()), static_cast<std::streamsize>(matrix.size() * sizeof(float)));
      if (!file) {
        fmt::print(stderr, "bench_d2s: {} is too short\n", argv[1]);
        return 3;
      }
    } else {
      for (std::size_t i = 0; i < matrix.size(); ++i)
        matrix[i] = static_cast<float>(danaus::random_gaussian(1, n, i) * 0.02);
    }
    weights.push_back(std::move(matrix));
  }

  std::vector<double> relative(structures.size()), optimum(structures.size());
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  for (int layer = 0; layer < kLayers; ++layer) {
    for (std::size_t n = 0; n < structures.size(); ++n) {
      const danaus::Result<danaus::factor::Projection> projection = danaus::factor::project(weights[n], structures[n]);
      if (!projection) return 1;
      relative[n] = projection->error.relative;
      optimum[n] = projection->error.optimum;
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::string errors;
  for (std::size_t n = 0; n < relative.size(); ++n)
    errors += fmt::format("{}[{:.17g}, {:.17g}]", n == 0 ? "" : ", ", relative[n], optimum[n]);
  fmt::print("{{\"seconds\": {:.6f}, \"errors\": [{}]}}\n", seconds, errors);
  return 0;
}
