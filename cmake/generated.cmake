# Generated sources: preset files embedded as text, and the table of mapping strategies (one folder of compile/place each).

# danaus_embed(target symbol folder extension): function std::vector<std::pair<std::string_view, std::string_view>>
# danaus::embedded::<symbol>() with (file stem, text) of every file, sorted by name.
function(danaus_embed target symbol folder extension)
  file(GLOB files CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*.${extension}")
  list(SORT files)
  set(entries "")
  foreach(path IN LISTS files)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${path}")
    get_filename_component(stem "${path}" NAME_WLE)
    file(READ "${path}" text)
    string(APPEND entries "    {\"${stem}\", R\"danaus_text(${text})danaus_text\"},\n")
  endforeach()
  set(content "#include <string_view>\n#include <utility>\n#include <vector>\n\nnamespace danaus::embedded {\n\nconst std::vector<std::pair<std::string_view, std::string_view>>& ${symbol}();\n\nconst std::vector<std::pair<std::string_view, std::string_view>>& ${symbol}() {\n  static const std::vector<std::pair<std::string_view, std::string_view>> files = {\n${entries}  };\n  return files;\n}\n\n}  // namespace danaus::embedded\n")
  file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/generated/embedded_${symbol}.cpp" CONTENT "${content}")
  target_sources(${target} PRIVATE "${CMAKE_BINARY_DIR}/generated/embedded_${symbol}.cpp")
endfunction()

# danaus_embed_bytes(target symbol folder extension): the same with std::span<const std::byte>, for files that are no text.
function(danaus_embed_bytes target symbol folder extension)
  file(GLOB files CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*.${extension}")
  list(SORT files)
  set(places "")
  set(entries "")
  set(number 0)
  foreach(path IN LISTS files)
    get_filename_component(stem "${path}" NAME_WLE)
    set(name "danaus_${symbol}_${number}")
    math(EXPR number "${number} + 1")
    string(APPEND places "asm(R\"(.section .rodata\n.balign 64\n${name}:\n.incbin \"${path}\"\n${name}_end:\n.previous\n)\");\nextern \"C\" const std::byte ${name}[], ${name}_end[];\n")
    string(APPEND entries "    {\"${stem}\", {${name}, ${name}_end}},\n")
  endforeach()
  set(content "#include <cstddef>\n#include <span>\n#include <string_view>\n#include <utility>\n#include <vector>\n\n${places}\nnamespace danaus::embedded {\n\nusing Files = std::vector<std::pair<std::string_view, std::span<const std::byte>>>;\nconst Files& ${symbol}();\n\nconst Files& ${symbol}() {\n  static const Files files = {\n${entries}  };\n  return files;\n}\n\n}  // namespace danaus::embedded\n")
  set(source "${CMAKE_BINARY_DIR}/generated/embedded_${symbol}.cpp")
  file(GENERATE OUTPUT "${source}" CONTENT "${content}")
  set_source_files_properties("${source}" PROPERTIES OBJECT_DEPENDS "${files}")
  target_sources(${target} PRIVATE "${source}")
endfunction()

danaus_embed(danaus_model shapes shapes toml)
danaus_embed_bytes(danaus_model models data/tiny-kjv gguf)
danaus_embed(danaus_chip chips chips toml)
danaus_embed(danaus_pipeline references data/reference toml)

# A strategy is a folder src/danaus/compile/place/<name>/ with <name>.h: `Result<Placement> place_<name>(graph, options)`,
# `inline constexpr std::string_view <name>_help` and `inline constexpr bool <name>_dense_operator, <name>_uses_converters`.
file(GLOB strategy_folders CONFIGURE_DEPENDS LIST_DIRECTORIES true "${PROJECT_SOURCE_DIR}/src/danaus/compile/place/*")
list(SORT strategy_folders)
set(includes "")
set(rows "")
foreach(folder IN LISTS strategy_folders)
  if(IS_DIRECTORY "${folder}")
    get_filename_component(name "${folder}" NAME)
    string(REPLACE "-" "_" symbol "${name}")
    if(EXISTS "${folder}/${symbol}.h")
      string(APPEND includes "#include \"danaus/compile/place/${name}/${symbol}.h\"\n")
      string(APPEND rows "      {\"${name}\", ${symbol}_help, ${symbol}_dense_operator, ${symbol}_uses_converters, place_${symbol}},\n")
    endif()
  endif()
endforeach()
file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/generated/strategies.cpp" CONTENT
"#include \"danaus/compile/compile.h\"\n${includes}
namespace danaus::compile {

const std::vector<StrategyInfo>& strategies() {
  static const std::vector<StrategyInfo> table = {\n${rows}  };
  return table;
}

}  // namespace danaus::compile\n")
target_sources(danaus_compile PRIVATE "${CMAKE_BINARY_DIR}/generated/strategies.cpp")

# What is compiled into danaus, as a digest: results of two builds are told apart by it, where the version is the same.
file(GLOB_RECURSE danaus_sources CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}"
  "${PROJECT_SOURCE_DIR}/src/*.cpp" "${PROJECT_SOURCE_DIR}/src/*.h" "${PROJECT_SOURCE_DIR}/src/*.py"
  "${PROJECT_SOURCE_DIR}/chips/*.toml" "${PROJECT_SOURCE_DIR}/shapes/*.toml" "${PROJECT_SOURCE_DIR}/data/reference/*.toml"
  "${PROJECT_SOURCE_DIR}/data/tiny-kjv/*.gguf")
list(SORT danaus_sources)
list(JOIN danaus_sources "\n" danaus_source_lines)
file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/generated/sources.txt" CONTENT "${danaus_source_lines}\n")
list(TRANSFORM danaus_sources PREPEND "${PROJECT_SOURCE_DIR}/" OUTPUT_VARIABLE danaus_source_paths)
add_custom_command(OUTPUT "${CMAKE_BINARY_DIR}/generated/danaus/sources_digest.h"
  COMMAND "${CMAKE_COMMAND}" "-DROOT=${PROJECT_SOURCE_DIR}" "-DLIST=${CMAKE_BINARY_DIR}/generated/sources.txt"
    "-DOUTPUT=${CMAKE_BINARY_DIR}/generated/danaus/sources_digest.h" -P "${PROJECT_SOURCE_DIR}/cmake/sources_digest.cmake"
  DEPENDS ${danaus_source_paths} "${CMAKE_BINARY_DIR}/generated/sources.txt" "${PROJECT_SOURCE_DIR}/cmake/sources_digest.cmake"
  COMMENT "Digest of all sources" VERBATIM)
