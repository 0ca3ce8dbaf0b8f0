#!/usr/bin/env python3
"""Every preset through all mappings with proof: figures, whole-process time and memory of `danaus run`.

usage: bench/run_models.py [--turns 1] [--models bert-large,llama-7b] [DANAUS]        (default build/danaus, all presets)

The models take turns, so that a machine that changes its speed changes it for all; the time of a model is its median over the turns, and
is also given as a ratio to bert-large in the same turn.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

REFERENCE = "bert-large"


def presets(program):
    listing = json.loads(subprocess.run([program, "show", "models", "--json"], check=True, capture_output=True).stdout)
    return [item["name"] for item in listing["items"]]


def measure(program, model):
    """Wall seconds, CPU seconds and peak memory in MB of one run, and its document."""
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen([program, "run", model, "--json", "--progress", "none"], stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if status != 0:
            sys.exit(f"{program} run {model} failed (status {status})")
        output.seek(0)
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.load(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--models", type=lambda text: text.split(","))
    arguments = parser.parse_args()
    models = arguments.models or presets(arguments.program)
    measure(arguments.program, REFERENCE)  # warm the file cache
    turns = [{model: measure(arguments.program, model) for model in dict.fromkeys([REFERENCE, *models])} for _ in range(arguments.turns)]
    print(f"{'model':17} {'map':8} {'parameters':>14} {'arrays':>9} {'util %':>7} {'linear us':>10} {'latency us':>11} {'proved':>7}")
    for model in models:
        for result in turns[0][model][3]["results"]:
            print(f"{model:17} {result['map']:8} {result['parameters']:14,} {result['arrays']:9,} {100 * result['utilisation']:7.1f} "
                  f"{result['linear_latency_ns'] / 1000:10.1f} {result['latency_ns'] / 1000:11.1f} "
                  f"{result['program']['proof_tokens']:5} t")
    print(f"\n{'model':17} {'wall s':>8} {'cpu s':>8} {'peak MB':>8} {'x ' + REFERENCE:>13}   (all mappings)")
    for model in models:
        wall = statistics.median(turn[model][0] for turn in turns)
        cpu = statistics.median(turn[model][1] for turn in turns)
        peak = max(turn[model][2] for turn in turns)
        ratio = statistics.median(turn[model][0] / turn[REFERENCE][0] for turn in turns)
        print(f"{model:17} {wall:8.2f} {cpu:8.2f} {peak:8.0f} {ratio:13.1f}")


if __name__ == "__main__":
    main()
