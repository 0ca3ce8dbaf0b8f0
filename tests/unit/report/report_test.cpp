#include "danaus/report/report.h"

#include <doctest/doctest.h>

#include <string>

#include "danaus/report/precision.h"
#include "danaus/report/table.h"
#include "danaus/report/units.h"

using namespace danaus;
using namespace danaus::report;

TEST_CASE("numbers as people read them") {
  CHECK(format_count(4608) == "4608");
  CHECK(format_count(99'999) == "99999");
  CHECK(format_count(100'000) == "100.0 k");
  CHECK(format_count(301'989'888) == "302.0 M");
  CHECK(format_time(0.3) == "0.300 ns");
  CHECK(format_time(10) == "10.00 ns");
  CHECK(format_time(999.96) == "1.000 us");
  CHECK(format_time(1728) == "1.728 us");
  CHECK(format_time(1.5e9) == "1.500 s");
  CHECK(format_time(0) == "0");
  CHECK(format_energy(0.0123) == "12.30 pJ");
  CHECK(format_energy(354'600) == "354.6 uJ");
  CHECK(format_area(34.41) == "34.41 mm2");
  CHECK(format_area(0.5123) == "0.512 mm2");
  CHECK(format_area(0.0005) == "500.0 um2");
  CHECK(format_percent(0.125) == "12.5 %");
  CHECK(format_ratio(1728, 4608) == "0.38x");
  CHECK(format_ratio(1, 0).empty());
}

TEST_CASE("table: columns as wide as their widest cell, no blanks at the end") {
  Table table({Table::Align::left, Table::Align::right, Table::Align::left});
  table.add({"a", "12345", "x"});
  table.gap();
  table.add({"long", "1"});
  CHECK(table.to_string() == "a     12345  x\n\nlong      1\n");
}

namespace {

pipeline::MapResult awkward_result() {
  pipeline::MapResult result;
  result.map = "dense";
  result.arrays = 3;
  // Tenths are no binary fractions: their sum depends on how it is formed.
  result.timing.critical_path = {
      .input = 100, .settle = 200, .adc = 300, .network = 1, .digital = 7, .attention = 333, .wait = 11};
  result.timing.total = result.timing.critical_path.total();
  result.timing.energy = {.rows = 0.1,
                          .cells = 0.2,
                          .adc = 0.7,
                          .network = 1e-9,
                          .digital = 3,
                          .attention = 0.3,
                          .buffer = 1e7,
                          .passive = 0.6};
  return result;
}

/// The number after `"key": `, from `at` on.
double number_after(const std::string& text, const std::string& key, std::size_t at = 0) {
  const std::string name = "\"" + key + "\": ";
  const std::size_t found = text.find(name, at);
  REQUIRE(found != std::string::npos);
  return std::stod(text.substr(found + name.size()));
}

double sum_of(const std::string& text, const std::string& object, std::initializer_list<const char*> keys) {
  const std::size_t at = text.find("\"" + object + "\": {");
  REQUIRE(at != std::string::npos);
  double sum = 0;
  for (const char* key : keys) sum += number_after(text, key, at);
  return sum;
}

}  // namespace

TEST_CASE("run JSON: the parts sum to the totals to the last bit") {
  pipeline::RunResult run;
  run.model = "m";
  run.results.push_back(awkward_result());
  const std::string json = run_json(
      run, {.version = "0", .command = {"danaus"}, .seed = 1, .threads = 1, .host = "", .time = "", .wall_s = 0});
  CHECK(json.find("\"schema\": \"danaus.run/1\"") != std::string::npos);
  CHECK(sum_of(json, "breakdown_ns",
               {"input", "settle", "adc", "network", "link", "digital", "attention", "wait", "reload"}) ==
        number_after(json, "latency_ns", json.find("\"linear_latency_ns\"") + 20));
  CHECK(sum_of(json, "breakdown_nj",
               {"rows", "cells", "adc", "network", "link", "digital", "attention", "buffer", "reload"}) ==
        number_after(json, "energy_active_nj"));
  CHECK(sum_of(json, "breakdown_nj",
               {"rows", "cells", "adc", "network", "link", "digital", "attention", "buffer", "reload", "passive"}) ==
        number_after(json, "energy_nj"));
  CHECK(number_after(json, "latency_ns", json.find("\"linear_latency_ns\"") + 20) == doctest::Approx(0.952));
  CHECK(json.find("\"relative_error\": null") != std::string::npos);
}

TEST_CASE("run table: ratios are to the first map") {
  pipeline::RunResult run;
  run.model = "m";
  run.results = {awkward_result(), awkward_result()};
  run.results[1].arrays = 6;
  const std::string text = run_table(run, false);
  CHECK(text.find("arrays") != std::string::npos);
  CHECK(text.find("2.00x") != std::string::npos);
}

TEST_CASE("errors as one line of JSON") {
  const Error error =
      Error("a.b", Failure::bad_input, "no \"good\"").in_file("f").at_offset(7).note("n").with_hint("h");
  CHECK(error_json(error) ==
        R"({"error":{"id":"a.b","message":"no \"good\"","where":{"file":"f","offset":7},"notes":["n"],"hint":"h"}})");
  // Names from files may be anything.
  CHECK(error_json(Error("a.b", Failure::bad_input, "\xff")).find("\xff") == std::string::npos);
}

TEST_CASE("progress as one line of JSON") {
  CHECK(progress_json("begin", "linear: prove", 0, 10, std::nullopt) ==
        R"({"event":"begin","step":"linear: prove","done":0,"total":10,"eta_s":null})");
}

TEST_CASE("listings keep numbers as numbers") {
  const Listing listing{
      .kind = "models", .columns = {"name", "layers"}, .rows = {{std::string("m"), std::uint64_t{24}}}};
  CHECK(listing_table(listing) == "name  layers\nm         24\n");
  CHECK(listing_json(listing).find("\"layers\": 24") != std::string::npos);
}

TEST_CASE("stages below the floor of precision are counted by what limits them") {
  using Limit = pipeline::PrecisionLimit;
  pipeline::Precision precision;
  precision.least_snr_db = 25;
  for (const Limit limit : {Limit::cells, Limit::none, Limit::codes, Limit::cells}) {
    precision.stages.emplace_back();
    precision.stages.back().limit = limit;
  }
  using Counts = std::vector<std::pair<Limit, std::uint32_t>>;
  CHECK(below_floor(precision) == Counts{{Limit::codes, 1}, {Limit::cells, 2}});
  CHECK(floor_line(precision).starts_with(
      "3 of 4 stages cannot keep the floor of 25 dB with any converter: limited 1 by codes of inputs and weights, "
      "2 by devices, reads and wires.\n"));
  precision.stages = {precision.stages[1]};
  CHECK(below_floor(precision).empty());
  CHECK(floor_line(precision) == "Every stage keeps the floor of 25 dB.\n");
}
