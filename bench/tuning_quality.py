#!/usr/bin/env python3
"""How much of an encoder is left with factors in place of its weights: cosine of each line's embedding to that of the
dense model, and for how many lines the nearest other line is the same (the standard error beside it).

usage: bench/tuning_quality.py DANAUS MODEL TEXT FACTORS...
"""

import json
import subprocess
import sys


def embeddings(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    rows = json.loads(done.stdout)["embeddings"]
    return [[x / sum(y * y for y in row) ** 0.5 for x in row] for row in rows]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def nearest(rows):
    return [max((dot(row, other), n) for n, other in enumerate(rows) if other is not row)[1] for row in rows]


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    danaus, model, text, *factors = sys.argv[1:]
    base = [danaus, "eval", model, "--text", text, "--json", "-q"]
    dense = embeddings(base)
    expected = nearest(dense)
    print("| factors | cosine | lowest tenth | same nearest line |\n|---|---|---|---|")
    for path in factors:
        found = embeddings(base + ["--factors", path])
        cosines = sorted(map(dot, dense, found))
        same = sum(a == b for a, b in zip(expected, nearest(found))) / len(dense)
        error = (same * (1 - same) / len(dense)) ** 0.5
        print(f"| {path.rsplit('/', 1)[-1]} | {sum(cosines) / len(cosines):.4f} | {cosines[len(cosines) // 10]:.4f} "
              f"| {same:.3f} ± {error:.3f} |", flush=True)


if __name__ == "__main__":
    main()
