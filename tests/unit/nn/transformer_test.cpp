// The reference transformer against PyTorch's `transformers` (figures of tests/oracle/make_nn_figures.py) and against
// itself: chunks, batches, threads.

#include "danaus/nn/transformer.h"

#include <limits>

#include "danaus/core/parallel.h"
#include "danaus/nn/metrics.h"
#include "nn_support.h"

namespace danaus::nn {
namespace {

constexpr double kOracle = 1e-5;
const std::vector<std::string> kDecoders = {"llama",   "llama-tied", "qwen2",  "mistral",
                                            "mixtral", "phi",        "falcon", "gpt2"};

TEST_CASE("transformer: logits of decoders are those of PyTorch") {
  for (const std::string& name : kDecoders) {
    CAPTURE(name);
    Reference reference(data_folder(name));
    for (const Json& text : texts_of(name)) {
      const std::vector<TokenId> ids = ids_of(text.at("ids"));
      const std::vector<float> logits = value_of(reference->logits(decode_all(*reference, ids)));
      CHECK(worst(logits, flattened(text.at("logits"))) < kOracle);
      const Perplexity found = value_of(perplexity(*reference, ids));
      REQUIRE(found.nll.has_value() == text.contains("nll"));
      if (found.nll) CHECK(*found.nll == doctest::Approx(text.at("nll").get<double>()).epsilon(1e-5));
    }
  }
}

TEST_CASE("transformer: hidden states of bert are those of PyTorch") {
  Reference reference(data_folder("bert"));
  std::vector<float> all;
  std::vector<std::vector<TokenId>> texts;
  for (const Json& text : texts_of("bert")) {
    texts.push_back(ids_of(text.at("ids")));
    const Step step = {nullptr, texts.back()};
    const std::vector<float> hidden = value_of(reference->encode(std::span(&step, 1)));
    CHECK(worst(hidden, flattened(text.at("hidden"))) < kOracle);
    all.insert(all.end(), hidden.begin(), hidden.end());
  }
  std::vector<Step> batch;
  for (const std::vector<TokenId>& ids : texts) batch.push_back({nullptr, ids});
  CHECK(worst(value_of(reference->encode(batch)), all) < 1e-6);
}

TEST_CASE("transformer: other constants in place of the model's, and back") {
  Reference reference(data_folder("bert"));
  const std::vector<TokenId> ids = ids_of(texts_of("bert").front().at("ids"));
  const Step step = {nullptr, ids};
  const std::vector<float> before = value_of(reference->encode(std::span(&step, 1)));
  // The last node adds a bias: twice the bias, and the output is once more of it away.
  const model::ConstantView& last = reference.model->constants.back();
  REQUIRE(reference.model->graph.nodes.back().constant == last.name);
  std::vector<float> bias(last.tensor.elements());
  model::dequantise_rows(last.tensor, 0, 1, bias);
  std::vector<float> twice = bias;
  for (float& value : twice) value += value;
  std::vector<std::pair<std::string, std::vector<float>>> constants = {{last.name, twice}};
  REQUIRE(reference->set_constants(constants).has_value());
  const std::vector<float> after = value_of(reference->encode(std::span(&step, 1)));
  for (std::size_t n = 0; n < after.size(); ++n)
    CHECK(after[n] == doctest::Approx(before[n] + bias[n % bias.size()]).epsilon(1e-5));
  constants = {{last.name, bias}};
  REQUIRE(reference->set_constants(constants).has_value());
  CHECK(value_of(reference->encode(std::span(&step, 1))) == before);
  constants = {{"nobody", bias}};
  CHECK(reference->set_constants(constants).error().id == "nn.constant");
  constants = {{last.name, {1}}};
  CHECK(reference->set_constants(constants).error().id == "nn.constant");
}

TEST_CASE("transformer: logits of bart, its encoder and decoder apart and cached") {
  Reference reference(data_folder("bart"));
  for (const Json& text : texts_of("bart")) {
    const std::vector<TokenId> ids = ids_of(text.at("ids")), decoder_ids = ids_of(text.at("decoder_ids"));
    for (const std::size_t chunk : {std::size_t{1}, std::size_t{4}, decoder_ids.size()}) {
      Sequence sequence = reference->sequence();
      const Step source = {&sequence, ids};
      value_of(reference->encode(std::span(&source, 1)));
      CHECK(sequence.encoded() == ids.size());
      std::vector<float> outputs;
      for (std::size_t first = 0; first < decoder_ids.size(); first += chunk) {
        const Step step = {&sequence,
                           std::span(decoder_ids).subspan(first, std::min(chunk, decoder_ids.size() - first))};
        const std::vector<float> part = value_of(reference->decode(std::span(&step, 1)));
        outputs.insert(outputs.end(), part.begin(), part.end());
      }
      CHECK(worst(value_of(reference->logits(outputs)), flattened(text.at("logits"))) < kOracle);
    }
  }
}

TEST_CASE("transformer: the cache changes nothing") {
  for (const std::string& name : kDecoders) {
    CAPTURE(name);
    Reference reference(data_folder(name));
    const std::vector<TokenId> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7};
    const std::vector<float> whole = decode_all(*reference, ids);
    for (const std::size_t chunk : {1, 2, 5, 13}) CHECK(worst(decode_all(*reference, ids, chunk), whole) < 1e-5);
  }
}

TEST_CASE("transformer: ragged batches are their sequences") {
  for (const std::string& name : kDecoders) {
    CAPTURE(name);
    Reference reference(data_folder(name));
    const std::vector<std::vector<TokenId>> texts = {{3, 1, 4}, {1}, {5, 9, 2, 6, 5, 3, 5, 8}, {9, 7}};
    std::vector<Sequence> sequences(texts.size(), reference->sequence());
    std::vector<std::vector<float>> outputs(texts.size());
    // Uneven steps: text n goes on by n + 1 tokens at a time.
    for (std::size_t round = 0; round < 8; ++round) {
      std::vector<Step> batch;
      std::vector<std::size_t> members;
      for (std::size_t n = 0; n < texts.size(); ++n) {
        const std::size_t first = sequences[n].length();
        if (first == texts[n].size()) continue;
        batch.push_back({&sequences[n], std::span(texts[n]).subspan(first, std::min(n + 1, texts[n].size() - first))});
        members.push_back(n);
      }
      if (batch.empty()) break;
      const std::vector<float> result = value_of(reference->decode(batch));
      std::size_t row = 0;
      for (std::size_t n = 0; n < batch.size(); ++n) {
        const std::size_t hidden = reference->hidden();
        outputs[members[n]].insert(outputs[members[n]].end(),
                                   result.begin() + static_cast<std::ptrdiff_t>(row * hidden),
                                   result.begin() + static_cast<std::ptrdiff_t>((row + batch[n].ids.size()) * hidden));
        row += batch[n].ids.size();
      }
    }
    for (std::size_t n = 0; n < texts.size(); ++n) CHECK(worst(outputs[n], decode_all(*reference, texts[n])) < 1e-5);
  }
}

TEST_CASE("transformer: the same bits for any thread count") {
  for (const std::string& name : {std::string("llama"), std::string("mixtral"), std::string("gpt2")}) {
    CAPTURE(name);
    Reference reference(data_folder(name));
    const std::vector<TokenId> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4};
    set_thread_count(1);
    const std::vector<float> one = decode_all(*reference, ids, 7);
    const std::vector<float> logits = value_of(reference->logits(one));
    set_thread_count(0);
    CHECK(decode_all(*reference, ids, 7) == one);
    CHECK(value_of(reference->logits(one)) == logits);
  }
}

TEST_CASE("transformer: weights that are not held give the same") {
  for (const std::string& name : {std::string("llama"), std::string("gpt2")}) {
    Reference held(data_folder(name)), streamed(data_folder(name), {.resident_bytes = 0});
    const std::vector<TokenId> ids = {3, 1, 4, 1, 5};
    CHECK(decode_all(*held, ids) == decode_all(*streamed, ids));
  }
}

/// Passes everything on and notes what it sees.
class Watcher final : public LinearBackend {
 public:
  explicit Watcher(LinearBackend& inner) : inner_(inner) {}
  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y) override {
    calls.push_back({number, tokens.front(), tokens.size()});
    DANAUS_CHECK(inner_.multiply(number, x, tokens, y));
    if (number == poisoned) y.back() = std::numeric_limits<float>::infinity();
    return {};
  }
  struct Call {
    std::size_t number;
    std::uint64_t first;
    std::size_t tokens;
  };
  std::vector<Call> calls;
  std::size_t poisoned = SIZE_MAX;

 private:
  LinearBackend& inner_;
};

TEST_CASE("transformer: a backend sees every operator and the running number of the token") {
  Reference reference(data_folder("llama"));
  Watcher watcher(*reference.backend);
  Transformer transformer = value_of(Transformer::create(*reference.model, watcher));
  const std::vector<TokenId> ids = {3, 1, 4, 1, 5};
  CHECK(decode_all(transformer, ids, 3) == decode_all(*reference, ids, 3));
  REQUIRE(watcher.calls.size() == 2 * reference.model->linear.size());
  for (std::size_t n = 0; n < watcher.calls.size(); ++n) {
    const bool second = n >= reference.model->linear.size();
    CHECK(watcher.calls[n].number == n % reference.model->linear.size());
    CHECK(watcher.calls[n].first == (second ? 3 : 0));
    CHECK(watcher.calls[n].tokens == (second ? 2 : 3));
  }
  CHECK(transformer.next_token() == 5);

  watcher.poisoned = 9;
  Sequence sequence = transformer.sequence();
  const Step step = {&sequence, ids};
  const Result<std::vector<float>> failed = transformer.decode(std::span(&step, 1));
  REQUIRE(error_of(failed) == "nn.non-finite");
  CHECK(failed.error().message ==
        "linear '" + reference.model->linear[9].name + "' gives a value that is no finite number for token 5");
}

TEST_CASE("transformer: an expert's tokens keep their numbers") {
  Reference reference(data_folder("mixtral"));
  Watcher watcher(*reference.backend);
  Transformer transformer = value_of(Transformer::create(*reference.model, watcher));
  transformer.set_next_token(100);
  const std::vector<TokenId> ids = {3, 1, 4, 1, 5, 9, 2, 6};
  decode_all(transformer, ids);
  // Two of four experts per token: every one of their three operators sees 2 * 8 tokens per layer in all.
  std::size_t tokens = 0;
  for (const Watcher::Call& call : watcher.calls) {
    CHECK(call.first >= 100);
    CHECK(call.first + call.tokens <= 108);
    if (reference.model->linear[call.number].name.find("experts") != std::string::npos) tokens += call.tokens;
  }
  CHECK(tokens == 2 * 3 * 2 * ids.size());
}

/// Every operator of the backend computes what factor::apply does, for one token, a few and many.
static void check_against_apply(LinearBackend& backend, const std::vector<factor::Factors>& operators) {
  for (std::size_t number = 0; number < operators.size(); ++number) {
    const Structure& structure = operators[number].structure;
    for (const std::size_t tokens : {std::size_t{1}, std::size_t{7}, std::size_t{300}}) {
      std::vector<float> x(tokens * structure.in), y(tokens * structure.out), expected(y.size());
      for (std::size_t n = 0; n < x.size(); ++n) x[n] = static_cast<float>(std::sin(1.7 * static_cast<double>(n * n)));
      REQUIRE(backend.multiply(number, x, std::vector<std::uint64_t>(tokens), y).has_value());
      for (std::size_t t = 0; t < tokens; ++t)
        factor::apply(operators[number], std::span(x).subspan(t * structure.in, structure.in),
                      std::span(expected).subspan(t * structure.out, structure.out));
      CHECK(worst(y, expected) < 1e-5);
    }
  }
}

TEST_CASE("transformer: factors of full rank are the weights, others what factor::apply computes") {
  Reference reference(data_folder("llama"));
  const std::vector<TokenId> ids = {3, 1, 4, 1, 5, 9};
  for (const bool exact : {true, false}) {
    CAPTURE(exact);
    std::vector<factor::Factors> operators;
    for (const model::LinearOperator& operation : reference.model->linear) {
      // 3 x 5 blocks: padded at both ends; the second kind trimmed where that cuts blocks.
      Structure structure = exact ? Structure::blocks(operation.out, operation.in, 3, 5, 6)
                                  : Structure::padded_square(operation.out, operation.in);
      if (!exact && operators.size() % 2 == 1) structure = structure.trim();
      if (operators.size() % 5 == 4) structure = Structure::dense(operation.out, operation.in);
      operators.push_back(value_of(factor::project(model::read_weights(operation), structure)).factors);
    }
    const std::vector<factor::Factors> copy = operators;
    const std::unique_ptr<LinearBackend> backend = value_of(factor_backend(*reference.model, std::move(operators)));
    check_against_apply(*backend, copy);
    if (!exact) continue;
    Transformer transformer = value_of(Transformer::create(*reference.model, *backend));
    CHECK(worst(decode_all(transformer, ids), decode_all(*reference, ids)) < 1e-3);
  }
  std::vector<factor::Factors> few(reference.model->linear.size() - 1);
  CHECK(error_of(factor_backend(*reference.model, few)) == "nn.factors");
  few.emplace_back();
  CHECK(error_of(factor_backend(*reference.model, few)) == "nn.factors");
}

TEST_CASE("transformer: gathered operators of all inputs are the weights, others what factor::apply computes") {
  Reference reference(data_folder("llama"));
  const std::vector<TokenId> ids = {3, 1, 4, 1, 5, 9};
  for (const std::uint32_t group : {1000u, 5u}) {
    std::vector<factor::Factors> whole, part;
    for (const model::LinearOperator& operation : reference.model->linear) {
      const std::uint32_t outputs = std::min(group, operation.out), inputs = (operation.in + 2) / 3;
      const std::vector<float> weights = model::read_weights(operation);
      whole.push_back(
          value_of(factor::project(weights, Structure::gather(operation.out, operation.in, outputs, operation.in)))
              .factors);
      part.push_back(
          value_of(factor::project(weights, Structure::gather(operation.out, operation.in, outputs, inputs))).factors);
    }
    const std::vector<factor::Factors> copy = part;
    const std::unique_ptr<LinearBackend> exact = value_of(factor_backend(*reference.model, std::move(whole)));
    Transformer transformer = value_of(Transformer::create(*reference.model, *exact));
    const double difference = worst(decode_all(transformer, ids), decode_all(*reference, ids));
    if (group == 1000)
      CHECK(difference == 0);  // one block with all inputs is the same product
    else
      CHECK(difference < 1e-4);
    const std::unique_ptr<LinearBackend> backend = value_of(factor_backend(*reference.model, std::move(part)));
    check_against_apply(*backend, copy);
  }
}

TEST_CASE("transformer: what cannot be computed is an error") {
  Reference llama(data_folder("llama")), bert(data_folder("bert")), bart(data_folder("bart"));
  const auto decode = [](Reference& reference, const std::vector<TokenId>& ids) {
    Sequence sequence = reference->sequence();
    const Step step = {&sequence, ids};
    return error_of(reference->decode(std::span(&step, 1)));
  };
  const auto encode = [](Reference& reference, const std::vector<TokenId>& ids) {
    const Step step = {nullptr, ids};
    return error_of(reference->encode(std::span(&step, 1)));
  };
  CHECK(decode(llama, {}) == "nn.no-tokens");
  CHECK(decode(llama, {28}).empty());
  CHECK(decode(llama, {29}) == "nn.token-id");
  CHECK(decode(llama, std::vector<TokenId>(24, 1)).empty());
  CHECK(decode(llama, std::vector<TokenId>(25, 1)) == "nn.context");
  CHECK(encode(bert, std::vector<TokenId>(25, 1)) == "nn.context");
  CHECK(encode(llama, {1}) == "nn.no-encoder");
  CHECK(decode(bert, {1}) == "nn.no-decoder");
  CHECK(decode(bart, {1}) == "nn.not-encoded");
  CHECK(error_of(bert->logits(std::vector<float>(16))) == "nn.no-head");
  CHECK(error_of(perplexity(*bert, std::vector<TokenId>{1, 2})) == "nn.no-decoder");
  CHECK(error_of(perplexity(*bart, std::vector<TokenId>{1, 2})) == "nn.not-encoded");
  const std::vector<TokenId> target = {29};
  CHECK(error_of(llama->negative_log_likelihood(std::vector<float>(16), target)) == "nn.token-id");
  const model::Model shape = value_of(model::load("gpt2"));
  CHECK(error_of(float_backend(shape)) == "nn.no-weights");
  CHECK(error_of(Transformer::create(shape, *llama.backend)) == "nn.no-weights");
  const model::Model graph = value_of(model::load(std::string(DANAUS_SOURCE_DIR) + "/tests/data/onnx/mlp.onnx"));
  CHECK(error_of(Transformer::create(graph, *llama.backend)) == "nn.no-embedding");
}

}  // namespace
}  // namespace danaus::nn
