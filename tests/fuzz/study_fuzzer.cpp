// Any bytes as a study file: an error, or a study whose points can be listed, each value allowed for its key. Written
// down, it is the same study.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "danaus/explore/options.h"
#include "danaus/explore/space.h"
#include "danaus/explore/study.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<explore::Study> study = explore::parse_study(text, "fuzz.toml");
  if (!study) return 0;
  const Result<explore::Study> again = explore::parse_study(study->text, "again.toml");
  if (!again || explore::canonical_text(*again) != explore::canonical_text(*study)) std::abort();
  // What a small study does, a large one does as well, in more time.
  if (study->budget.value_or(0) > 4096) return 0;
  const Result<explore::Space> space = explore::Space::create(*study);
  if (!space) return 0;
  const std::uint64_t step = std::max<std::uint64_t>(1, space->size() / 64);
  for (std::uint64_t point = 0; point < space->size(); point += step) {
    const std::vector<explore::Value> values = space->values(point);
    if (values.size() != study->axes.size()) std::abort();
    for (std::size_t axis = 0; axis < values.size(); ++axis)
      if (!explore::checked(study->axes[axis].key, values[axis])) std::abort();
  }
  return 0;
}
