#pragma once

#include <charconv>
#include <string>

#include "danaus/program/program.h"
#include "danaus/program/scanner.h"

/// One command as a line of text: the part of the text form that is long and has to be fast.
namespace danaus::program {

/// Appends a decimal integer, after a character in the second form.
template <typename T>
void append_number(std::string& text, T number) {
  char digits[24];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, number);
  text.append(digits, end.ptr);
}
template <typename T>
void append_number(std::string& text, char before, T number) {
  text += before;
  append_number(text, number);
}

void append_address(std::string& text, const Address& address);
void append_command(std::string& text, const Command& command);

/// Parses the rest of a line as OFFSET[@B].
Address scan_address(Scanner& scanner, std::string_view what);
/// Parses a line whose first word is next. A failure is left in the scanner, and the result means nothing then.
Record scan_command(Scanner& scanner);

}  // namespace danaus::program
