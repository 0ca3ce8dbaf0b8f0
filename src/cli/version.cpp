// Alone in its file: the digest of the sources changes with every one of them.

#include "cli/version.h"

#include <fmt/format.h>

#include "danaus/sources_digest.h"

namespace danaus::cli {

std::string_view version() { return DANAUS_VERSION; }

std::string build() { return fmt::format("{}+{}", DANAUS_VERSION, kSourcesDigest); }

}  // namespace danaus::cli
