#!/usr/bin/env python3
"""Dense-to-sparse projection of BERT-large-sized random weights: bench_d2s against batched LAPACK in numpy.

24 layers of four 1024x1024 and two 4096x1024 operators, 32x32 blocks of rank 1: 147,456 slices. Both sides work on one
thread and on the same weights, in turns. LAPACK projects one layer a turn (times 24), bench_d2s all 24 layers.

usage: compare_d2s.py BENCH_D2S [--turns N] [--seed N]
"""
import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy

SHAPES = [(1024, 1024)] * 4 + [(4096, 1024)] * 2
LAYERS = 24
BLOCKS = 32


def loaded_libraries():
    """The BLAS and LAPACK libraries that numpy uses in this process."""
    numpy.linalg.svd(numpy.eye(2))
    with open("/proc/self/maps", encoding="ascii") as maps:
        found = {line.split()[-1] for line in maps if re.search(r"blas|lapack|mkl", line)}
    return sorted(name for name in found if not re.search(r"numpy|python3", name)) or sorted(found)


def slices_of(matrix):
    out, width = matrix.shape
    s, p = out // BLOCKS, width // BLOCKS
    return matrix.reshape(BLOCKS, s, BLOCKS, p).swapaxes(1, 2).reshape(-1, s, p)


def project(matrix):
    """Best rank-1 factors of every slice by LAPACK."""
    u, sigma, v = numpy.linalg.svd(slices_of(matrix), full_matrices=False)
    root = numpy.sqrt(sigma[:, :1])
    return u[:, :, 0] * root, v[:, 0, :] * root


def optimum(matrix):
    """Relative error of the best approximation, in double precision."""
    sigma = numpy.linalg.svd(slices_of(matrix.astype(numpy.float64)), compute_uv=False)
    return float(numpy.sqrt((sigma[:, 1:] ** 2).sum() / (sigma**2).sum()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench_d2s")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    generator = numpy.random.default_rng(options.seed)
    layer = [(0.02 * generator.standard_normal(shape)).astype(numpy.float32) for shape in SHAPES]
    ratios, ours, theirs = [], [], []
    with tempfile.NamedTemporaryFile(suffix=".f32") as weights:
        for matrix in layer:
            matrix.tofile(weights)
        weights.flush()
        for turn in range(options.turns):
            start = time.perf_counter()
            for matrix in layer:
                project(matrix)
            theirs.append((time.perf_counter() - start) * LAYERS)
            run = subprocess.run([options.bench_d2s, weights.name], check=True, capture_output=True, text=True)
            result = json.loads(run.stdout)
            ours.append(result["seconds"])
            ratios.append(theirs[-1] / ours[-1])
            print(f"turn {turn + 1}: LAPACK {theirs[-1]:.2f} s, danaus {ours[-1]:.3f} s, ratio {ratios[-1]:.1f}", file=sys.stderr)
    excess = [error / optimum(matrix) - 1 for (error, _), matrix in zip(result["errors"], layer)]
    print(
        json.dumps(
            {
                "numpy": numpy.__version__,
                "libraries": loaded_libraries(),
                "slices": LAYERS * len(SHAPES) * BLOCKS * BLOCKS,
                "lapack_seconds": round(statistics.median(theirs), 3),
                "danaus_seconds": round(statistics.median(ours), 4),
                "ratio": round(statistics.median(ratios), 2),
                "largest_relative_excess_error": max(excess),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
