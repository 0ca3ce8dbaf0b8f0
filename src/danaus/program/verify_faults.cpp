#include "danaus/program/verify_faults.h"

#include <fmt/format.h>

namespace danaus::program {

void Faults::add(Error error) {
  if (full()) return;
  if (command_) {
    const Result<Command> command = decode(program_.code[*command_]);
    std::string note = fmt::format("command {} '{}'", *command_, command ? to_text(*command) : "?");
    if (token_) note += fmt::format(", token {}", *token_);
    error.notes.push_back(std::move(note));
  }
  errors_.push_back(std::move(error));
}

}  // namespace danaus::program
