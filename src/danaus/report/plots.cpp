// Figures of the reproduction as gnuplot scripts and the data they read. gnuplot is a program, not a library: what it
// draws is decided here, how is its business.

#include <fmt/format.h>

#include "danaus/report/reproduction.h"

namespace danaus::report {
namespace {

using reproduce::Map;
using reproduce::Outcome;
using reproduce::Results;
using reproduce::Setting;

constexpr std::size_t kBert = 0;

std::string head(std::string_view name, int width, int height) {
  return fmt::format(
      "# gnuplot 5: run in the folder that has data/ and figures/\n"
      "set terminal svg size {},{} font 'sans-serif,12' background 'white'\n"
      "set output 'figures/{}.svg'\n"
      "set datafile separator tab\n"
      "set border 3\nset tics nomirror out\nset grid ytics lc rgb '#dddddd'\n"
      "data = 'data/{}.tsv'\n",
      width, height, name, name);
}

Plot arrays_plot(const Results& results) {
  Plot plot{.name = "arrays",
            .script = {},
            .data = "# model\tLinear\tSparseMap\tDenseMap\tSparseMap utilisation\tDenseMap utilisation\n"};
  for (std::size_t model = 0; model < reproduce::kModels.size(); ++model) {
    for (const reproduce::Policy policy : reproduce::kPolicies) {
      const Setting setting{.policy = policy};
      const reproduce::Figure& sparse = results.at(model, Map::sparse, setting);
      const reproduce::Figure& dense = results.at(model, Map::dense_diagonal, setting);
      plot.data += fmt::format("{}\\n{}\t{}\t{}\t{}\t{:.4f}\t{:.4f}\n", results.shapes[model].name, name_of(policy),
                               results.at(model, Map::linear, setting).arrays, sparse.arrays, dense.arrays,
                               sparse.utilisation, dense.utilisation);
    }
  }
  plot.script =
      head(plot.name, 900, 640) +
      "set style data histograms\nset style fill solid 0.85\nset boxwidth 0.9\nset key outside top center "
      "horizontal\nset bmargin 4.5\n"
      "set multiplot layout 2,1\n"
      "set ylabel 'arrays'\nset yrange [0:*]\n"
      "plot data using 2:xtic(1) title 'Linear' lc rgb '#888888', '' using 3 title 'SparseMap' lc rgb '#4477aa', "
      "'' using 4 title 'DenseMap' lc rgb '#ee7733'\n"
      "set ylabel 'utilisation'\nset yrange [0:1.05]\n"
      "plot data using 5:xtic(1) title 'SparseMap' lc rgb '#4477aa', '' using 6 title 'DenseMap' lc rgb '#ee7733', "
      "0.788 title 'published, 78.8 %' with lines dt 2 lc rgb 'black'\n"
      "unset multiplot\n";
  return plot;
}

Plot sweep_plot(const Results& results) {
  Plot plot{
      .name = "sweep", .script = {}, .data = "# ADCs\tLinear\tSparseMap\tDenseMap, steps in series\tDenseMap, dealt\n"};
  std::string panels;
  int block = 0;
  for (const reproduce::Converter converter : reproduce::kConverters) {
    for (const reproduce::Bits bits : reproduce::kBits) {
      if (block > 0) plot.data += "\n\n";  // gnuplot's blocks
      for (const std::uint32_t adcs : reproduce::kAdcs) {
        const Setting setting{.converter = converter, .bits = bits, .policy = {}, .adcs = adcs};
        plot.data += fmt::format("{}", adcs);
        for (const Map map : reproduce::kMaps)
          plot.data += fmt::format("\t{:.3f}", results.at(kBert, map, setting).latency_ns / 1000);
        plot.data += "\n";
      }
      panels += fmt::format("set title '{}, {}'\n", name_of(converter), name_of(bits));
      panels += fmt::format(
          "plot data index {0} using 1:2 title 'Linear' with linespoints lw 2 lc rgb '#888888', "
          "'' index {0} using 1:3 title 'SparseMap' with linespoints lw 2 lc rgb '#4477aa', "
          "'' index {0} using 1:4 title 'DenseMap, steps in series' with linespoints lw 2 lc rgb '#ee7733', "
          "'' index {0} using 1:5 title 'DenseMap, dealt' with linespoints lw 2 dt 2 lc rgb '#ee7733'\n",
          block);
      ++block;
    }
  }
  plot.script = head(plot.name, 900, 700) +
                "set logscale xy\nset xtics (4, 8, 16, 32)\nset xrange [3.5:36]\n"
                "set xlabel 'ADCs per array'\nset ylabel 'us per token'\nset key top right samplen 2\n"
                "set multiplot layout 2,2 title 'BERT-large, one token, published policy'\n" +
                panels + "unset multiplot\n";
  return plot;
}

Plot ratios_plot(const Results& results) {
  Plot plot{.name = "ratios",
            .script = {},
            .data =
                "# condition\tSparseMap\tDenseMap, steps in series\tsteps counted as one\tdealt\tenergy SparseMap\t"
                "energy DenseMap, steps in series\tenergy dealt\n"};
  for (const reproduce::Converter converter : reproduce::kConverters) {
    for (const reproduce::Bits bits : reproduce::kBits) {
      for (const reproduce::Policy policy : reproduce::kPolicies) {
        const Setting setting{.converter = converter, .bits = bits, .policy = policy};
        const reproduce::Figure& linear = results.at(kBert, Map::linear, setting);
        const reproduce::Figure& sparse = results.at(kBert, Map::sparse, setting);
        const reproduce::Figure& serial = results.at(kBert, Map::dense_diagonal, setting);
        const reproduce::Figure& dealt = results.at(kBert, Map::dense, setting);
        plot.data += fmt::format("{}\\n{}\\n{}\t{:.4f}\t{:.4f}\t{:.4f}\t{:.4f}\t{:.4f}\t{:.4f}\t{:.4f}\n",
                                 name_of(converter), name_of(bits), name_of(policy),
                                 linear.latency_ns / sparse.latency_ns, linear.latency_ns / serial.latency_ns,
                                 linear.latency_ns / results.steps_as_one_ns(kBert, setting),
                                 linear.latency_ns / dealt.latency_ns, linear.energy_nj() / sparse.energy_nj(),
                                 linear.energy_nj() / serial.energy_nj(), linear.energy_nj() / dealt.energy_nj());
      }
    }
  }
  plot.script = head(plot.name, 1000, 760) +
                "set style data histograms\nset style fill solid 0.85\nset boxwidth 0.9\nset key outside top center "
                "horizontal\nset bmargin 4.5\n"
                "set yrange [0:*]\n"
                "set multiplot layout 2,1 title 'BERT-large, 32 ADCs per array: Linear over the mapping'\n"
                "set ylabel 'times faster'\n"
                "plot data using 2:xtic(1) title 'SparseMap' lc rgb '#4477aa', '' using 3 title 'DenseMap, steps in "
                "series' lc rgb '#ee7733', "
                "'' using 4 title 'DenseMap, steps as one' lc rgb '#f4b183', '' using 5 title 'DenseMap, dealt' lc rgb "
                "'#aa3377', "
                "1.59 title 'published 1.59x' with lines dt 2 lc rgb '#4477aa', 1.73 title 'published 1.73x' with "
                "lines dt 2 lc rgb '#ee7733'\n"
                "set ylabel 'times less energy'\n"
                "plot data using 6:xtic(1) title 'SparseMap' lc rgb '#4477aa', '' using 7 title 'DenseMap, steps in "
                "series' lc rgb '#ee7733', "
                "'' using 8 title 'DenseMap, dealt' lc rgb '#aa3377', 1.74 title 'published 1.74x' with lines dt 2 lc "
                "rgb 'black'\n"
                "unset multiplot\n";
  return plot;
}

Plot claims_plot(const std::vector<Outcome>& outcomes) {
  Plot plot{.name = "claims", .script = {}, .data = "# claim\tours\tleast\tmost\n"};
  for (const Outcome& outcome : outcomes) {
    const double published = outcome.claim.published;
    plot.data += fmt::format("{}\t{:.4f}\t{:.4f}\t{:.4f}\n", outcome.claim.id, outcome.ours() / published,
                             outcome.least() / published, outcome.most() / published);
  }
  plot.script = head(plot.name, 900, 80 + 24 * static_cast<int>(outcomes.size())) +
                fmt::format(
                    "set logscale x\nset xlabel 'ours over published (bar: over all settings)'\n"
                    "set yrange [{}:-1]\nset xrange [0.05:20]\nset xtics (0.1, 0.2, 0.5, 1, 2, 5, 10)\n"
                    "set grid xtics\nunset key\nset arrow from 1, graph 0 to 1, graph 1 nohead lc rgb 'black'\n",
                    outcomes.size()) +
                "plot data using 2:0:3:4:ytic(1) with xerrorbars pt 7 ps 0.7 lw 2 lc rgb '#4477aa'\n";
  return plot;
}

}  // namespace

std::vector<Plot> reproduction_plots(const Reproduction& reproduction) {
  const Results& results = reproduction.results;
  std::vector<Plot> plots = {claims_plot(reproduction.outcomes)};
  if (results.scope >= reproduce::Scope::arrays) plots.push_back(arrays_plot(results));
  if (results.scope == reproduce::Scope::all) {
    plots.push_back(sweep_plot(results));
    plots.push_back(ratios_plot(results));
  }
  return plots;
}

}  // namespace danaus::report
