#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace danaus::factor {

/// Where one slice lies in a row-major matrix. What is missing up to the full size is zero.
struct SliceSource {
  const float* first = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
};

/// A set of equally shaped slices that are solved together, one per SIMD lane: element e of slice q is at [e * lanes +
/// q]. A slice is seen as tall x narrow (tall >= narrow), transposed if need be.
struct LaneGroup {
  std::size_t tall = 0;
  std::size_t narrow = 0;
  std::size_t rank = 0;                  ///< 1 <= rank <= narrow
  bool transposed = false;               ///< `tall` runs along the columns of the matrix
  std::size_t row_stride = 0;            ///< of the matrix
  std::span<const SliceSource> sources;  ///< at most lane_count(); further lanes are zero
  std::span<const float> start;          ///< start_values(rank, narrow)
  std::span<float> work;                 ///< lane_work_size(), aligned to 64 bytes
};

/// What solve_lanes found, the arrays inside `work`. Everything refers to the slices times 2^shift.
struct LaneSolution {
  bool finite = true;                    ///< false: some weight is not a finite number, and nothing else is valid
  const float* tall_factor = nullptr;    ///< rank x tall; slice ~ tall_factor^T * narrow_factor
  const float* narrow_factor = nullptr;  ///< rank x narrow
  int shift[16] = {};                    ///< even; not 0 only where weights are very large or small
  double squared_norm[16] = {};          ///< ||A||_F^2
  double squared_error[16] = {};         ///< ||A - M||_F^2 with M as stored
  double excess[16] = {};                ///< bound on squared_error - optimum; infinite where none could be proved
};

/// Slices per group on this machine's SIMD target. Results do not depend on it: lanes do not mix.
std::size_t lane_count();
std::size_t lane_work_size(std::size_t tall, std::size_t narrow, std::size_t rank);
/// Start vectors of the inverse iteration, `count` x `size`, uniform in [-1, 1) and the same in every run.
std::vector<float> start_values(std::size_t count, std::size_t size);
/// Best rank-r factors of every lane, in single precision.
LaneSolution solve_lanes(const LaneGroup& group);

/// What solve_slice found.
struct SliceSolution {
  std::vector<double> tall_factor;    ///< rank x tall
  std::vector<double> narrow_factor;  ///< rank x narrow
  double discarded = 0;               ///< sum of the discarded sigma^2
};

/// Best rank-r factors of one tall x narrow slice (row-major, any size) in double precision; parallel inside.
SliceSolution solve_slice(std::span<const float> slice, std::size_t tall, std::size_t narrow, std::size_t rank);

}  // namespace danaus::factor
