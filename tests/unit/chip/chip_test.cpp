#include "danaus/chip/chip.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "danaus/core/files.h"

namespace {

using namespace danaus;
using chip::Chip;
using Settings = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kSmall = "name = \"small\"\n[adc]\nkind = \"fixed\"\n";

Chip good(std::string_view toml, const Settings& settings = {}) {
  const Result<Chip> result = chip::parse(toml, "test.toml", settings);
  if (!result) FAIL(to_string(result.error()));
  return *result;
}

Error bad(std::string_view toml, const Settings& settings = {}) {
  const Result<Chip> result = chip::parse(toml, "test.toml", settings);
  if (result) FAIL("accepted: " << toml);
  return result.error();
}

}  // namespace

TEST_CASE("presets parse, carry their name and round-trip") {
  CHECK(chip::preset_names() == std::vector<std::string_view>{"hermes-14nm", "ibm-3dcim", "isaac-32nm", "paper",
                                                              "pcm-14nm", "sram-22nm", "unit"});
  for (const std::string_view name : chip::preset_names()) {
    CAPTURE(name);
    const Chip preset = chip::load(std::string(name)).value();
    CHECK(preset.name == name);
    CHECK(chip::parse(chip::to_toml(preset), "again.toml").value() == preset);
    CHECK(chip::preset_text(name).find("name = ") != std::string_view::npos);
  }
  CHECK(chip::preset_text("nothing").empty());
  const Chip unit = chip::load("unit").value();
  CHECK(unit.array.settle_ns == 10);
  CHECK(unit.adc.time_ns == 1);
  CHECK(unit.adc.per_array == 32);
  CHECK(unit.network.topology == chip::Topology::ideal);
  const Chip pcm = chip::load("pcm-14nm").value();
  CHECK(pcm.adc.per_array == 8);
  CHECK(pcm.adc.rule == chip::AdcRule::rows);
  CHECK(pcm.adc.energy_pj < 0);
  CHECK(pcm.noise.device == chip::DeviceKind::pcm);
  CHECK(unit.noise == Chip::Noise{});
}

TEST_CASE("defaults are those of the header") {
  Chip expected;
  expected.name = "small";
  expected.adc.kind = chip::AdcKind::fixed;
  CHECK(good(kSmall) == expected);
  CHECK(good("[adc]\nkind = \"fixed\"\n").name == "test");  // the file's name
}

TEST_CASE("every key can be set, from a file and from --set, is written and read back") {
  for (const chip::KeyInfo& info : chip::keys()) {
    const std::string key(info.key);
    CAPTURE(key);
    CHECK(info.help.size() > 20);
    const std::string section = key.substr(0, key.find('.'));
    const std::string inner = key.substr(key.find('.') + 1);
    // A value that differs from the default, chosen by the help line's expectation.
    std::string value = key == "array.cols" ? "32" : "3";
    if (info.help.find("true or false") != std::string_view::npos)
      value = info.help.find("default true") != std::string_view::npos ? "false" : "true";
    if (key == "array.idle_columns") value = "\"draw\"";
    if (key == "input.kind") value = "\"voltage\"";
    if (key == "adc.rule") value = "\"lossless\"";
    if (key == "adc.kind") value = "\"flash\"";
    if (key == "adc.wiring") value = "\"blocked\"";
    if (key == "adc.precision") value = "\"static\"";
    if (key == "adc.sharing") value = "\"array\"";
    if (key == "digital.location") value = "\"hub\"";
    if (key == "network.topology") value = "\"mesh\"";
    if (key == "chip.issue") value = "\"program\"";
    if (key == "chip.scheduling") value = "\"list\"";
    if (key == "network.contention") value = "\"links\"";
    if (key == "network.switching") value = "\"wormhole\"";
    if (key == "digital.energy_per") value = "\"operation\"";
    if (key == "noise.device") value = "\"pcm\"";
    if (key == "noise.weight_scale") value = "\"matrix\"";
    if (key == "noise.pair") value = "\"offset\"";
    if (key == "noise.compensation") value = "\"column\"";
    if (key == "noise.read_noise") value = "\"cell\"";
    if (key == "noise.read_kind") value = "\"root\"";
    if (key == "noise.ir_drop") value = "\"nodal\"";
    if (key == "noise.idle_cells") value = "\"leak\"";
    if (key == "noise.input_scale") value = "\"tensor\"";
    if (key == "noise.adc_range") value = "\"full\"";
    if (key == "noise.subtract") value = "\"digital\"";
    if (key.starts_with("noise.") && info.help.find("a number from 0 to 1;") != std::string_view::npos) value = "0.25";
    // Nothing to choose yet where only one value is supported.
    const std::size_t words = info.help.find("one of ");
    if (words != std::string_view::npos && info.help.find(',', words) == std::string_view::npos) continue;
    if (info.help.find("a whole number from 1 to 1;") != std::string_view::npos) continue;
    const Chip before = good(kSmall);
    std::string file = "name = \"small\"\n";
    if (section != "adc") file += "[adc]\nkind = \"fixed\"\n";
    file += "[" + section + "]\n";
    if (section == "adc" && inner != "kind") file += "kind = \"fixed\"\n";
    file += inner + " = " + value + "\n";
    const Chip from_file = good(file);
    const Chip from_setting = good(kSmall, {{key, value}});
    CHECK(from_file == from_setting);
    CHECK_FALSE(from_file == before);
    CHECK(good(chip::to_toml(from_file)) == from_file);
    CHECK_FALSE(chip::digest_of(from_file) == chip::digest_of(before));
  }
}

TEST_CASE("settings: words with and without quotes, the last one wins") {
  CHECK(good(kSmall, {{"chip.issue", "program"}}).system.issue == chip::Issue::program);
  CHECK(good(kSmall, {{"chip.issue", "'program'"}}).system.issue == chip::Issue::program);
  CHECK(good(kSmall, {{"adc.per_array", "4"}, {"adc.per_array", "16"}}).adc.per_array == 16);
  CHECK(good(kSmall, {{"adc.energy", "1.5"}}).adc.energy_pj == 1.5);
  CHECK(good(kSmall, {{"adc.energy", "1.5"}, {"adc.energy", "regression"}}).adc.energy_pj == -1);
  CHECK(good(kSmall, {{"name", "other"}}).name == "other");
}

TEST_CASE("shorthands") {
  const Chip chip = good(kSmall, {{"digital.layernorm_ns", "50"}, {"digital.softmax_ns", "7"}});
  CHECK(chip.digital.moments_ns == 20);
  CHECK(chip.digital.stat_ns == 10);
  CHECK(chip.digital.norm_ns == 20);
  CHECK(chip.attention.softmax_ns == 7);
}

TEST_CASE("base inherits a preset") {
  const Chip chip = good("base = \"pcm-14nm\"\n[adc]\nper_array = 32\n");
  Chip expected = chip::load("pcm-14nm").value();
  expected.name = "test";
  expected.adc.per_array = 32;
  CHECK(chip == expected);
  CHECK(good("[adc]\nper_array = 32\n[array]\nrows = 128\n", {{"adc.kind", "fixed"}}).array.rows == 128);

  const Error error = bad("base = \"pcm-14mn\"\n");
  CHECK(error.id == "chip.unknown-preset");
  CHECK(error.hint == "did you mean 'pcm-14nm'?");
  CHECK(error.where.line == 1);
  CHECK(bad("base = 3\n").id == "chip.type");
}

TEST_CASE("errors say what, where and what to do") {
  SUBCASE("unknown key") {
    const Error error = bad("name = \"x\"\n[adc]\nkind = \"fixed\"\n  per_aray = 8\n");
    CHECK(error.id == "chip.unknown-key");
    CHECK(error.failure == Failure::bad_input);
    CHECK(error.where.file == "test.toml");
    CHECK(error.where.line == 4);
    CHECK(error.hint == "did you mean 'adc.per_array'?");
  }
  SUBCASE("unknown section") {
    const Error error = bad("[netwrok]\nhop_ns = 1\n");
    CHECK(error.id == "chip.unknown-key");
    CHECK(error.hint == "did you mean 'network'?");
  }
  SUBCASE("unknown setting") {
    const Error error = bad(kSmall, {{"adc.per_aray", "8"}});
    CHECK(error.id == "chip.unknown-key");
    CHECK(error.failure == Failure::usage);
    CHECK(error.message.find("--set") != std::string::npos);
    CHECK(bad(kSmall, {{"base", "unit"}}).id == "chip.unknown-key");
  }
  SUBCASE("type") {
    const Error error = bad("[adc]\nkind = \"fixed\"\nper_array = 8.5\n");
    CHECK(error.id == "chip.type");
    CHECK(error.where.line == 3);
    CHECK(error.where.column == 13);
    CHECK(bad("[adc]\nper_array = \"8\"\n").id == "chip.type");
    CHECK(bad("[adc]\nsample_hold = 1\n").id == "chip.type");
    CHECK(bad("[adc]\nkind = 1\n").id == "chip.type");
    CHECK(bad("[adc]\nkind = [\"sar\"]\n").id == "chip.type");
    CHECK(bad("[array]\nsettle_ns = \"fast\"\n").id == "chip.type");
    CHECK(bad("[array]\nsettle_ns = 2020-01-01\n").id == "chip.type");
    CHECK(bad("adc = 3\n").id == "chip.type");
    CHECK(bad("name = 3\n").id == "chip.type");
    CHECK(bad(kSmall, {{"adc.per_array", ""}}).id == "chip.type");
  }
  SUBCASE("range") {
    for (const std::string text :
         {"[array]\nrows = 0\n", "[array]\nrows = 1025\n", "[array]\nrows = -1\n", "[array]\nsettle_ns = -1\n",
          "[array]\nsettle_ns = inf\n", "[array]\nsettle_ns = nan\n", "[array]\nsettle_ns = 1e300\n",
          "[adc]\nkind = \"sra\"\n", "[adc]\nper_array = 0\n", "[network]\nlink_bits = 0\n",
          "[network]\narrays_per_tile = 0\n", "name = \"\"\n", "name = \"a\\\"b\"\n", "[input]\nbits = 17\n"}) {
      CAPTURE(text);
      const Error error = bad(text);
      CHECK(error.id == "chip.range");
      CHECK(error.where.line > 0);
    }
    CHECK(bad(kSmall, {{"array.settle_ns", "inf"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"array.settle_ns", "nan"}}).id == "chip.range");
  }
  SUBCASE("rules between keys point at a line that takes part") {
    Error error = bad("[array]\ncols = 16\n[adc]\nkind = \"fixed\"\nper_array = 17\n");
    CHECK(error.id == "chip.range");
    CHECK(error.where.line == 5);
    error = bad("[adc]\nkind = \"sar\"\n");
    CHECK(error.id == "chip.range");
    CHECK(error.where.line == 2);
    CHECK(bad("[adc]\nkind = \"ramp\"\n").id == "chip.range");
    CHECK(bad("[adc]\nkind = \"fixed\"\n[input]\nkind = \"pwm\"\n").id == "chip.range");
    CHECK(bad("[adc]\nkind = \"fixed\"\n[input]\nkind = \"bit-serial\"\n").id == "chip.range");
    CHECK(bad(kSmall, {{"adc.per_array", "257"}}).failure == Failure::usage);
    CHECK(bad(kSmall, {{"noise.weight_bits", "1"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"noise.g_min_us", "25"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"noise.device", "pcm-hermes-one"}, {"noise.g_min_us", "10.35"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"noise.stuck_low", "0.6"}, {"noise.stuck_high", "0.5"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"noise.adc_range", "user"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"noise.device", "pcm"}, {"noise.read_noise", "cell"}, {"noise.read_kind", "device"}}).id ==
          "chip.range");
    CHECK(bad(kSmall, {{"adc.sharing", "array"}, {"chip.scheduling", "list"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"adc.sharing", "group"}, {"adc.sample_hold", "false"}}).id == "chip.range");
    CHECK(bad(kSmall, {{"adc.sharing", "group"}, {"input.kind", "bit-serial"}, {"input.bit_ns", "1"}}).id ==
          "chip.range");
    error = bad(kSmall, {{"adc.sharing", "group"}, {"adc.group_arrays", "5"}});
    CHECK(error.message == "--set: adc.group_arrays = 5 does not divide the 16 arrays of a tile");
    CHECK(good(kSmall, {{"adc.group_arrays", "5"}}).adc.group_arrays == 5);  // nothing is shared
    error = bad("[adc]\nkind = \"fixed\"\n[noise]\ndevice = \"reram-wan\"\ntime_s = 3600\n");
    CHECK(error.id == "chip.range");
    CHECK(error.where.line == 5);
    CHECK(error.message == "this noise.device is published at noise.time_s = 0, 86400, 172800 only, not at 3600");
    CHECK(good(kSmall, {{"noise.device", "reram-wan"}, {"noise.time_s", "3600"}, {"noise.drift", "0"}}).noise.time_s ==
          3600);
    CHECK(good(kSmall, {{"noise.device", "sonos"}, {"noise.time_s", "86400"}}).noise.time_s == 86400);
  }
  SUBCASE("syntax") {
    const Error error = bad("[adc]\nper_array = = 8\n");
    CHECK(error.id == "chip.syntax");
    CHECK(error.where.line == 2);
    CHECK(bad("[adc]\nbits = 8\nbits = 9\n").id == "chip.syntax");
    CHECK(bad("\xff\xfe").id == "chip.syntax");
    CHECK(bad("[adc]\nbits\xc2\xa0= 8\n").id == "chip.syntax");
    CHECK(bad("[adc]\nbits = 8\xe3\x80\x80\n").where.line == 2);
    CHECK(good("# 80 \xc2\xb5m\n" + std::string(kSmall)) == good(kSmall));
    CHECK(bad(std::string("name = \"a\0b\"", 12)).id == "chip.syntax");
    CHECK(bad(std::string(100'000, '[')).id == "chip.syntax");
  }
}

TEST_CASE("load: preset, file, or an error with a hint") {
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "danaus_chip_test.toml";
  REQUIRE(write_file(path, "base = \"unit\"\n[adc]\nper_array = 2\n").has_value());
  const Chip chip = chip::load(path.string(), {{"array.rows", "8"}}).value();
  CHECK(chip.name == "danaus_chip_test");
  CHECK(chip.adc.per_array == 2);
  CHECK(chip.array.rows == 8);
  std::filesystem::remove(path);
  CHECK(chip::load(path.string()).error().failure == Failure::io);
  const Error error = chip::load("units").error();
  CHECK(error.id == "chip.unknown-preset");
  CHECK(error.hint == "did you mean 'unit'?");
}

TEST_CASE("a chip file that could exhaust the parser's stack is refused") {
  std::string key = "a";
  for (int depth = 0; depth < 200'000; ++depth) key += ".a";
  const Result<Chip> deep = chip::parse(key + " = 1\n", "deep.toml");
  REQUIRE(!deep.has_value());
  CHECK(deep.error().id == "chip.syntax");
}
