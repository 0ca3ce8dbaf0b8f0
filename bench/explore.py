#!/usr/bin/env python3
"""Points a second of `danaus explore`, the whole program: start, points, database. On one and two threads, and on one and two MPI ranks.

usage: bench/explore.py [--turns 3] [--model bert-large] [DANAUS]        (default build/danaus)

Two studies: "costs" has 91125 points that differ in converters, settling times and energies, so that they share 45 programs or fewer;
"programs" has 120 points each with a program of its own. The ways take turns, so that a machine that changes its speed changes it for all; figures are medians over the turns. "start" is the wall time of the same
command when the database is complete: the launcher, and the points listed, which every rank does for itself; points/s is without it. A
second of a core is a second of CPU time of the process and all that it has started. On a busy machine the wall time says little, CPU time
still does.
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

HEAD = """[study]
name = "bench"
model = "{model}"
chip = "pcm-14nm"
objective = ["min latency_ns", "min energy_nj", "min area_mm2"]
"adc.step_ns" = 0.5
"adc.lsb_ns" = 0.1
"adc.time_ns" = 3

[sweep]
map = ["linear", "sparse", "dense"]
"""
COSTS = """"adc.per_array" = {from = 2, to = 32, factor = 2}
"adc.kind" = ["sar", "ramp", "fixed"]
"array.settle_ns" = {from = 5, to = 25, points = 25}
"array.cell_energy_pj" = {from = 0.0001, to = 0.01, points = 9, log = true}
"input.row_energy_pj" = {from = 0.01, to = 1, points = 9, log = true}
"""
PROGRAMS = """tokens = {from = 2, to = 40, step = 2}
mode = ["encode"]
"network.arrays_per_tile" = [4, 8]
"""
STUDIES = {"costs": (COSTS, 3 * 5 * 3 * 25 * 9 * 9), "programs": (PROGRAMS, 3 * 20 * 2)}


def measure(command, folder, points):
    """Wall and CPU seconds of one study, begun anew, and wall seconds when nothing of it is left to do."""
    for database in folder.glob("bench.db*"):
        database.unlink()
    wall, cpu = measure_one(command, folder, f"{points} computed")
    return wall, cpu, measure_one([*command, "--resume"], folder, "0 computed")[0]


def measure_one(command, folder, expected):
    """Wall and CPU seconds of one process."""
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    with open(folder / "log.txt", "w+") as log:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    if status != 0 or f" {expected}" not in text or "with an error" in text:
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
    for study, (sweep, points) in STUDIES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "bench.toml").write_text(HEAD.format(model=arguments.model) + sweep)
            turns = [{way: measure(command, folder, points) for way, command in ways.items()} for _ in range(arguments.turns)]
        report(f"{study}: {arguments.model}, {points} points, median of {arguments.turns}", ways, turns, points)


def report(title, ways, turns, points):
    print(title)
    print(f"{'':10} {'wall s':>8} {'start s':>8} {'cpu s':>8} {'points/s':>9} {'x 1 thread':>11} {'points/s of a core':>19}")
    for way in ways:
        wall, cpu, start = (statistics.median(turn[way][n] for turn in turns) for n in range(3))
        rates = [points / (turn[way][0] - turn[way][2]) for turn in turns]
        speedup = statistics.median(rate * (turn["1 thread"][0] - turn["1 thread"][2]) / points for rate, turn in zip(rates, turns))
        print(f"{way:10} {wall:8.2f} {start:8.2f} {cpu:8.2f} {statistics.median(rates):9.0f} {speedup:11.2f} {points / cpu:19.0f}")


if __name__ == "__main__":
    main()
