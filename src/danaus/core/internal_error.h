#pragma once

#include <stdexcept>
#include <string>

namespace danaus {

/// A broken invariant of danaus itself. Caught once, by the command line: exit code 70 and "please report".
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws InternalError when an invariant does not hold. For programmer errors only, never for input.
inline void ensure(bool holds, const char* invariant) {
  if (!holds) throw InternalError(std::string("broken invariant: ") + invariant);
}

}  // namespace danaus
