#pragma once

#include <string>
#include <utility>
#include <vector>

#include "danaus/report/report.h"
#include "danaus/reproduce/claims.h"
#include "danaus/reproduce/measure.h"

/// What became of the published claims, as text, JSON, a Markdown page and plots.
namespace danaus::report {

struct Reproduction {
  reproduce::Results results;
  std::vector<reproduce::Outcome> outcomes;
};

/// A line per claim, and under it the settings where it holds or why it differs; `explain` adds where all figures come
/// from.
std::string reproduction_table(const Reproduction& reproduction, bool explain);
/// Schema danaus.reproduce/1.
std::string reproduction_json(const Reproduction& reproduction, const Provenance& provenance);
/// The page docs/reproduction.md; figures are in figures/ beside it. Needs all claims and their scope.
std::string reproduction_page(const Reproduction& reproduction);
/// The claims themselves.
Listing claim_listing();

/// A figure for gnuplot: run in the folder of its files, the script reads data/NAME.tsv and writes figures/NAME.svg.
struct Plot {
  std::string name;
  std::string script;
  std::string data;  ///< tab-separated; the first line, behind a #, names the columns
};
/// Those that the scope of the results has figures for.
std::vector<Plot> reproduction_plots(const Reproduction& reproduction);

}  // namespace danaus::report
