#!/usr/bin/env python3
"""What is left of tiny-kjv on held-out text: dense, projected onto Monarch blocks (calibrated), trained, trained with the noise of
arrays; in float and on the analog machine with converters of 8, 6, 5 and 4 bits, with ideal devices and with PCM.

    bench/tiny_kjv.py build/danaus FOLDER        (FOLDER: what scripts/train-tiny-kjv wrote)

Prints a Markdown table; docs/tuning.md has such a print. Takes a few minutes."""
import argparse
import json
import math
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "data" / "tiny-kjv"
BITS = [8, 6, 5, 4]
ROWS = [("dense", []), ("trained with noise", ["dense-noise"])]
for RATIO in (2, 4, 8):
    ROWS += [(f"Monarch {RATIO}x, projected", [f"monarch-{RATIO}x-projected"]), ("trained", [f"monarch-{RATIO}x"]),
             ("trained for longer", [f"monarch-{RATIO}x-longer"]), ("trained with noise", [f"monarch-{RATIO}x-noise"])]


def fixed(bits, *more):
    words = ["--analog", "--calibrate", DATA / "calibration.txt"]
    for setting in ("adc.rule=fixed", f"adc.bits={bits}", "adc.allow_extrapolation=true", *more):
        words += ["--set", setting]
    return words


def evaluate(program, model, options):
    command = [program, "eval", model, "--text", DATA / "held-out.txt", "--json", "--progress", "none", *options]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


def number(value):
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}" if value < 100000 else f"{value:.0e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    model = arguments.folder / "tiny-kjv.gguf"
    columns = [("float", [])] + [(f"{bits} bit", fixed(bits, "noise.device=ideal")) for bits in BITS]
    columns += [("8 bit, PCM at 1 day", fixed(8, "noise.time_s=86400")), ("6 bit, PCM at 1 day", fixed(6, "noise.time_s=86400"))]
    print("| perplexity of a token | parameters | bits per byte | " + " | ".join(name for name, _ in columns) + " |")
    print("|---" * (len(columns) + 3) + "|")
    size = (DATA / "held-out.txt").stat().st_size
    for label, files in ROWS:
        factors = [word for name in files for word in ("--factors", arguments.folder / f"{name}.safetensors")]
        if any(isinstance(word, pathlib.Path) and not word.exists() for word in factors):
            continue
        results = [evaluate(arguments.program, model, factors + options) for _, options in columns]
        linear = results[0]["linear"]
        bits = math.log(results[0]["perplexity"]) * results[0]["scored"] / math.log(2) / size
        print(f"| {label} | {linear['parameters'] / 1000:.0f} k | {bits:.3f} | " +
              " | ".join(number(result["perplexity"]) for result in results) + " |", flush=True)


if __name__ == "__main__":
    main()
