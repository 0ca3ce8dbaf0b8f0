# Script: cmake -DROOT=folder -DLIST=file -DOUTPUT=header -P sources_digest.cmake
# A digest of the files that LIST names (paths relative to ROOT, one a line): the same for the same sources, wherever and
# however they are built. The SHA-256 of lines "digest  path", as sha256sum prints them; of it the first 16 digits.
file(STRINGS "${LIST}" names)
list(SORT names)
set(lines "")
foreach(name IN LISTS names)
  file(SHA256 "${ROOT}/${name}" digest)
  string(APPEND lines "${digest}  ${name}\n")
endforeach()
string(SHA256 digest "${lines}")
string(SUBSTRING "${digest}" 0 16 digest)
file(WRITE "${OUTPUT}" "#pragma once\n\n#include <string_view>\n\nnamespace danaus {\n\n/// Of all sources of this build (cmake/sources_digest.cmake).\ninline constexpr std::string_view kSourcesDigest = \"${digest}\";\n\n}  // namespace danaus\n")
