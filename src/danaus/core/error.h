#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace danaus {

/// What kind of failure it is; the value is the exit code of the command line.
enum class Failure : int {
  check = 1,         ///< a requested check failed (verify, proof)
  usage = 2,         ///< wrong option or argument
  bad_input = 3,     ///< a file is damaged or says something impossible
  unsupported = 4,   ///< legal, but not supported
  does_not_fit = 5,  ///< the model does not fit on the chip
  io = 6,            ///< reading or writing failed
  internal = 70,     ///< a broken invariant of danaus itself
  interrupted = 130
};

/// Where in the input the error lies. Only what is known is set; line and column count from 1.
struct Location {
  std::string file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  std::optional<std::uint64_t> offset;  ///< byte offset, for binary files
  bool operator==(const Location&) const = default;
};

/// An error as a value. `id` is stable and names the check ("gguf.truncated"); tests/error has a golden file for each
/// id.
struct Error {
  std::string id;
  Failure failure = Failure::internal;
  std::string message;
  Location where;
  std::vector<std::string> notes;
  std::string hint;

  Error(std::string_view error_id, Failure kind, std::string text)
      : id(error_id), failure(kind), message(std::move(text)) {}

  Error&& at(Location location) && {
    where = std::move(location);
    return std::move(*this);
  }
  Error&& in_file(std::string_view file) && {
    where.file = file;
    return std::move(*this);
  }
  Error&& at_line(std::uint32_t line, std::uint32_t column = 0) && {
    where.line = line;
    where.column = column;
    return std::move(*this);
  }
  Error&& at_offset(std::uint64_t offset) && {
    where.offset = offset;
    return std::move(*this);
  }
  Error&& note(std::string text) && {
    notes.push_back(std::move(text));
    return std::move(*this);
  }
  Error&& with_hint(std::string text) && {
    hint = std::move(text);
    return std::move(*this);
  }

  bool operator==(const Error&) const = default;
};

template <typename T>
using Result = tl::expected<T, Error>;

/// `return fail(Error("id", Failure::bad_input, "...").in_file(path));`
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

/// The error as people read it: `error[id]: message`, ` --> file:line:column`, notes, hint. No trailing newline.
std::string to_string(const Error& error);

/// Thrown only when an invariant of danaus itself is broken: never for anything a user or a file can cause.
class InternalError;

/// The nearest of `candidates` to `word` (edit distance at most a third of its length), or empty. For spelling hints.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace danaus

/// Evaluates an expression of type Result<T>; returns its error from the enclosing function or binds its value.
#define DANAUS_TRY(variable, expression)                                                 \
  auto variable##_result = (expression);                                                 \
  if (!variable##_result) return ::tl::unexpected(std::move(variable##_result).error()); \
  auto& variable = *variable##_result

/// The same for Result<void>, or when the value is not needed.
#define DANAUS_CHECK(expression)                                                 \
  do {                                                                           \
    auto check_result = (expression);                                            \
    if (!check_result) return ::tl::unexpected(std::move(check_result).error()); \
  } while (false)
