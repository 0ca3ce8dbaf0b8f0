"""Prints the figures of tests/unit/factor/test_activation.cpp, made with numpy in double precision.

    python make_activation_figures.py

Blocks: outputs, inputs, k, l, r, sweeps of alternating least squares, then the relative output errors of the plain truncated
SVD, of the whitened start and after the sweeps. Gathered: outputs, inputs, outputs of a group, inputs that it keeps, candidates
of a step, the relative output error, and a checksum of the selection: sum over n of (n + 1) * selection[n].
"""

import numpy

DAMPING = 0.01
TOKENS = 400
BLOCKS = [(48, 40, 1, 1, 7, 0), (36, 40, 1, 3, 4, 0), (48, 40, 4, 3, 2, 5), (45, 38, 4, 4, 3, 3), (64, 24, 8, 8, 1, 10),
          (16, 96, 6, 2, 5, 4)]
GATHERED = [(64, 48, 16, 24, 16), (40, 72, 8, 18, 16), (33, 50, 8, 25, 16), (24, 96, 24, 40, 1)]


def weights(out, inputs):
    rows = numpy.arange(out, dtype=numpy.uint64)[:, None]
    columns = numpy.arange(inputs, dtype=numpy.uint64)[None, :]
    return ((rows * 7919 + columns * 104729 + rows * columns * columns * 31) % 1009) / 1024 - 0.5


def moments(inputs):
    """Of correlated inputs, one of them huge in the first token and one always zero."""
    t = numpy.arange(TOKENS, dtype=numpy.uint64)[:, None]
    j = numpy.arange(inputs, dtype=numpy.uint64)[None, :]
    z = ((t * t * 31 + j * 7919 + t * j * j * 13) % 997) / 1024 - 0.5
    x = z + 0.75 * numpy.roll(z, -1, axis=1) + 0.5 * z[:, (numpy.arange(inputs) * 5 + 2) % inputs]
    x[0, 3] = 24
    x[:, 5] = 0
    return (x.T @ x / TOKENS).astype(numpy.float32).astype(numpy.float64)


class Metric:
    def __init__(self, inputs):
        self.c = moments(inputs)
        diagonal = self.c.diagonal()
        self.scale = numpy.sqrt(numpy.maximum(diagonal, 1e-6 * numpy.sort(diagonal)[inputs // 2]))
        correlation = self.c / numpy.outer(self.scale, self.scale)
        self.damped = correlation * (1 - DAMPING)
        numpy.fill_diagonal(self.damped, 1)

    def error(self, w, m):
        energy = lambda a: numpy.trace(a @ self.c @ a.T)
        return (energy(w - m) / energy(w)) ** 0.5


def fit_blocks(w, metric, k, l, r, sweeps):
    out, inputs = w.shape
    p, s = -(-inputs // k), -(-out // l)
    scaled, c = w * metric.scale, metric.damped
    chunks = [slice(j * p, min(inputs, (j + 1) * p)) for j in range(k) if j * p < inputs]
    groups = [slice(i * s, min(out, (i + 1) * s)) for i in range(l) if i * s < out]
    lower = [numpy.linalg.cholesky(c[j, j]) for j in chunks]
    plain, start, fitted = numpy.zeros_like(w), numpy.zeros_like(w), numpy.zeros_like(w)
    for i in groups:
        u, v = [], []
        for j, g in zip(chunks, lower):
            a, sigma, b = numpy.linalg.svd(w[i, j], full_matrices=False)
            plain[i, j] = (a[:, :r] * sigma[:r]) @ b[:r]
            a, sigma, b = numpy.linalg.svd(scaled[i, j] @ g, full_matrices=False)
            u.append(a[:, :r] * sigma[:r])
            v.append(b[:r] @ numpy.linalg.inv(g))
            start[i, j] = u[-1] @ v[-1] / metric.scale[j]
        v_of = lambda: numpy.vstack([numpy.concatenate([numpy.zeros((len(b), j.start)), b,
                                                        numpy.zeros((len(b), inputs - j.stop))], axis=1)
                                     for j, b in zip(chunks, v)])
        fit = lambda z: numpy.linalg.lstsq((z @ c @ z.T), (z @ c @ scaled[i].T), rcond=None)[0].T
        if len(chunks) > 1:
            left = fit(v_of())
            for _ in range(sweeps):
                at = numpy.cumsum([0] + [len(b) for b in v])
                for n, j in enumerate(chunks):
                    own = left[:, at[n]:at[n + 1]]
                    z = v_of()
                    z[at[n]:at[n + 1]] = 0
                    rest = (scaled[i] - left @ z) @ c[:, j]
                    v[n] = numpy.linalg.lstsq(own.T @ own, own.T @ rest, rcond=None)[0] @ numpy.linalg.inv(c[j, j])
                left = fit(v_of())
            fitted[i] = left @ v_of() / metric.scale
        else:
            fitted[i] = start[i]
    return metric.error(w, plain), metric.error(w, start), metric.error(w, fitted)


def eliminate(w, inverse, keep, step):
    """Literally: H updated after every input; candidates of a step as the program chooses them."""
    h, w, alive = inverse.copy(), w.copy(), list(range(w.shape[1]))
    while len(alive) > keep:
        score = lambda j: (w[:, j] ** 2).sum() / h[j, j]
        count = min(step, len(alive) - keep)
        order = sorted(alive, key=score)
        candidates = order[:count]
        following = score(order[count]) if count < len(order) else numpy.inf
        removed = 0
        while candidates:
            best = min(candidates, key=score)
            if removed >= (count + 1) // 2 and score(best) > following:
                break
            w -= numpy.outer(w[:, best] / h[best, best], h[best])
            h -= numpy.outer(h[:, best], h[best]) / h[best, best]
            w[:, best] = 0
            h[best, best] = 1
            candidates.remove(best)
            alive.remove(best)
            removed += 1
    return w, sorted(alive)


def gather(w, metric, group, keep, step):
    scaled, inverse = w * metric.scale, numpy.linalg.inv(metric.damped)
    fitted, selection = numpy.zeros_like(w), []
    for first in range(0, w.shape[0], group):
        rows, kept = eliminate(scaled[first:first + group], inverse, keep, step)
        fitted[first:first + group] = rows / metric.scale
        selection += kept
    return metric.error(w, fitted), sum((n + 1) * number for n, number in enumerate(selection))


for out, inputs, k, l, r, sweeps in BLOCKS:
    errors = fit_blocks(weights(out, inputs), Metric(inputs), k, l, r, sweeps)
    print(f"{{{out}, {inputs}, {k}, {l}, {r}, {sweeps}, {errors[0]:.9f}, {errors[1]:.9f}, {errors[2]:.9f}}},")
for out, inputs, group, keep, step in GATHERED:
    error, checksum = gather(weights(out, inputs), Metric(inputs), group, keep, step)
    print(f"{{{out}, {inputs}, {group}, {keep}, {step}, {error:.9f}, {checksum}}},")
