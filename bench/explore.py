#!/usr/bin/env python3
"""Points a second of `danaus explore`, the whole program: start, points, database. On one and two threads, and on one and two MPI ranks.

usage: bench/explore.py [--turns 3] [--model bert-large] [DANAUS]        (default build/danaus)

The study is 2025 cost points: converters per array, kinds of converters, settling times and energies, for all mappings. The ways take
turns, so that a machine that changes its speed changes it for all; figures are medians over the turns. A second of a core is a second
of CPU time of the process and all that it has started. On a busy machine the wall time says little, CPU time still does.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

STUDY = """[study]
name = "bench"
model = "{model}"
chip = "pcm-14nm"
objective = ["min latency_ns", "min energy_nj", "min area_mm2"]
"adc.step_ns" = 0.5
"adc.lsb_ns" = 0.1
"adc.time_ns" = 3

[sweep]
map = ["linear", "sparse", "dense"]
"adc.per_array" = {{from = 2, to = 32, factor = 2}}
"adc.kind" = ["sar", "ramp", "fixed"]
"array.settle_ns" = {{from = 5, to = 25, points = 5}}
"array.cell_energy_pj" = {{from = 0.0001, to = 0.01, points = 3, log = true}}
"input.row_energy_pj" = {{from = 0.01, to = 1, points = 3, log = true}}
"""
POINTS = 3 * 5 * 3 * 5 * 3 * 3


def measure(command, folder):
    """Wall and CPU seconds of one study, begun anew."""
    for database in folder.glob("bench.db*"):
        database.unlink()
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    with open(folder / "log.txt", "w+") as log:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    if status != 0 or f"{POINTS} computed" not in text or "with an error" in text:
        sys.exit(f"{' '.join(command)} failed:\n{text}")
    return wall, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", default="bert-large")
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.program).resolve())
    explore = [program, "explore", "bench.toml", "--progress", "none"]
    ways = {"1 thread": [*explore, "--threads", "1"], "2 threads": [*explore, "--threads", "2"]}
    if shutil.which("mpirun") is not None:
        for ranks in (1, 2):
            ways[f"{ranks} rank{'s' * (ranks > 1)}"] = ["mpirun", "--oversubscribe", "-n", str(ranks), *explore, "--threads", "1"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "bench.toml").write_text(STUDY.format(model=arguments.model))
        turns = [{way: measure(command, folder) for way, command in ways.items()} for _ in range(arguments.turns)]
    print(f"{arguments.model}, {POINTS} points, median of {arguments.turns}")
    print(f"{'':10} {'wall s':>8} {'cpu s':>8} {'points/s':>9} {'points/s of a core':>19} {'x 1 thread':>11}")
    for way in ways:
        wall = statistics.median(turn[way][0] for turn in turns)
        cpu = statistics.median(turn[way][1] for turn in turns)
        speedup = statistics.median(turn["1 thread"][0] / turn[way][0] for turn in turns)
        print(f"{way:10} {wall:8.2f} {cpu:8.2f} {POINTS / wall:9.0f} {POINTS / cpu:19.0f} {speedup:11.2f}")


if __name__ == "__main__":
    main()
