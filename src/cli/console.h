#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "cli/arguments.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"

namespace danaus::cli {

/// The only place that writes: results to stdout, talk, progress and errors to stderr.
class Console {
 public:
  explicit Console(const Arguments& arguments);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// The result of the command. Error cli.stdout when it cannot be written.
  Result<void> result(std::string_view text);
  /// A line of talk; silent with --quiet.
  void talk(std::string_view text);
  /// A line of talk with --verbose only.
  void detail(std::string_view text);
  /// Errors that do not end the command (a list of failed checks).
  void error(const Error& error);
  Progress& progress();
  /// What progress shows beside the step, until the step ends.
  void progress_note(std::string text);

 private:
  const Arguments& arguments_;
  std::unique_ptr<Progress> progress_;
  std::function<void(std::string)> note_;  ///< of progress_
};

/// An error on stderr, as text or as one line of JSON.
void print_error(const Error& error, bool json);

}  // namespace danaus::cli
