// The float forward pass of a decoder: prints the seconds of a prompt with all its logits and of single tokens behind
// it, the best of some turns, as JSON. The partner of compare_forward.py.
//   bench_forward MODEL TOKENS DECODED THREADS TURNS

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "danaus/core/parallel.h"
#include "danaus/nn/transformer.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

danaus::Result<void> run(const char* path, std::size_t tokens, std::size_t decoded, int turns) {
  using namespace danaus;
  DANAUS_TRY(model, model::load(path));
  DANAUS_TRY(backend, nn::float_backend(model));
  DANAUS_TRY(transformer, nn::Transformer::create(model, *backend));
  std::vector<nn::TokenId> ids;
  for (std::size_t n = 0; n < tokens + decoded; ++n)
    ids.push_back(static_cast<nn::TokenId>(n * 7919 % transformer.vocab()));
  double prompt = 1e300, scores = 1e300, single = 1e300;
  for (int turn = 0; turn < turns; ++turn) {
    nn::Sequence sequence = transformer.sequence();
    const nn::Step step = {&sequence, std::span(ids).first(tokens)};
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    DANAUS_TRY(outputs, transformer.decode(std::span(&step, 1)));
    prompt = std::min(prompt, seconds_since(start));
    start = std::chrono::steady_clock::now();
    DANAUS_CHECK(transformer.negative_log_likelihood(outputs, std::span(ids).subspan(1, tokens)));
    scores = std::min(scores, seconds_since(start));
    start = std::chrono::steady_clock::now();
    for (std::size_t n = tokens; n < tokens + decoded; ++n) {
      const nn::Step next = {&sequence, std::span(ids).subspan(n, 1)};
      DANAUS_TRY(output, transformer.decode(std::span(&next, 1)));
      DANAUS_CHECK(transformer.logits(output));
    }
    single = std::min(single, seconds_since(start) / static_cast<double>(decoded));
  }
  fmt::print("{{\"prompt_s\":{},\"scores_s\":{},\"token_s\":{},\"blas\":\"{}\"}}\n", prompt, scores, single,
             nn::blas_description());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    fmt::print(stderr, "usage: bench_forward MODEL TOKENS DECODED THREADS TURNS\n");
    return 2;
  }
  danaus::set_thread_count(std::atoi(argv[4]));
  const danaus::Result<void> done =
      run(argv[1], static_cast<std::size_t>(std::max(1, std::atoi(argv[2]))),
          static_cast<std::size_t>(std::max(1, std::atoi(argv[3]))), std::max(1, std::atoi(argv[5])));
  if (done) return 0;
  fmt::print(stderr, "{}\n", danaus::to_string(done.error()));
  return static_cast<int>(done.error().failure);
}
