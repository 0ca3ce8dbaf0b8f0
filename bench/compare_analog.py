#!/usr/bin/env python3
"""Tokens a second of SmolLM2-135M on the analog machine against its float forward pass, in turns.

    bench/compare_analog.py build/danaus [--threads N] [--turns N]

Perplexity of data/text/evaluation.txt: 8 bit converters with the range that needs no data (ideal devices), the same with read noise,
and PCM devices. Reading, compiling and writing the cells is not counted. Needs the models (make models)."""
import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
BITS = ["--analog", "--set", "adc.rule=fixed", "--set", "adc.bits=8"]
CASES = [("float", []), ("quantised", BITS + ["--set", "noise.device=ideal"]),
         ("with read noise", BITS + ["--set", "noise.device=ideal", "--set", "noise.read_noise=output"]),
         ("PCM devices", BITS)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    rates = {name: [] for name, _ in CASES}
    for _ in range(arguments.turns):
        for name, options in CASES:
            done = subprocess.run([arguments.program, "eval", str(MODEL), "--text", str(ROOT / "data/text/evaluation.txt"),
                                   "--json", "--progress", "none", "--threads", arguments.threads, *options],
                                  capture_output=True, text=True, check=True)
            rates[name].append(json.loads(done.stdout)["provenance"]["tokens_per_s"])
    reference = statistics.median(rates["float"])
    print(f"SmolLM2-135M, {arguments.threads} threads, median of {arguments.turns} turns")
    for name, values in rates.items():
        print(f"{name:16} {statistics.median(values):7.1f} tokens/s  {statistics.median(values) / reference:.2f}x")


if __name__ == "__main__":
    main()
