// danaus show: what there is to choose from.

#include <fmt/format.h>

#include "cli/commands.h"
#include "danaus/chip/sources.h"
#include "danaus/compile/compile.h"
#include "danaus/model/formats.h"

namespace danaus::cli {
namespace {

Result<report::Listing> models() {
  report::Listing listing{.kind = "models",
                          .columns = {"name", "family", "layers", "hidden", "heads", "context", "linear_weights"},
                          .rows = {}};
  for (const std::string_view name : model::preset_names()) {
    DANAUS_TRY(model, model::load(std::string(name)));
    std::uint64_t weights = 0;
    for (const model::LinearOperator& linear : model.linear) weights += std::uint64_t{linear.out} * linear.in;
    const model::Dimensions& size = model.dimensions;
    listing.rows.push_back({std::string(name), std::string(model::name_of(model.family)), std::uint64_t{size.layers},
                            std::uint64_t{size.hidden}, std::uint64_t{size.heads}, std::uint64_t{size.context},
                            weights});
  }
  return listing;
}

Result<report::Listing> chips() {
  report::Listing listing{
      .kind = "chips", .columns = {"name", "rows", "cols", "adcs_per_array", "arrays_per_tile"}, .rows = {}};
  for (const std::string_view name : chip::preset_names()) {
    DANAUS_TRY(chip, chip::load(std::string(name)));
    listing.rows.push_back({std::string(name), std::uint64_t{chip.array.rows}, std::uint64_t{chip.array.cols},
                            std::uint64_t{chip.adc.per_array}, std::uint64_t{chip.network.arrays_per_tile}});
  }
  return listing;
}

/// Sorted from measured to assumed; what costs do not depend on comes last.
Result<report::Listing> chip_sources(const std::string& name) {
  DANAUS_CHECK(chip::load(name));  // a good chip file
  DANAUS_TRY(sources, chip::sources(name));
  report::Listing listing{.kind = "sources", .columns = {"source", "key", "value", "comment"}, .rows = {}};
  for (const bool counts : {true, false}) {
    for (const chip::SourceClass source : chip::kSourceClasses) {
      for (const chip::KeySource& key : sources) {
        if (key.counts != counts || key.source != source) continue;
        listing.rows.push_back(
            {std::string(counts ? chip::name_of(source) : "(no cost)"), key.key, key.value, key.comment});
      }
    }
  }
  return listing;
}

report::Listing maps() {
  report::Listing listing{.kind = "maps", .columns = {"name", "operator", "placement"}, .rows = {}};
  for (const compile::StrategyInfo& strategy : compile::strategies())
    listing.rows.push_back({std::string(strategy.name), std::string(strategy.dense_operator ? "dense" : "blocks"),
                            std::string(strategy.help)});
  return listing;
}

Result<report::Listing> references() {
  report::Listing listing{.kind = "references",
                          .columns = {"name", "machine", "precision", "memory_gb_per_s", "peak_tops", "power_w"},
                          .rows = {}};
  for (const std::string_view key : pipeline::reference_keys()) {
    DANAUS_TRY(reference, pipeline::load_reference(std::string(key)));
    listing.rows.push_back({reference.key, reference.name, reference.precision,
                            fmt::format("{:g}", reference.memory_gb_per_s), fmt::format("{:g}", reference.peak_tops),
                            fmt::format("{:g}", reference.power_w)});
  }
  return listing;
}

/// Those that begin so; all without a beginning.
Result<report::Listing> keys(std::string_view beginning) {
  report::Listing listing{.kind = "keys", .columns = {"key", "meaning"}, .rows = {}};
  std::vector<std::string_view> names;
  for (const chip::KeyInfo& key : chip::keys()) {
    names.push_back(key.key);
    if (key.key.starts_with(beginning)) listing.rows.push_back({std::string(key.key), std::string(key.help)});
  }
  if (!listing.rows.empty()) return listing;
  const std::string_view near = nearest(beginning, names);
  return fail(Error("cli.unknown-topic", Failure::usage, fmt::format("no key begins with '{}'", beginning))
                  .with_hint(near.empty() ? "danaus show keys lists them" : fmt::format("did you mean '{}'?", near)));
}

report::Listing formats() {
  report::Listing listing{.kind = "formats", .columns = {"group", "name", "what"}, .rows = {}};
  for (const model::SupportEntry& entry : model::supported_formats())
    listing.rows.push_back({std::string(entry.group), entry.name, entry.what});
  return listing;
}

Result<report::Listing> list(const std::string& kind) {
  if (kind == "models") return models();
  if (kind == "formats") return formats();
  if (kind == "chips") return chips();
  if (kind == "maps") return maps();
  if (kind == "keys") return keys("");
  if (kind == "references") return references();
  const std::string_view near = nearest(kind, {"models", "chips", "maps", "keys", "formats", "references"});
  return fail(Error("cli.unknown-topic", Failure::usage, "there is no list of '" + kind + "'")
                  .with_hint(near.empty() ? "show lists models, chips, maps, keys, formats or references"
                                          : "did you mean '" + std::string(near) + "'?"));
}

}  // namespace

Result<int> show_command(const Arguments& arguments, Console& console) {
  const std::string& kind = arguments.topic.front();
  if (arguments.sources && (kind != "chips" || arguments.topic.size() == 1))
    return fail(Error("cli.arguments", Failure::usage, "--sources is about one chip")
                    .with_hint("danaus show chips pcm-14nm --sources"));
  if (arguments.topic.size() > 1) {
    const std::string& name = arguments.topic[1];
    if (kind == "models") {
      DANAUS_TRY(model, model::load(name));
      DANAUS_CHECK(console.result(arguments.json ? report::model_json(model) : report::model_table(model)));
      return 0;
    }
    if (kind == "keys") {
      DANAUS_TRY(listing, keys(name));
      DANAUS_CHECK(console.result(arguments.json ? report::listing_json(listing) : report::listing_table(listing)));
      return 0;
    }
    if (kind != "chips")
      return fail(Error("cli.unknown-topic", Failure::usage,
                        "only models, chips and keys can be shown one by one, not '" + kind + "'")
                      .with_hint("danaus show chips " + name));
    if (arguments.sources) {
      DANAUS_TRY(sources, chip_sources(name));
      DANAUS_CHECK(console.result(arguments.json ? report::listing_json(sources) : report::listing_table(sources)));
      return 0;
    }
    if (arguments.json)
      return fail(Error("cli.arguments", Failure::usage, "a chip file is TOML, not a JSON document")
                      .with_hint("leave --json out, or add --sources"));
    DANAUS_TRY(chip, chip::load(name));
    const std::string_view text = chip::preset_text(name);
    DANAUS_CHECK(console.result(text.empty() ? chip::to_toml(chip) : text));
    return 0;
  }
  DANAUS_TRY(listing, list(kind));
  DANAUS_CHECK(console.result(arguments.json ? report::listing_json(listing) : report::listing_table(listing)));
  return 0;
}

}  // namespace danaus::cli
