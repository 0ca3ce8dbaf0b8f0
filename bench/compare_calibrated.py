#!/usr/bin/env python3
"""Projections that see the activations against the same algorithms in numpy: all operators of MiniLM, on the
same moments and the same number of threads, in turns.

    bench/compare_calibrated.py build/danaus moments.safetensors [--only GLOB...] [--turns 2] [--threads N]

Blocks: whitened start by batched LAPACK SVD, then alternating least squares over all groups of outputs at once, as many sweeps
as danaus. Low rank: whitened SVD. Gathered: elimination, 16 inputs at a time, H updated as a whole. numpy computes in single
precision where danaus does. Prints seconds of both (of danaus the whole process, reading included) and processor seconds, which
say more on a machine with other work, their ratios, and the mean output error of both."""
import argparse
import fnmatch
import json
import os
import pathlib
import resource
import struct
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("moments")
parser.add_argument("--only", nargs="*", default=["*"])
parser.add_argument("--turns", type=int, default=2)
parser.add_argument("--threads", type=int, default=os.cpu_count())
ARGUMENTS = parser.parse_args()
os.environ["OPENBLAS_NUM_THREADS"] = str(ARGUMENTS.threads)

import numpy  # noqa: E402  (after the number of its threads)

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "all-MiniLM-L6-v2"
DAMPING = 0.003
SWEEPS = 20


def safetensors(path):
    data = pathlib.Path(path).read_bytes()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    types = {"F32": numpy.float32, "I64": numpy.int64, "F16": numpy.float16, "I32": numpy.int32}
    tensors = {name: numpy.frombuffer(data, types[entry["dtype"]], offset=8 + length + entry["data_offsets"][0],
                                      count=int(numpy.prod(entry["shape"]))).reshape(entry["shape"])
               for name, entry in header.items() if name != "__metadata__"}
    return tensors, header.get("__metadata__", {})


class Metric:
    """C of one input in units in which all inputs have the second moment 1, as danaus damps it."""

    def __init__(self, triangle, width):
        c = numpy.zeros((width, width), numpy.float32)
        c[numpy.tril_indices(width)] = triangle
        c += numpy.tril(c, -1).T
        diagonal = c.diagonal()
        self.scale = numpy.sqrt(numpy.maximum(diagonal, 1e-6 * numpy.sort(diagonal)[width // 2]))
        self.plain = c / numpy.outer(self.scale, self.scale)
        self.damped = self.plain * (1 - DAMPING)
        numpy.fill_diagonal(self.damped, 1)

    def error(self, w, m):
        energy = lambda a: float(((a @ self.plain) * a).sum())
        return (max(0.0, energy(w - m)) / energy(w)) ** 0.5


def low_rank(w, metric, rank):
    lower = numpy.linalg.cholesky(metric.damped.astype(numpy.float64)).astype(numpy.float32)
    u, sigma, v = numpy.linalg.svd(w @ lower, full_matrices=False)
    return (u[:, :rank] * sigma[:rank]) @ numpy.linalg.solve(lower.T, v[:rank].T).T


def blocks(w, metric, k, l, r):
    (out, width), c = w.shape, metric.damped
    p, s = width // k, out // l
    diagonal = c.reshape(k, p, k, p)[numpy.arange(k), :, numpy.arange(k)]
    lower = numpy.linalg.cholesky(diagonal.astype(numpy.float64)).astype(numpy.float32)
    inverse = numpy.linalg.inv(diagonal.astype(numpy.float64)).astype(numpy.float32)
    slices = w.reshape(l, s, k, p).transpose(0, 2, 1, 3) @ lower
    u, sigma, v = numpy.linalg.svd(slices, full_matrices=False)
    v = numpy.linalg.solve(lower.transpose(0, 2, 1), v[:, :, :r].transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    v = numpy.ascontiguousarray(v)  # group, chunk, rank, p
    wc = (w @ c).reshape(l, s, k, p)
    t = numpy.stack([(v[:, j].reshape(-1, p) @ c[j * p:(j + 1) * p]).reshape(l, r, k, p) for j in range(k)], axis=1)

    def fit_left():
        gram = numpy.matmul(t.transpose(0, 3, 1, 2, 4).reshape(l, k, k * r, p), v.transpose(0, 1, 3, 2))
        gram = gram.transpose(0, 2, 1, 3).reshape(l, k * r, k * r)
        right = numpy.matmul(wc.transpose(0, 2, 1, 3), v.transpose(0, 1, 3, 2)).transpose(0, 2, 1, 3).reshape(l, s, k * r)
        ridge = 1e-6 * gram.diagonal(axis1=1, axis2=2)[:, :, None] * numpy.eye(k * r)
        return numpy.linalg.solve(gram.astype(numpy.float64) + ridge, right.transpose(0, 2, 1).astype(numpy.float64)) \
            .transpose(0, 2, 1).astype(numpy.float32)

    left = fit_left()
    for _ in range(SWEEPS):
        gram = left.transpose(0, 2, 1) @ left
        for j in range(k):
            own = slice(j * r, (j + 1) * r)
            target = left[:, :, own].transpose(0, 2, 1) @ wc[:, :, j]
            others = gram[:, own].copy()
            others[:, :, own] = 0
            target = target - others @ t[:, :, :, j].reshape(l, k * r, p)
            small = gram[:, own, own]
            small = small + 1e-6 * small.diagonal(axis1=1, axis2=2)[:, :, None] * numpy.eye(r, dtype=numpy.float32)
            v[:, j] = numpy.linalg.solve(small, target) @ inverse[j]
            t[:, j] = (v[:, j].reshape(-1, p) @ c[j * p:(j + 1) * p]).reshape(l, r, k, p)
        left = fit_left()
    return numpy.matmul(left.reshape(l, s, k, r).transpose(0, 2, 1, 3), v).transpose(0, 2, 1, 3).reshape(out, width)


def gather(w, metric, group, keep):
    result = numpy.zeros_like(w)
    start = numpy.linalg.inv(metric.damped.astype(numpy.float64)).astype(numpy.float32)
    for first in range(0, w.shape[0], group):
        rows, h, alive = w[first:first + group].copy(), start, numpy.arange(w.shape[1])
        while len(alive) > keep:
            count = min(16, len(alive) - keep)
            gone = numpy.argpartition((rows ** 2).sum(axis=0) / h.diagonal(), count)[:count]
            stay = numpy.setdiff1d(numpy.arange(len(alive)), gone)
            solved = numpy.linalg.solve(h[numpy.ix_(gone, gone)], h[numpy.ix_(gone, stay)])
            rows = rows[:, stay] - rows[:, gone] @ solved
            h = h[numpy.ix_(stay, stay)] - h[numpy.ix_(stay, gone)] @ solved
            alive = alive[stay]
        result[first:first + group, alive] = rows
    return result


CASES = [("Monarch 32x32:4", ["--blocks", "32:4", "--sweeps", str(SWEEPS)], lambda w, m: blocks(w, m, 32, 32, 4)),
         ("low rank, 2x", ["--structure", "lowrank", "--compression", "2"],
          lambda w, m: low_rank(w, m, round(w.size / 2 / sum(w.shape)))),
         ("gathered, groups of 32, 2x", ["--structure", "gather", "--group", "32", "--compression", "2"],
          lambda w, m: gather(w, m, 32, w.shape[1] // 2)),
         ("gathered, groups of 8, 2x", ["--structure", "gather", "--group", "8", "--compression", "2"],
          lambda w, m: gather(w, m, 8, w.shape[1] // 2))]


def processor_seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ours(options):
    started, before = time.perf_counter(), processor_seconds_of_children()
    done = subprocess.run([ARGUMENTS.program, "project", str(MODEL), "--calibrate", ARGUMENTS.moments, "--json", "-q",
                           "--progress", "none", "--threads", str(ARGUMENTS.threads), *options, "--only", *ARGUMENTS.only],
                          capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(done.stderr)
    layers = json.loads(done.stdout)["layers"]
    return seconds, processor_seconds_of_children() - before, sum(layer["output_error"]["fitted"] for layer in layers) / len(layers)


def theirs(weights, moments, inputs, method):
    started, before = time.perf_counter(), time.process_time()
    errors, metrics = [], {}
    for name, w in weights:
        of = inputs[name]
        if of not in metrics:
            metrics = {of: Metric(moments[of + ".moments"], w.shape[1])}
        scaled = w * metrics[of].scale
        fitted = method(scaled, metrics[of])
        errors.append(metrics[of].error(scaled, fitted))
    return time.perf_counter() - started, time.process_time() - before, sum(errors) / len(errors)


def main():
    tensors, _ = safetensors(MODEL / "model.safetensors")
    moments, metadata = safetensors(ARGUMENTS.moments)
    inputs = {operator: entry["name"] for entry in json.loads(metadata["danaus.moments"])["inputs"]
              for operator in entry["operators"]}
    wanted = lambda name: any(fnmatch.fnmatch(name, glob) for glob in ARGUMENTS.only)
    weights = [(name, tensors[name + ".weight"].astype(numpy.float32)) for name in inputs if wanted(name)]
    print(f"{len(weights)} operators of {MODEL.name}, {ARGUMENTS.threads} threads, numpy {numpy.__version__}, "
          f"{SWEEPS} sweeps, best of {ARGUMENTS.turns}\n")
    print("| | danaus | numpy | ratio | processor, danaus | numpy | ratio | output error, danaus | numpy |\n" + "|---" * 9 + "|")
    for label, options, method in CASES:
        mine, other = [], []
        for _ in range(ARGUMENTS.turns):
            mine.append(ours(options))
            other.append(theirs(weights, moments, inputs, method))
        own, their = ([min(column) for column in zip(*turns)] for turns in (mine, other))
        print(f"| {label} | {own[0]:.2f} s | {their[0]:.2f} s | {their[0] / own[0]:.1f}x | {own[1]:.2f} s | {their[1]:.2f} s | "
              f"{their[1] / own[1]:.1f}x | {own[2]:.4f} | {their[2]:.4f} |", flush=True)


main()
