#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/machine/list/list_machine.h"
#include "danaus/machine/list/tiers.h"

/// What is to be done for one token between two points at which a sequence waits for itself: two attentions, the start,
/// or the choice of a token. All tokens of a part, of all sequences, share it, so that the schedule holds counters
/// only.
namespace danaus::machine::list {

enum class Kind : std::uint8_t { mvm, communication, add, norm, activation, sample, attention };
inline constexpr std::size_t kKinds = 7;

inline constexpr std::uint32_t kNone = ~0u;

struct Operation {
  Kind kind = Kind::mvm;
  bool to_attention = false;   ///< its end counts towards the attention that ends the part
  bool reads_sample = false;   ///< reads the token that was chosen before the part
  bool is_kept = false;        ///< nobody reads what it writes; the simulator counts that of the last sequence only
  std::uint32_t tile = kNone;  ///< mvm
  std::uint32_t operands = 0;  ///< operations of the token that must end first
  std::uint32_t first_reader = 0, readers = 0;  ///< in TokenPart::readers: they may become ready when this one ends
  std::uint32_t written_bytes = 0;              ///< live when it has ended
  std::uint32_t freed_bytes = 0;                ///< of operands that nobody reads later: no longer live when it starts
  std::uint32_t shared = kNone;  ///< an operand with other readers: no longer live when the last of them starts
};

/// Bytes that several operations read, the last of which to start frees them.
struct Shared {
  std::uint32_t bytes = 0;
  std::uint32_t readers = 0;
};

/// A part of one token.
struct TokenPart {
  std::vector<Operation> operations;
  std::vector<std::uint32_t> readers;
  std::vector<std::uint32_t> roots;  ///< ready at the part's start, in this order
  std::vector<Shared> shared;
  std::uint32_t to_attention = 0;           ///< operations that the attention waits for
  std::uint32_t attention_freed_bytes = 0;  ///< of their results, when it starts
  Counts counts;
  double flops = 0;
};

/// A part of a pass. Most tokens have the same operations.
struct Part {
  TokenPart tokens;
  std::optional<TokenPart> last_token;           ///< a token is chosen after it
  std::map<std::uint32_t, TokenPart> otherwise;  ///< tokens that share buffers otherwise, see operations_of
  const TokenPart& of(std::uint32_t token, std::uint32_t count) const {
    if (last_token && token + 1 == count) return *last_token;
    if (otherwise.empty()) return tokens;
    const auto found = otherwise.find(token);
    return found == otherwise.end() ? tokens : found->second;
  }
};

/// Part 0 ends with the attention of layer 0, part n with that of layer n, the last one with the pass.
struct Operations {
  std::vector<Part> parts;
  Part after_sample;  ///< decoder: part 0 of all passes but the first, which wait for the choice of a token
  std::uint32_t attention_bytes = 0;  ///< that attention writes for each token; shared among the roots of the next part
  std::uint32_t sample_bytes = 0;     ///< that the choice of a token writes; freed by the last root of the next pass
};

/// The simulator gives the row parts of a matrix a buffer each, and tells which tile operation reads which by sorting
/// their names as text: "tier_linear_99" comes after "tier_linear_100". A decoder's are numbered within the matrix, an
/// encoder's through the whole pass of `tokens` tokens, so that tokens whose numbers get a digit more differ from
/// others. Errors: list.too-large.
Result<Operations> operations_of(const Transformer& transformer, const Mapping& mapping, std::uint32_t tokens,
                                 const chip::Chip& chip);

}  // namespace danaus::machine::list
