#pragma once

#include <cstddef>
#include <functional>

namespace danaus {

/// Threads that parallel_for uses from now on (0 = all). Set once by the command line.
void set_thread_count(int threads);
int thread_count();

/// Calls body(first, last) for fixed chunks [first, last) of [0, count). Chunk borders depend on `count` and `chunk`
/// only, never on the thread count, so per-chunk results are reproducible. Blocks until all are done.
void parallel_for(std::size_t count, std::size_t chunk, const std::function<void(std::size_t, std::size_t)>& body);

}  // namespace danaus
