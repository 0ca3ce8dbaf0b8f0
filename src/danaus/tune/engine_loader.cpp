// Opens the engine's library. A process has one, for good: it is not made to be closed.

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "danaus/tune/engine.h"
#include "danaus/tune/torch/entry.h"

namespace danaus::tune {
namespace {

std::filesystem::path library_path() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / kEngineFile;
}

}  // namespace

bool has_engine() {
  std::error_code ignored;
  return std::filesystem::exists(library_path(), ignored);
}

bool has_fast_bfloat() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

Result<std::unique_ptr<Engine>> make_engine(Network network, EngineOptions options) {
  const std::filesystem::path path = library_path();
  if (!has_engine())
    return fail(Error("tune.no-engine", Failure::unsupported,
                      fmt::format("this danaus was built without the engine of tune: there is no {}", path.string()))
                    .with_hint("make tune builds it; it needs LibTorch (scripts/install-dependencies.sh tune)"));
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* const problem = library == nullptr ? ::dlerror() : nullptr;
  void* const symbol = library == nullptr ? nullptr : ::dlsym(library, kMakeEngine);
  if (symbol == nullptr)
    return fail(Error("tune.no-engine", Failure::unsupported,
                      fmt::format("the engine of tune cannot be opened: {}",
                                  problem == nullptr ? "it is not one" : std::string(problem)))
                    .in_file(path.string())
                    .with_hint("make tune builds it anew; it needs LibTorch (scripts/install-dependencies.sh tune)"));
  const auto make = reinterpret_cast<MadeEngine* (*)(Network*, const EngineOptions*)>(symbol);
  const std::unique_ptr<MadeEngine> made(make(&network, &options));
  return std::move(*made);
}

}  // namespace danaus::tune
