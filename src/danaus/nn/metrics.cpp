// Perplexity over windows, and one vector per text. A window is computed chunk by chunk through the cache, so that
// memory does not grow with it; the scores of a chunk's tokens are taken before the next chunk, but for its last
// output, which predicts the first token of the next.

#include "danaus/nn/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "danaus/core/files.h"
#include "danaus/core/internal_error.h"

namespace danaus::nn {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestJson = 1u << 20;

/// Sums -ln p of those tokens of one window that come at or behind `scored_from`; `done` counts the text's tokens.
Result<double> score_window(Transformer& transformer, std::span<const TokenId> window, std::size_t scored_from,
                            std::uint32_t chunk, const std::function<void(std::size_t)>& done) {
  const std::size_t hidden = transformer.hidden();
  Sequence sequence = transformer.sequence();
  double sum = 0;
  for (std::size_t first = 0; first < window.size(); first += chunk) {
    const std::size_t count = std::min<std::size_t>(chunk, window.size() - first);
    const Step step = {&sequence, window.subspan(first, count)};
    DANAUS_TRY(outputs, transformer.decode(std::span(&step, 1)));
    // Output t predicts token t + 1.
    const std::size_t begin = std::max(first + 1, scored_from), end = std::min(first + count + 1, window.size());
    if (begin < end) {
      DANAUS_TRY(scores, transformer.negative_log_likelihood(
                             std::span(outputs).subspan((begin - 1 - first) * hidden, (end - begin) * hidden),
                             window.subspan(begin, end - begin)));
      for (const double score : scores) sum += score;
    }
    done(first + count);
  }
  return sum;
}

Error pooling_error(const std::filesystem::path& file, std::string text) {
  return Error("nn.pooling", Failure::bad_input, std::move(text)).in_file(file.string());
}

Result<Json> read_json(const std::filesystem::path& path) {
  DANAUS_TRY(text, read_text(path, kLargestJson));
  Json document = Json::parse(text, nullptr, false);
  if (document.is_discarded()) return fail(pooling_error(path, "this is not JSON"));
  return document;
}

/// The one kind of pooling that 1_Pooling/config.json switches on.
Result<Pooling::Kind> read_kind(const std::filesystem::path& path) {
  constexpr std::pair<std::string_view, Pooling::Kind> kKinds[] = {{"pooling_mode_mean_tokens", Pooling::Kind::mean},
                                                                   {"pooling_mode_cls_token", Pooling::Kind::first},
                                                                   {"pooling_mode_lasttoken", Pooling::Kind::last},
                                                                   {"pooling_mode_max_tokens", Pooling::Kind::max}};
  DANAUS_TRY(document, read_json(path));
  if (!document.is_object()) return fail(pooling_error(path, "the document is not an object"));
  std::optional<Pooling::Kind> found;
  for (const auto& [key, value] : document.items()) {
    if (!key.starts_with("pooling_mode_")) continue;
    if (!value.is_boolean()) return fail(pooling_error(path, fmt::format("'{}' is not true or false", key)));
    if (!value.get<bool>()) continue;
    const auto* known =
        std::find_if(std::begin(kKinds), std::end(kKinds), [&](const auto& kind) { return kind.first == key; });
    if (known == std::end(kKinds) || found)
      return fail(
          Error("nn.pooling", Failure::unsupported,
                found ? "several kinds of pooling are joined" : fmt::format("the pooling '{}' is not supported", key))
              .in_file(path.string()));
    found = known->second;
  }
  if (!found) return fail(pooling_error(path, "no kind of pooling is switched on"));
  return *found;
}

std::vector<float> pool(std::span<const float> outputs, std::size_t size, const Pooling& pooling) {
  const std::size_t tokens = outputs.size() / size;
  std::vector<double> sum(size);
  for (std::size_t e = 0; e < size; ++e) {
    const auto at = [&](std::size_t token) { return double{outputs[token * size + e]}; };
    switch (pooling.kind) {
      case Pooling::Kind::mean:
        for (std::size_t token = 0; token < tokens; ++token) sum[e] += at(token);
        sum[e] /= static_cast<double>(tokens);
        break;
      case Pooling::Kind::first:
        sum[e] = at(0);
        break;
      case Pooling::Kind::last:
        sum[e] = at(tokens - 1);
        break;
      case Pooling::Kind::max:
        sum[e] = at(0);
        for (std::size_t token = 1; token < tokens; ++token) sum[e] = std::max(sum[e], at(token));
        break;
    }
  }
  double squares = 0;
  for (const double value : sum) squares += value * value;
  const double length = pooling.normalise && squares > 0 ? std::sqrt(squares) : 1;
  std::vector<float> result(size);
  for (std::size_t e = 0; e < size; ++e) result[e] = static_cast<float>(sum[e] / length);
  return result;
}

}  // namespace

std::string_view name_of(Pooling::Kind kind) {
  switch (kind) {
    case Pooling::Kind::mean:
      return "mean";
    case Pooling::Kind::first:
      return "first";
    case Pooling::Kind::last:
      return "last";
    case Pooling::Kind::max:
      return "max";
  }
  return "";
}

Result<Perplexity> perplexity(Transformer& transformer, std::span<const TokenId> ids, const WindowRule& rule,
                              Progress& progress, std::uint32_t chunk) {
  ensure(chunk >= 1, "a chunk has tokens");
  const std::size_t length = rule.length == 0 ? transformer.context() : rule.length;
  const std::size_t stride = rule.stride == 0 ? length : rule.stride;
  if (length > transformer.context() || stride > length)
    return fail(
        Error("nn.window", Failure::usage,
              fmt::format("windows of {} tokens every {} are not possible", length, stride))
            .with_hint(fmt::format("a window has at most the {} tokens of the context, and begins before the one "
                                   "before it ends",
                                   transformer.context())));
  if (ids.empty())
    return fail(Error("nn.no-tokens", Failure::bad_input, "there are no tokens")
                    .with_hint("the text is empty, or the tokenizer made nothing of it"));
  Perplexity result;
  result.tokens = ids.size();
  result.length = static_cast<std::uint32_t>(length);
  result.stride = static_cast<std::uint32_t>(stride);
  double sum = 0;
  std::size_t end = 0;  // tokens that some window has held
  progress.begin("perplexity", ids.size());
  for (std::size_t first = 0; end < ids.size(); first += stride) {
    const std::size_t scored_from = std::max(end, first + 1);
    const std::size_t held = end;
    end = std::min(first + length, ids.size());
    DANAUS_TRY(part, score_window(transformer, ids.subspan(first, end - first), scored_from - first, chunk,
                                  [&](std::size_t done) { progress.update(std::max(held, first + done)); }));
    sum += part;
    result.scored += end - std::min(end, scored_from);
    ++result.windows;
  }
  progress.end();
  if (result.scored != 0) {
    result.nll = sum / static_cast<double>(result.scored);
    result.perplexity = std::exp(*result.nll);
  }
  return result;
}

Result<Pooling> read_pooling(const std::filesystem::path& folder) {
  Pooling pooling;
  std::error_code ignored;
  const std::filesystem::path modules = folder / "modules.json";
  if (std::filesystem::exists(modules, ignored)) {
    DANAUS_TRY(document, read_json(modules));
    if (!document.is_array()) return fail(pooling_error(modules, "the document is not a list of modules"));
    pooling.normalise = false;
    for (const Json& module : document) {
      if (!module.is_object() || !module.contains("type") || !module["type"].is_string())
        return fail(pooling_error(modules, "a module has no type"));
      const std::string type = module["type"].get<std::string>();
      if (type.ends_with(".Normalize")) {
        pooling.normalise = true;
      } else if (!type.ends_with(".Transformer") && !type.ends_with(".Pooling")) {
        return fail(Error("nn.pooling", Failure::unsupported,
                          fmt::format("the module '{}' is not supported", type.substr(0, 80)))
                        .in_file(modules.string()));
      }
    }
  }
  const std::filesystem::path kind = folder / "1_Pooling" / "config.json";
  if (std::filesystem::exists(kind, ignored)) {
    DANAUS_TRY(found, read_kind(kind));
    pooling.kind = found;
  }
  return pooling;
}

Result<std::vector<std::vector<float>>> embed(Transformer& transformer, std::span<const std::vector<TokenId>> texts,
                                              const Pooling& pooling, Progress& progress, std::uint32_t batch_tokens) {
  std::vector<std::vector<float>> results;
  progress.begin("embeddings", texts.size());
  for (std::size_t first = 0; first < texts.size();) {
    std::vector<Step> batch;
    std::size_t tokens = 0, last = first;
    while (last < texts.size() && (last == first || tokens + texts[last].size() <= batch_tokens)) {
      batch.push_back({nullptr, texts[last]});
      tokens += texts[last++].size();
    }
    Result<std::vector<float>> outputs = transformer.encode(batch);
    if (!outputs) {
      // Which text it is, counted over all batches.
      if (texts.size() == 1) return fail(std::move(outputs).error());
      return fail(std::move(outputs).error().note(
          first + 1 == last ? fmt::format("it is text {} of {}", last, texts.size())
                            : fmt::format("the batch has the texts {} to {} of {}", first + 1, last, texts.size())));
    }
    std::size_t row = 0;
    for (const Step& step : batch) {
      const std::size_t size = transformer.hidden();
      results.push_back(pool(std::span(*outputs).subspan(row * size, step.ids.size() * size), size, pooling));
      row += step.ids.size();
    }
    first = last;
    progress.update(first);
  }
  progress.end();
  return results;
}

double cosine(std::span<const float> a, std::span<const float> b) {
  ensure(a.size() == b.size(), "vectors have the same size");
  double product = 0, squares_a = 0, squares_b = 0;
  for (std::size_t e = 0; e < a.size(); ++e) {
    product += double{a[e]} * double{b[e]};
    squares_a += double{a[e]} * double{a[e]};
    squares_b += double{b[e]} * double{b[e]};
  }
  return squares_a == 0 || squares_b == 0 ? 0 : product / std::sqrt(squares_a * squares_b);
}

}  // namespace danaus::nn
