// Where the numbers of chip files come from, by their comments.

#include "danaus/chip/sources.h"

#include <doctest/doctest.h>

#include "danaus/chip/explain.h"
#include "danaus/chip/keys.h"

namespace danaus::chip {
namespace {

SourceClass source_of(const std::vector<KeySource>& sources, std::string_view key) {
  for (const KeySource& source : sources) {
    if (source.key == key) return source.source;
  }
  FAIL("no key " << key);
  return SourceClass::unstated;
}

constexpr std::string_view kFile = R"(# A chip.
#
# Sources
#   LAB       measured: a core
#             that was built
#   ADC       regressed: a survey
#   STUDY     a design study
#
name = "mine"
[array]
rows = 64               # LAB
cols = 32               # STUDY: as the LAB has it
settle_ns = 3           # assumed: LAB has 4
cell_energy_pj = 0.5
activation_energy_pj = 1  # fitted to LAB
[adc]
kind = "fixed"          # STUDY
energy = "regression"   # ADC
area = 12               # from ADCs and LABS
bits = 8
[noise]
device = "pcm"          # LAB
read_sd = 0.1
)";

}  // namespace

TEST_CASE("a line is classed by assumed, fitted, or the first source that it names") {
  const std::vector<KeySource> sources = sources_of(kFile);
  CHECK(source_of(sources, "array.rows") == SourceClass::measured);
  CHECK(source_of(sources, "array.cols") == SourceClass::published);
  CHECK(source_of(sources, "array.settle_ns") == SourceClass::assumed);
  CHECK(source_of(sources, "array.cell_energy_pj") == SourceClass::assumed);  // shares the line above
  CHECK(source_of(sources, "array.activation_energy_pj") == SourceClass::fitted);
  CHECK(source_of(sources, "adc.energy") == SourceClass::regressed);
  CHECK(source_of(sources, "adc.area") == SourceClass::unstated);  // whole words only
  CHECK(source_of(sources, "adc.bits") == SourceClass::unstated);
  CHECK(summary(sources) == "1 measured, 1 published, 1 regressed, 1 fitted, 2 assumed, 2 unstated");
  CHECK(summary({}).empty());
}

TEST_CASE("a source named * stands for all lines without another") {
  std::string text(kFile);
  text.insert(text.find("#\nname"), "#   *         published: its simulator\n");
  CHECK(summary(sources_of(text)) == "1 measured, 3 published, 1 regressed, 1 fitted, 2 assumed");
}

TEST_CASE("a base's keys keep their sources, the file's own and settings replace them") {
  const std::vector<KeySource> base = sources_of(preset_text("pcm-14nm"));
  const std::vector<KeySource> hermes = sources_of(preset_text("hermes-14nm"));
  CHECK(source_of(base, "adc.per_array") == SourceClass::assumed);
  CHECK(source_of(hermes, "adc.per_array") == SourceClass::measured);
  CHECK(source_of(hermes, "array.settle_ns") == SourceClass::published);
  CHECK(source_of(hermes, "chip.control_area_um2_per_array") == SourceClass::fitted);
  const std::vector<KeySource> set = sources("hermes-14nm", {{"adc.per_array", "8"}}).value();
  CHECK(source_of(set, "adc.per_array") == SourceClass::set);
  CHECK(set.size() == hermes.size());
  CHECK(sources("no/such/file.toml").error().id == "file.missing");
}

TEST_CASE("every number of every preset says where it comes from") {
  for (const std::string_view name : preset_names()) {
    CAPTURE(name);
    const std::vector<KeySource> sources = sources_of(preset_text(name));
    CHECK(sources.size() > 10);
    for (const KeySource& key : sources) {
      CAPTURE(key.key);
      CHECK((!key.counts || key.source != SourceClass::unstated));
    }
  }
}

TEST_CASE("any text is read without harm") {
  for (std::size_t length = 0; length <= kFile.size(); ++length) sources_of(kFile.substr(0, length));
  for (const std::string_view text :
       {"[", "]", "=", "base =", "base = \"\"", "base = \"pcm-14nm", "#", "# Sources\n#   ", "# Sources\n#   X",
        "a = \"#", "[x\ny = 1", "base = \"nothing\"\n"})
    sources_of(text);
}

TEST_CASE("every cost topic is explained on every preset") {
  for (const std::string_view name : preset_names()) {
    const Chip chip = load(std::string(name)).value();
    for (const CostTopic& topic : cost_topics()) {
      CAPTURE(name);
      CAPTURE(topic.name);
      CHECK(explain_cost(chip, topic.name).size() > 100);
    }
  }
  CHECK(explain_cost(Chip{}, "nothing").empty());
}

TEST_CASE("what is said of converters is what the chip has") {
  const auto page = [](std::vector<std::pair<std::string, std::string>> settings) {
    return explain_cost(load("unit", settings).value(), "adc");
  };
  CHECK(page({}).find("column c is wired to converter c mod 32") != std::string::npos);
  CHECK(page({{"adc.wiring", "blocked"}}).find("converter c div 8\n") != std::string::npos);
  CHECK(page({{"adc.wiring", "blocked"}, {"adc.sharing", "array"}}).find(" div ") == std::string::npos);
  // Every stage needs a rule of the table: adc.bits is nobody's.
  const std::string calibrated = page({{"adc.rule", "calibrated"}});
  CHECK(calibrated.find("b         = the table of --adc-bits FILE") != std::string::npos);
  CHECK(calibrated.find("b         = adc.bits") == std::string::npos);
}

}  // namespace danaus::chip
