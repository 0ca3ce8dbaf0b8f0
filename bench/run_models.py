#!/usr/bin/env python3
"""Whole-process time and memory of `danaus run`, all mappings, for models from bert-large to llama-70b.

usage: bench/run_models.py [--turns 3] [DANAUS]        (default build/danaus)

The models take turns, so that a machine that changes its speed changes it for all; the time of a model is its median over the turns, and
is also given as a ratio to bert-large in the same turn.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

MODELS = ["bert-large", "llama-7b", "llama-70b"]


def measure(program, model):
    """Wall seconds, CPU seconds and peak memory in MB of one run."""
    started = time.monotonic()
    process = subprocess.Popen([program, "run", model, "--json", "--progress", "none"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{program} run {model} failed (status {status})")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    measure(arguments.program, MODELS[0])  # warm the file cache
    turns = [{model: measure(arguments.program, model) for model in MODELS} for _ in range(arguments.turns)]
    print(f"{'model':12} {'wall s':>8} {'cpu s':>8} {'peak MB':>8} {'x bert-large':>13}")
    for model in MODELS:
        wall = statistics.median(turn[model][0] for turn in turns)
        cpu = statistics.median(turn[model][1] for turn in turns)
        peak = max(turn[model][2] for turn in turns)
        ratio = statistics.median(turn[model][0] / turn[MODELS[0]][0] for turn in turns)
        print(f"{model:12} {wall:8.2f} {cpu:8.2f} {peak:8.0f} {ratio:13.1f}")


if __name__ == "__main__":
    main()
