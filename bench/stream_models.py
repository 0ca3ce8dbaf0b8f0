#!/usr/bin/env python3
"""Peak memory and time of `danaus run` and `danaus project -o` on GGUF files larger than many memories.

usage: bench/stream_models.py [--type F16]... [--shape shapes/llama-7b.toml] [--random GLOB] [--folder DIR] [DANAUS]   (default build/danaus)

The files are made by make_sparse_gguf.py in a temporary folder (inside DIR) and removed afterwards; those of llama-7b are 13.5 GB (F16) and
4.1 GB (Q4_K_M) long, but occupy only what --random fills. The factors that `project` writes are real: 3.3 GB. Peak memory is the largest
resident set, mapped pages of the model included. A model of zeros takes as long as any other: nothing looks for zeros.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

import make_sparse_gguf

ROOT = pathlib.Path(__file__).resolve().parents[1]


def measure(arguments):
    """Wall seconds, CPU seconds and peak memory in MB of one process."""
    started = time.monotonic()
    process = subprocess.Popen([*map(str, arguments), "-q"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"stream_models: {' '.join(map(str, arguments))} failed (status {status})")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--shape", type=pathlib.Path, default=ROOT / "shapes/llama-7b.toml")
    parser.add_argument("--type", action="append", choices=[*make_sparse_gguf.TYPES, "Q4_K_M"], help="default: F16 and Q4_K_M")
    parser.add_argument("--random", action="append", default=[], metavar="GLOB")
    parser.add_argument("--folder", help="where the files go (default: the system's folder for temporary files)")
    arguments = parser.parse_args()
    shape = tomllib.loads(arguments.shape.read_text())
    print(f"{'file':24} {'GB':>6} {'command':10} {'wall s':>8} {'cpu s':>8} {'peak MB':>8}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for kind in arguments.type or ["F16", "Q4_K_M"]:
            model = pathlib.Path(folder) / f"{arguments.shape.stem}.{kind}.gguf"
            make_sparse_gguf.write(model, shape, kind, arguments.random)
            factors = pathlib.Path(folder) / "factors.safetensors"
            for command in (["run", model], ["project", model, "-o", factors]):
                wall, cpu, peak = measure([arguments.program, *command])
                print(f"{model.name:24} {model.stat().st_size / 1e9:6.1f} {command[0]:10} {wall:8.1f} {cpu:8.1f} {peak:8.0f}", flush=True)
            factors.unlink()
            model.unlink()


if __name__ == "__main__":
    main()
