"""Prints the figures of tests/unit/factor/test_gather.cpp, made with numpy.

    python make_gather_figures.py

Each line: outputs, inputs, outputs of a group, inputs that it keeps, the relative error, and a checksum of the
selection: sum over n of (n + 1) * selection[n].
"""

import numpy

SHAPES = [(64, 48, 32, 6), (70, 33, 32, 11), (5, 97, 8, 13), (128, 64, 16, 32), (31, 31, 1, 4), (96, 128, 96, 127)]


def weights(out, inputs):
    rows = numpy.arange(out, dtype=numpy.uint64)[:, None]
    columns = numpy.arange(inputs, dtype=numpy.uint64)[None, :]
    mixed = (rows * 7919 + columns * 104729 + rows * columns * columns * 31) % 1009
    return mixed.astype(numpy.float64) / 1024 - 0.5


for out, inputs, group, kept in SHAPES:
    matrix = weights(out, inputs)
    discarded = 0.0
    selection = []
    for first in range(0, out, group):
        norms = (matrix[first : first + group] ** 2).sum(axis=0)
        order = numpy.argsort(-norms, kind="stable")
        selection += sorted(order[:kept].tolist())
        discarded += norms[order[kept:]].sum()
    checksum = sum((n + 1) * number for n, number in enumerate(selection))
    error = (discarded / (matrix**2).sum()) ** 0.5
    print(f"{{{out}, {inputs}, {min(group, out)}, {kept}, {error:.12f}, {checksum}}},")
