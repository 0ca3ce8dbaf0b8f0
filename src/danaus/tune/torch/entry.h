#pragma once

#include <memory>

#include "danaus/tune/engine.h"

namespace danaus::tune {

using MadeEngine = Result<std::unique_ptr<Engine>>;

/// The name under which the shared library of an engine has the function below.
inline constexpr const char* kMakeEngine = "danaus_make_engine";
/// And the file, beside the program.
inline constexpr const char* kEngineFile = "libdanaus_tune_torch.so";

}  // namespace danaus::tune

/// Makes an engine; the caller deletes the result.
extern "C" __attribute__((visibility("default"))) danaus::tune::MadeEngine* danaus_make_engine(
    danaus::tune::Network* network, const danaus::tune::EngineOptions* options);
