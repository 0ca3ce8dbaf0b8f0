#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "danaus/program/command_text.h"
#include "danaus/program/intent.h"
#include "danaus/program/program.h"
#include "danaus/program/widths.h"

// The text form of a program. Writing appends to one string. Reading is one pass over the lines: a statement is looked
// up by its first word, and everything it names has to be defined before it, so every error has a line and a column.
// Only what a whole graph must obey (core `validate`) is checked afterwards, and its line is then found by bisection.

namespace danaus::program {
namespace {

constexpr std::string_view kStageNames = "RL";  // the stages of a structure of blocks
constexpr char kOnlyStage = 'W';                // the stage of operators that have one

constexpr std::string_view kRangeNames[] = {"lossless",   "full",       "l1",
                                            "cal-shared", "cal-column", "user"};  // Config::Range
constexpr std::string_view kNormNames[] = {"rms", "layer"};                       // Config::Norm
constexpr std::string_view kPairNames[] = {"half", "adjacent"};                   // Config::Pairs

// Writing.

template <typename Id>
void append_id(std::string& text, std::string_view prefix, Id id) {
  text += prefix;
  append_number(text, index(id));
}

template <typename T>
void append_field(std::string& text, std::string_view name, T value) {
  text += ' ';
  text += name;
  append_number(text, ' ', value);
}

void append_config(std::string& text, const Config& config) {
  switch (config.kind) {
    case Config::Kind::mvm:
      text += " mvm";
      append_field(text, "dac", std::uint32_t{config.dac_bits});
      append_field(text, "adc", std::uint32_t{config.adc_bits});
      text += ' ';
      text += kRangeNames[static_cast<std::size_t>(config.range)];
      break;
    case Config::Kind::norm:
      text += " norm ";
      text += kNormNames[static_cast<std::size_t>(config.norm)];
      append_field(text, "n", config.n);
      text += " eps ";
      append_real(text, config.epsilon);
      break;
    case Config::Kind::rope:
      text += " rope";
      append_field(text, "size", config.size);
      if (config.rotated != 0) append_field(text, "rotated", config.rotated);
      text += " theta ";
      append_real(text, config.theta);
      text += " pairs ";
      text += kPairNames[static_cast<std::size_t>(config.pairs)];
      break;
    case Config::Kind::move:
      text += " move";
      append_field(text, "bits", std::uint32_t{config.bits});
      break;
    case Config::Kind::route:
      text += " route";
      append_field(text, "k", config.k);
      break;
  }
}

/// The text of an operator's structure, its list included.
void append_structure(std::string& text, const Structure& structure, const std::vector<IndexList>& lists) {
  text += ' ';
  text += to_string(structure);
  if (structure.kind == Structure::Kind::gather) append_field(text, "list", list_of(structure, lists));
}

void append_node(std::string& text, const Program& program, const Node& node) {
  const Graph& graph = program.intent;
  if (node.kind == NodeKind::input) {
    text += "input ";
    text += node.name;
    append_number(text, ' ', node.size);
    if (node.idle) text += " idle";
    return;
  }
  text += "node ";
  text += node.name;
  text += ' ';
  text += name_of(node.kind);
  for (const NodeId source : node.sources) {
    text += ' ';
    text += graph.at(source).name;
  }
  if (!node.constant.empty()) {
    text += ' ';
    text += node.constant;
  }
  if (node.kind == NodeKind::linear) {
    append_number(text, ' ', node.structure.out);
    append_number(text, 'x', node.structure.in);
    append_structure(text, node.structure, program.lists);
    const std::uint32_t first = index(node.configs[0]);
    const std::uint32_t second = index(node.configs[1]);
    if (first != 0 || second != 0) append_field(text, "cfg", first);
    if (second != 0) append_number(text, ' ', second);
  } else if (node.kind == NodeKind::norm || node.kind == NodeKind::rope || node.kind == NodeKind::route) {
    append_field(text, "cfg", index(node.configs[0]));
  } else if (node.kind == NodeKind::attend) {
    append_field(text, "kv", index(node.kv_first));
    if (node.span != Span::earlier) text += fmt::format(" {}", name_of(node.span));
  }
  if (node.guard) {
    text += " when ";
    text += graph.at(node.guard->gates).name;
    append_number(text, ' ', node.guard->element);
  }
  if (node.idle) text += " idle";
}

void append_group(std::string& text, const Group& group) {
  for (std::size_t m = 0; m < group.members.size();) {
    std::size_t end = m + 1;
    while (end < group.members.size() && index(group.members[end]) == index(group.members[m]) + (end - m)) ++end;
    append_id(text, " t", group.members[m]);
    if (end - m > 1) append_number(text, '+', end - m);
    m = end;
  }
}

void append_span(std::string& text, std::uint32_t first, std::uint32_t length) {
  append_number(text, ' ', first);
  append_number(text, '+', length);
}

void append_map(std::string& text, std::string_view name, std::uint32_t first, std::uint32_t step) {
  append_field(text, name, first);
  if (step != 1) append_number(text, '*', step);
}

void append_location(std::string& text, const Graph& graph, const Location& location) {
  text += "at ";
  text += graph.at(location.node).name;
  append_span(text, location.first, location.length);
  append_id(text, " t", location.tile);
  text += ' ';
  append_address(text, location.address);
  text += '\n';
}

void append_patch(std::string& text, const Graph& graph, const Patch& patch) {
  append_id(text, "patch a", patch.array);
  append_number(text, ' ', patch.row);
  append_number(text, ',', patch.column);
  append_number(text, ' ', patch.rows);
  append_number(text, 'x', patch.columns);
  text += ' ';
  const Node& node = graph.at(patch.node);
  text += node.name;
  text += '.';
  text += node.structure.stages() == 1 ? kOnlyStage : kStageNames[patch.stage];
  append_map(text, "in", patch.in_first, patch.in_step);
  append_map(text, "out", patch.out_first, patch.out_step);
  text += '\n';
}

}  // namespace

std::string to_text(const Program& program) {
  constexpr std::size_t kUsualLine = 48;  // bytes of a command or patch
  const Graph& graph = program.intent;
  std::string text;
  text.reserve((program.code.size() + program.patches.size() + program.constants.size() + 64) * kUsualLine);
  text += "danaus program 1\n";
  if (program.chip_digest != Digest{} || program.model_digest != Digest{})
    text += fmt::format("digest chip {} model {}\n", to_string(program.chip_digest), to_string(program.model_digest));
  for (const Note& note : program.notes) {
    text += fmt::format("note {} ", note.key);
    append_quoted(text, note.text);
    text += '\n';
  }
  const ChipShape& chip = program.chip;
  text += fmt::format("chip rows {} cols {} adcs {} arrays {} tile {} buffer {}", chip.rows, chip.cols, chip.adcs,
                      chip.arrays, chip.arrays_per_tile, chip.buffer);
  if (chip.is_dealt()) text += fmt::format(" chips {} each {}", chip.chips, chip.arrays_per_chip);
  text += '\n';
  for (std::size_t number = 0; number < graph.configs.size(); ++number) {
    text += fmt::format("cfg {}", number);
    append_config(text, graph.configs[number]);
    text += '\n';
  }
  for (std::size_t number = 0; number < program.kv.size(); ++number) {
    const KvRegion& region = program.kv[number];
    text += fmt::format("kv {} tile {} queries {} size {} capacity {} start {}\n", number, index(region.tile),
                        region.queries, region.size, region.capacity, region.start);
  }
  for (std::size_t number = 0; number < program.groups.size(); ++number) {
    text += fmt::format("group {}", number);
    append_group(text, program.groups[number]);
    text += '\n';
  }
  for (std::size_t number = 0; number < program.lists.size(); ++number) {
    text += fmt::format("list {}", number);
    for (const std::uint32_t entry : program.lists[number].numbers()) append_number(text, ' ', entry);
    text += '\n';
  }
  for (const Node& node : graph.nodes) {
    append_node(text, program, node);
    text += '\n';
  }
  for (const NodeId output : graph.outputs) text += fmt::format("output {}\n", graph.at(output).name);
  for (const Location& location : program.inputs) append_location(text, graph, location);
  for (const Location& location : program.outputs) append_location(text, graph, location);
  for (const Constant& constant : program.constants) {
    text += "const ";
    text += constant.name;
    append_span(text, constant.first, constant.length);
    append_id(text, " t", constant.tile);
    append_number(text, ' ', constant.offset);
    text += '\n';
  }
  for (const Sink& sink : program.sinks) {
    append_id(text, "sink t", sink.tile);
    append_span(text, sink.address.offset, sink.length);
    if (sink.address.base != 0) append_number(text, '@', sink.address.base);
    text += '\n';
  }
  for (const Patch& patch : program.patches) append_patch(text, graph, patch);
  for (const Copy& copy : program.copies) {
    append_id(text, "copy a", copy.array);
    append_id(text, " of a", copy.of);
    text += '\n';
  }
  text += "code\n";
  for (const Record& record : program.code) {
    append_command(text, decode_unchecked(record));
    text += '\n';
  }
  return text;
}

namespace {

/// Where a statement stands; for errors that are found after the line was read.
struct Position {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

class TextReader {
 public:
  explicit TextReader(std::string_view text) : text_(text) {}

  Result<Program> read() {
    bool in_header = true;
    while (next_line()) {
      Scanner scanner(line_, line_number_);
      const std::string_view first = scanner.peek();
      if (first.empty() || first.front() == '#') continue;
      if (in_header) {
        read_header(scanner);
        in_header = false;
      } else if (in_code_) {
        program_.code.push_back(scan_command(scanner));
      } else {
        read_statement(scanner);
      }
      if (!scanner.good()) return fail(scanner.take_error());
    }
    if (in_header) return incomplete("the file is empty", "a program starts with the line 'danaus program 1'");
    if (!has_chip_)
      return incomplete("the program has no 'chip' line", "chip rows R cols C adcs A arrays N tile T buffer B");
    if (!in_code_)
      return incomplete("the program has no line 'code'", "commands follow after it; the file may be cut off");
    if (const Result<void> used = lists_.check_used(program_.lists); !used)
      return fail(Error(used.error()).at_line(line_number_));
    DANAUS_CHECK(check_graph());
    return std::move(program_);
  }

 private:
  struct Statement {
    std::string_view name;
    void (TextReader::*read)(Scanner&);
  };

  bool next_line() {
    if (position_ == text_.size()) return false;
    const std::size_t end = std::min(text_.find('\n', position_), text_.size());
    line_ = text_.substr(position_, end - position_);
    if (line_.ends_with('\r')) line_.remove_suffix(1);
    position_ = std::min(end + 1, text_.size());
    ++line_number_;
    return true;
  }

  tl::unexpected<Error> incomplete(std::string message, std::string hint) const {
    return fail(Error("program.incomplete", Failure::bad_input, std::move(message))
                    .at_line(std::max(line_number_, 1u))
                    .with_hint(std::move(hint)));
  }

  void read_header(Scanner& scanner) {
    const std::uint32_t column = scanner.column();
    if (!scanner.take_word("danaus") || !scanner.take_word("program")) {
      scanner.fail_with(column, Error("program.magic", Failure::bad_input, "this is not a danaus program")
                                    .with_hint("a program in text form starts with the line 'danaus program 1'"));
      return;
    }
    const std::uint32_t version_column = scanner.column();
    const std::uint32_t version = scanner.number_word("the version", 0, values_of(32) - 1);
    scanner.finish();
    if (version != 1)
      scanner.fail_with(version_column, Error("program.version", Failure::unsupported,
                                              fmt::format("text version {} is not supported, 1 is", version)));
  }

  void read_statement(Scanner& scanner) {
    static constexpr Statement kStatements[] = {
        {"digest", &TextReader::read_digest}, {"note", &TextReader::read_note},   {"chip", &TextReader::read_chip},
        {"cfg", &TextReader::read_config},    {"kv", &TextReader::read_kv},       {"group", &TextReader::read_group},
        {"list", &TextReader::read_list},     {"input", &TextReader::read_input}, {"node", &TextReader::read_node},
        {"output", &TextReader::read_output}, {"at", &TextReader::read_at},       {"const", &TextReader::read_constant},
        {"sink", &TextReader::read_sink},     {"patch", &TextReader::read_patch}, {"copy", &TextReader::read_copy},
        {"code", &TextReader::read_code}};
    const std::uint32_t column = scanner.column();
    const std::string_view name = scanner.word("a statement");
    for (const Statement& statement : kStatements) {
      if (statement.name == name) {
        (this->*statement.read)(scanner);
        scanner.finish();
        return;
      }
    }
    std::vector<std::string_view> names;
    for (const Statement& statement : kStatements) names.push_back(statement.name);
    scanner.fail_unknown(column, "statement", name, names);
  }

  // Header and tables.

  void read_digest(Scanner& scanner) {
    once(scanner, has_digest_, "digest");
    scanner.expect_word("chip");
    program_.chip_digest = digest(scanner);
    scanner.expect_word("model");
    program_.model_digest = digest(scanner);
  }

  void read_note(Scanner& scanner) {
    Note note;
    note.key = good_name(scanner, "the key of the note");
    note.text = scanner.quoted("the text of the note");
    program_.notes.push_back(std::move(note));
  }

  void read_chip(Scanner& scanner) {
    once(scanner, has_chip_, "chip");
    ChipShape& chip = program_.chip;
    chip.rows = field(scanner, "rows", 1, kLongestEdge);
    chip.cols = field(scanner, "cols", 1, kLongestEdge);
    chip.adcs = field(scanner, "adcs", 1, kLongestEdge);
    chip.arrays = field(scanner, "arrays", 0, kMostArrays);
    chip.arrays_per_tile = field(scanner, "tile", 1, kMostArrays);
    chip.buffer = field(scanner, "buffer", 0, kMostElements);
    if (scanner.at_end()) return;
    chip.chips = field(scanner, "chips", 1, kMostArrays);
    chip.arrays_per_chip = field(scanner, "each", 1, kMostArrays);
  }

  void read_config(Scanner& scanner) {
    std::vector<Config>& configs = program_.intent.configs;
    table_index(scanner, "cfg", config_count_, kMostConfigs);
    Config config;
    const std::uint32_t column = scanner.column();
    const std::string_view kind = scanner.word("the kind of the configuration");
    if (kind == "mvm") {
      config.dac_bits = static_cast<std::uint8_t>(field(scanner, "dac", 1, kMostBits));
      config.adc_bits = static_cast<std::uint8_t>(field(scanner, "adc", 1, kMostBits));
      config.range = static_cast<Config::Range>(one_of(scanner, "ADC range", kRangeNames));
    } else if (kind == "norm") {
      config.kind = Config::Kind::norm;
      config.norm = static_cast<Config::Norm>(one_of(scanner, "norm", kNormNames));
      config.n = field(scanner, "n", 1, kMostElements);
      scanner.expect_word("eps");
      config.epsilon = scanner.real_word("eps");
    } else if (kind == "rope") {
      config.kind = Config::Kind::rope;
      config.size = field(scanner, "size", 1, kMostElements);
      if (scanner.peek() == "rotated") config.rotated = field(scanner, "rotated", 1, kMostElements);
      scanner.expect_word("theta");
      config.theta = scanner.real_word("theta");
      scanner.expect_word("pairs");
      config.pairs = static_cast<Config::Pairs>(one_of(scanner, "kind of pairs", kPairNames));
    } else if (kind == "move") {
      config.kind = Config::Kind::move;
      config.bits = static_cast<std::uint8_t>(field(scanner, "bits", 1, kMostBits));
    } else if (kind == "route") {
      config.kind = Config::Kind::route;
      config.k = field(scanner, "k", 1, kMostElements);
    } else {
      scanner.fail_unknown(column, "kind of configuration", kind, {"mvm", "norm", "rope", "move", "route"});
    }
    if (!scanner.good()) return;
    if (++config_count_ > configs.size()) configs.emplace_back();  // entry 0 exists from the start
    configs.back() = config;
  }

  void read_kv(Scanner& scanner) {
    table_index(scanner, "kv", program_.kv.size(), values_of(kRegionBits));
    KvRegion region;
    region.tile = TileId{field(scanner, "tile", 0, kMostTiles - 1)};
    region.queries = field(scanner, "queries", 1, kMostElements);
    region.size = field(scanner, "size", 1, kMostElements);
    region.capacity = field(scanner, "capacity", 0, kMostElements);
    region.start = field(scanner, "start", 0, kMostElements);
    program_.kv.push_back(region);
  }

  void read_group(Scanner& scanner) {
    table_index(scanner, "group", program_.groups.size(), kMostTiles);
    Group group;
    std::uint32_t least = 0;
    do {
      const std::uint32_t column = scanner.column();
      scanner.expect_start("t", "a member like t3 or t3+4");
      const std::uint32_t first = scanner.number("the tile", 0, kMostTiles - 1);
      const std::uint32_t length = scanner.take('+') ? scanner.number("the number of tiles", 1, kMostTiles - first) : 1;
      scanner.end_of_word("the member");
      if (!scanner.good()) return;
      if (first < least) return scanner.fail_syntax(column, "members are in ascending order, each once");
      // A few bytes can name a million tiles, so the sum over all groups is bounded.
      group_members_ += length;
      if (group_members_ > kMostGroupMembers)
        return scanner.fail_with(column, Error("program.range", Failure::bad_input,
                                               fmt::format("more than {} members in all groups", kMostGroupMembers)));
      for (std::uint32_t tile = first; tile < first + length; ++tile) group.members.push_back(TileId{tile});
      least = first + length;
    } while (!scanner.at_end());
    program_.groups.push_back(std::move(group));
  }

  void read_list(Scanner& scanner) {
    const std::uint32_t column = scanner.column();
    table_index(scanner, "list", program_.lists.size(), kMostConfigs);
    std::vector<std::uint32_t> numbers;
    do {
      numbers.push_back(scanner.number_word("an element", 0, kMostElements - 1));
    } while (!scanner.at_end());
    if (!scanner.good()) return;
    Result<void> added = lists_.add(IndexList(std::move(numbers)), program_.lists);
    if (!added) scanner.fail_with(column, std::move(added).error());
  }

  // The intent.

  void read_input(Scanner& scanner) {
    Node node;
    const Position where = begin_node(scanner, node);
    node.size = scanner.number_word("the size", 1, kMostElements);
    node.idle = scanner.take_word("idle");
    finish_node(scanner, std::move(node), where);
  }

  void read_node(Scanner& scanner) {
    Node node;
    const Position where = begin_node(scanner, node);
    read_node_kind(scanner, node);
    for (std::uint32_t s = 0; s < source_count(node.kind); ++s) node.sources.push_back(node_id(scanner));
    switch (node.kind) {
      case NodeKind::linear:
        read_linear(scanner, node);
        break;
      case NodeKind::norm:
      case NodeKind::bias:
        node.constant = good_name(scanner, "the name of the constant");
        if (node.kind == NodeKind::norm) node.configs[0] = config_field(scanner);
        break;
      case NodeKind::rope:
      case NodeKind::route:
        node.configs[0] = config_field(scanner);
        break;
      case NodeKind::attend:
        node.kv_first = KvId{field(scanner, "kv", 0, values_of(kRegionBits) - 1)};
        if (scanner.take_word("all")) node.span = Span::all;
        if (scanner.take_word("other")) node.span = Span::other;
        break;
      default:
        break;
    }
    if (scanner.take_word("when")) {
      Guard guard{.gates = node_id(scanner)};
      guard.element = scanner.number_word("the element of the gates", 0, kMostElements - 1);
      node.guard = guard;
    }
    node.idle = scanner.take_word("idle");
    finish_node(scanner, std::move(node), where);
  }

  void read_node_kind(Scanner& scanner, Node& node) {
    const std::uint32_t column = scanner.column();
    const std::string_view word = scanner.word("the kind of the node");
    if (parse_node_kind(word, node.kind) && node.kind != NodeKind::input) return;
    node.kind = NodeKind::input;  // has no sources: nothing more is read
    scanner.fail_unknown(column, "kind of node", word,
                         {"norm", "linear", "bias", "rope", "attend", "add", "mul", "silu", "gelu", "relu", "route",
                          "blend", "gelu_tanh"});
  }

  void read_linear(Scanner& scanner, Node& node) {
    scanner.expect_start("", "the shape OUTxIN");
    const std::uint32_t out = scanner.number("the number of outputs", 1, kMostElements);
    scanner.expect('x', "the shape OUTxIN");
    const std::uint32_t in = scanner.number("the number of inputs", 1, kMostElements);
    scanner.end_of_word("the shape");
    const std::uint32_t column = scanner.column();
    std::string structure(scanner.word("the structure"));
    const auto is_next_part = [](std::string_view word) {
      return word == "list" || word == "cfg" || word == "when" || word == "idle";
    };
    while (!scanner.at_end() && !is_next_part(scanner.peek())) {
      structure += ' ';
      structure += scanner.word("the structure");
    }
    if (!scanner.good()) return;
    Result<Structure> parsed = parse_structure(structure, out, in);
    if (!parsed) return scanner.fail_with(column, std::move(parsed).error());
    node.structure = *parsed;
    if (node.structure.kind == Structure::Kind::gather) {
      scanner.expect_word("list");
      const std::uint32_t list_column = scanner.column();
      const std::uint32_t list = scanner.number_word("the list", 0, kMostConfigs - 1);
      if (!scanner.good()) return;
      Result<void> taken = lists_.take(list, program_.lists, node.structure);
      if (!taken) return scanner.fail_with(list_column, std::move(taken).error());
    }
    if (scanner.peek() != "cfg") return;
    node.configs[0] = config_field(scanner);
    if (!scanner.at_end() && !is_next_part(scanner.peek())) node.configs[1] = ConfigId{config_number(scanner)};
  }

  /// Reads the name of a new node and returns where it stands.
  Position begin_node(Scanner& scanner, Node& node) {
    const Position where{line_number_, scanner.column()};
    const std::string_view name = scanner.peek();
    node.name = good_name(scanner, "the name of the node");
    if (scanner.good() &&
        !nodes_.emplace(name, NodeId{static_cast<std::uint32_t>(program_.intent.nodes.size())}).second)
      scanner.fail_with(where.column, Error("program.duplicate", Failure::bad_input,
                                            fmt::format("there is a node '{}' already", name)));
    return where;
  }

  void finish_node(Scanner& scanner, Node node, Position where) {
    if (!scanner.good()) return;
    Result<void> completed = complete_node(node, program_.intent, program_.kv);
    if (!completed) return scanner.fail_with(where.column, std::move(completed).error());
    if (!node.constant.empty()) constants_.insert(node.constant);
    program_.intent.nodes.push_back(std::move(node));
    node_places_.push_back(where);
  }

  void read_output(Scanner& scanner) {
    const std::uint32_t column = scanner.column();
    const NodeId id = node_id(scanner);
    if (!scanner.good()) return;
    Result<void> added = add_output(program_.intent, id, is_output_);
    if (!added) scanner.fail_with(column, std::move(added).error());
  }

  void read_at(Scanner& scanner) {
    Location location;
    const std::uint32_t column = scanner.column();
    location.node = node_id(scanner);
    read_span(scanner, location.first, location.length);
    location.tile = tile_word(scanner);
    location.address = scan_address(scanner, "the address");
    if (!scanner.good()) return;
    const Node& node = program_.intent.at(location.node);
    if (node.kind == NodeKind::input) {
      program_.inputs.push_back(location);
    } else if (index(location.node) < is_output_.size() && is_output_[index(location.node)]) {
      program_.outputs.push_back(location);
    } else {
      scanner.fail_with(column, Error("program.name", Failure::bad_input,
                                      fmt::format("'{}' is neither an input nor an output", node.name))
                                    .with_hint("an 'output' line comes before the 'at' lines of that output"));
    }
  }

  void read_constant(Scanner& scanner) {
    Constant constant;
    const std::uint32_t column = scanner.column();
    constant.name = good_name(scanner, "the name of the constant");
    if (scanner.good() && constant.name != "zero" && !constants_.contains(constant.name)) {
      std::vector<std::string_view> names = {"zero"};
      for (const Node& node : program_.intent.nodes) {
        if (!node.constant.empty()) names.push_back(node.constant);
      }
      return scanner.fail_unknown(column, "constant", constant.name, names);
    }
    read_span(scanner, constant.first, constant.length);
    constant.tile = tile_word(scanner);
    constant.offset = scanner.number_word("the offset", 0, kMostElements - 1);
    program_.constants.push_back(std::move(constant));
  }

  void read_sink(Scanner& scanner) {
    Sink sink;
    sink.tile = tile_word(scanner);
    scanner.expect_start("", "OFFSET+LENGTH");
    sink.address.offset = scanner.number("the offset", 0, kMostElements - 1);
    scanner.expect('+', "OFFSET+LENGTH");
    sink.length = scanner.number("the length", 1, kMostElements);
    if (scanner.take('@'))
      sink.address.base = static_cast<std::uint8_t>(scanner.number("the base register", 0, values_of(kBaseBits) - 1));
    scanner.end_of_word("the address");
    program_.sinks.push_back(sink);
  }

  void read_patch(Scanner& scanner) {
    Patch patch;
    const std::uint32_t column = scanner.column();
    scanner.expect_start("a", "an array like a0");
    patch.array = ArrayId{scanner.number("the array", 0, kMostArrays - 1)};
    scanner.end_of_word("the array");
    scanner.expect_start("", "ROW,COLUMN");
    patch.row = static_cast<std::uint16_t>(scanner.number("the row", 0, kLongestEdge - 1));
    scanner.expect(',', "ROW,COLUMN");
    patch.column = static_cast<std::uint16_t>(scanner.number("the column", 0, kLongestEdge - 1));
    scanner.end_of_word("the position");
    scanner.expect_start("", "ROWSxCOLUMNS");
    patch.rows = static_cast<std::uint16_t>(scanner.number("the number of rows", 1, kLongestEdge));
    scanner.expect('x', "ROWSxCOLUMNS");
    patch.columns = static_cast<std::uint16_t>(scanner.number("the number of columns", 1, kLongestEdge));
    scanner.end_of_word("the size");
    read_stage(scanner, patch);
    scanner.expect_word("in");
    read_map(scanner, patch.in_first, patch.in_step);
    scanner.expect_word("out");
    read_map(scanner, patch.out_first, patch.out_step);
    if (!scanner.good()) return;
    const auto order = [](const Patch& p) { return std::tuple(p.array, p.row, p.column); };
    if (!program_.patches.empty() && order(patch) < order(program_.patches.back()))
      return scanner.fail_with(
          column, Error("program.order", Failure::bad_input, "patches are sorted by array, row and column"));
    program_.patches.push_back(patch);
  }

  void read_copy(Scanner& scanner) {
    Copy copy;
    const std::uint32_t column = scanner.column();
    copy.array = array_word(scanner);
    scanner.expect_word("of");
    copy.of = array_word(scanner);
    if (!scanner.good()) return;
    if (!program_.copies.empty() && copy.array <= program_.copies.back().array)
      return scanner.fail_with(column,
                               Error("program.order", Failure::bad_input, "copies are sorted by array, each once"));
    program_.copies.push_back(copy);
  }

  /// NODE.R, NODE.L or NODE.W; names of nodes may have points themselves.
  void read_stage(Scanner& scanner, Patch& patch) {
    const std::uint32_t column = scanner.column();
    const std::string_view word = scanner.word("the operator and its stage");
    if (!scanner.good()) return;
    const std::size_t point = word.rfind('.');
    if (point == std::string_view::npos || point + 2 != word.size())
      return scanner.fail_syntax(column,
                                 fmt::format("expected an operator and its stage like q.R, found '{}'", shown(word)));
    patch.node = find_node(scanner, column, word.substr(0, point));
    if (!scanner.good()) return;
    const Node& node = program_.intent.at(patch.node);
    if (node.kind != NodeKind::linear)
      return scanner.fail_syntax(column, fmt::format("'{}' ({}) has no weights", node.name, name_of(node.kind)));
    const bool only_stage = node.structure.stages() == 1;
    const std::size_t stage =
        only_stage ? (word.back() == kOnlyStage ? 0 : std::string_view::npos) : kStageNames.find(word.back());
    if (stage == std::string_view::npos)
      return scanner.fail_syntax(column,
                                 fmt::format("'{}' has no stage '{}'", node.name, shown(word.substr(point + 1))),
                                 only_stage ? "the stage of a dense or gathered operator is W"
                                            : "the stages of an operator of blocks are R and L");
    patch.stage = static_cast<std::uint8_t>(stage);
  }

  void read_map(Scanner& scanner, std::uint32_t& first, std::uint16_t& step) {
    scanner.expect_start("", "FIRST[*STEP]");
    first = scanner.number("the first index", 0, kMostElements - 1);
    if (scanner.take('*')) step = static_cast<std::uint16_t>(scanner.number("the step", 1, kLongestStep));
    scanner.end_of_word("the index map");
  }

  void read_code(Scanner&) { in_code_ = true; }

  // Parts of statements.

  void once(Scanner& scanner, bool& seen, std::string_view name) {
    if (seen)
      scanner.fail_with(
          1, Error("program.duplicate", Failure::bad_input, fmt::format("there is a '{}' line already", name)));
    seen = true;
  }

  /// The number of a table entry: entries come in order.
  void table_index(Scanner& scanner, std::string_view table, std::size_t expected, std::uint64_t most_entries) {
    const std::uint32_t column = scanner.column();
    const std::uint32_t number = scanner.number_word("the number of the entry", 0, most_entries - 1);
    if (!scanner.good() || number == expected) return;
    if (number < expected)
      scanner.fail_with(column, Error("program.duplicate", Failure::bad_input,
                                      fmt::format("there is a '{} {}' already", table, number)));
    else
      scanner.fail_with(column, Error("program.order", Failure::bad_input,
                                      fmt::format("'{} {}' comes before '{} {}'", table, number, table, expected))
                                    .with_hint("entries are numbered 0, 1, 2, ... in order"));
  }

  std::uint32_t field(Scanner& scanner, std::string_view name, std::uint64_t least, std::uint64_t most) {
    scanner.expect_word(name);
    return scanner.number_word(name, least, most);
  }

  std::uint16_t config_number(Scanner& scanner) {
    return static_cast<std::uint16_t>(scanner.number_word("cfg", 0, kMostConfigs - 1));
  }

  ConfigId config_field(Scanner& scanner) {
    scanner.expect_word("cfg");
    return ConfigId{config_number(scanner)};
  }

  template <std::size_t N>
  std::size_t one_of(Scanner& scanner, std::string_view what, const std::string_view (&names)[N]) {
    const std::uint32_t column = scanner.column();
    const std::string_view word = scanner.word(what);
    const auto found = std::find(std::begin(names), std::end(names), word);
    if (found != std::end(names)) return static_cast<std::size_t>(found - std::begin(names));
    scanner.fail_unknown(column, what, word, {std::begin(names), std::end(names)});
    return 0;
  }

  Digest digest(Scanner& scanner) {
    const std::uint32_t column = scanner.column();
    const std::string_view word = scanner.word("a digest");
    Digest value;
    if (scanner.good() && !parse_digest(word, value))
      scanner.fail_syntax(column, fmt::format("'{}' is not a digest of 32 hexadecimal digits", shown(word)));
    return value;
  }

  std::string good_name(Scanner& scanner, std::string_view what) {
    const std::uint32_t column = scanner.column();
    const std::string_view word = scanner.word(what);
    if (scanner.good() && !is_good_name(word))
      scanner.fail_with(column,
                        Error("program.name", Failure::bad_input, fmt::format("'{}' is not a good name", shown(word)))
                            .with_hint("names have 1 to 255 letters, digits, '.', '_', '-' and '/'"));
    return scanner.good() ? std::string(word) : std::string();
  }

  NodeId find_node(Scanner& scanner, std::uint32_t column, std::string_view name) {
    const auto found = nodes_.find(name);
    if (found != nodes_.end() && index(found->second) < program_.intent.nodes.size()) return found->second;
    if (!scanner.good()) return {};
    std::vector<std::string_view> names;
    for (const Node& node : program_.intent.nodes) names.push_back(node.name);
    scanner.fail_unknown(column, "node before this line called", name, names);
    return {};
  }

  NodeId node_id(Scanner& scanner) {
    const std::uint32_t column = scanner.column();
    return find_node(scanner, column, scanner.word("the name of a node"));
  }

  TileId tile_word(Scanner& scanner) {
    scanner.expect_start("t", "a tile like t0");
    const TileId tile{scanner.number("the tile", 0, kMostTiles - 1)};
    scanner.end_of_word("the tile");
    return tile;
  }

  ArrayId array_word(Scanner& scanner) {
    scanner.expect_start("a", "an array like a0");
    const ArrayId array{scanner.number("the array", 0, kMostArrays - 1)};
    scanner.end_of_word("the array");
    return array;
  }

  void read_span(Scanner& scanner, std::uint32_t& first, std::uint32_t& length) {
    scanner.expect_start("", "FIRST+LENGTH");
    first = scanner.number("the first element", 0, kMostElements - 1);
    scanner.expect('+', "FIRST+LENGTH");
    length = scanner.number("the length", 1, kMostElements);
    scanner.end_of_word("the span");
  }

  /// core `validate` stops at the first bad node, so a prefix of the graph is good exactly when it ends before that
  /// node.
  Result<void> check_graph() const {
    const Graph& graph = program_.intent;
    Result<void> whole = validate(graph);
    if (whole) return whole;
    std::size_t good = 0;
    std::size_t bad = graph.nodes.size();
    while (bad - good > 1) {
      const std::size_t middle = good + (bad - good) / 2;
      Graph prefix;
      prefix.configs = graph.configs;
      prefix.nodes.assign(graph.nodes.begin(), graph.nodes.begin() + static_cast<std::ptrdiff_t>(middle));
      (validate(prefix) ? good : bad) = middle;
    }
    const Position where = bad == 0 ? Position{line_number_, 1} : node_places_[bad - 1];
    return fail(std::move(whole).error().at_line(where.line, where.column));
  }

  std::string_view text_;
  std::size_t position_ = 0;
  std::string_view line_;
  std::uint32_t line_number_ = 0;

  Program program_;
  std::unordered_map<std::string_view, NodeId> nodes_;  // the names are pieces of the text
  std::unordered_set<std::string> constants_;
  std::vector<Position> node_places_;
  std::vector<bool> is_output_;
  std::size_t config_count_ = 0;
  std::uint64_t group_members_ = 0;
  ListReader lists_;
  bool has_digest_ = false;
  bool has_chip_ = false;
  bool in_code_ = false;
};

}  // namespace

Result<Program> parse_text(std::string_view text, const std::string& file_name) {
  Result<Program> program = TextReader(text).read();
  if (!program) return fail(std::move(program).error().in_file(file_name));
  return program;
}

}  // namespace danaus::program
