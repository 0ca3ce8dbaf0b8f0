#!/usr/bin/env python3
"""What is left of MiniLM at a part of its parameters, before and after training end to end.

    bench/tuning_frontier.py DANAUS FOLDER [--ratios 2,4,8] [--structures costs,gather,monarch,lowrank] [--tokens N] [--seeds 1,2,3]

FOLDER holds the text of scripts/make-tuning-text; what is made is kept in it, and a run that was ended goes on there. Every
combination starts from projections calibrated on each hundredth line of train.txt (but long ones) ("costs": a structure for each operator by
its measured cost, as in bench/d2s.py) and trains on N tokens. Prints, over 200 held-out lines of 200 to 600 characters, the mean cosine to
the dense model's embeddings and for how many the nearest other line stays the same, as a Markdown table.
"""

import argparse
import itertools
import pathlib
import subprocess
import sys

from d2s import MINILM, choose_by_costs, minilm_costs, row, run
from tuning_quality import dot, embeddings, nearest

STRUCTURES = {"gather": lambda ratio: ["--structure", "gather", "--group", 8, "--compression", ratio],
              "lowrank": lambda ratio: ["--structure", "lowrank", "--compression", ratio],
              "monarch": lambda ratio: ["--blocks", f"32:{round(8 / ratio)}"]}


def calibration(folder, source):
    path = folder / "calibration.txt"
    if not path.exists():
        path.write_text("".join(line for line in itertools.islice(source.open(), 99, None, 100) if len(line) < 1000))
    return path


def held_out(folder, source):
    path = folder / "check.txt"
    if not path.exists():
        path.write_text("".join(itertools.islice((line for line in source.open() if 200 <= len(line) <= 600), 200)))
    return path


def project(program, folder, structure, ratio):
    path = folder / f"{structure}-{ratio:g}.safetensors"
    if path.exists():
        return path
    if structure == "costs":
        policy = folder / f"costs-{ratio:g}.toml"
        choose_by_costs(program, minilm_costs(program, folder), ratio, policy)
        options = ["--policy", policy]
    else:
        options = STRUCTURES[structure](ratio)
    run(program, "project", MINILM, *options, "--calibrate", folder / "calibration.txt", "-o", path)
    return path


def train(program, folder, text, start, tokens, seed):
    path = start.with_name(f"{start.stem}-{tokens}-{seed}.safetensors")
    if path.exists():
        return path
    command = [program, "tune", MINILM, "--text", text, "--factors", start, "--tokens", tokens, "--seed", seed, "--checkpoint",
               path.with_suffix(".checkpoint"), "--resume", "--log", path.with_suffix(".jsonl"), "-o", path]
    if subprocess.run(list(map(str, command))).returncode != 0:
        sys.exit(1)
    path.with_suffix(".checkpoint").unlink(missing_ok=True)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("danaus")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--ratios", default="2,4,8")
    parser.add_argument("--structures", default="costs")
    parser.add_argument("--tokens", type=int, default=3_000_000)
    parser.add_argument("--seeds", default="1")
    arguments = parser.parse_args()
    program, text = arguments.danaus, arguments.folder / "train.txt"
    folder = arguments.folder / "frontier"
    folder.mkdir(exist_ok=True)
    calibration(folder, text)
    check = held_out(folder, arguments.folder / "held-out.txt")
    base = [program, "eval", str(MINILM), "--text", str(check), "--json", "-q"]
    dense = embeddings(base)
    expected = nearest(dense)

    def quality(factors):
        found = embeddings([*base, "--factors", str(factors)])
        same = sum(a == b for a, b in zip(expected, nearest(found))) / len(dense)
        return f"{sum(map(dot, dense, found)) / len(dense):.3f} ({same:.2f})"

    row(["parameters", "structure", "seed", "start", f"{arguments.tokens / 1e6:g} M tokens"])
    row(["---"] * 5)
    for ratio in map(float, arguments.ratios.split(",")):
        for structure in arguments.structures.split(","):
            start = project(program, folder, structure, ratio)
            before = quality(start)
            for seed in map(int, arguments.seeds.split(",")):
                trained = train(program, folder, text, start, arguments.tokens, seed)
                row([f"1/{ratio:g}", structure, str(seed), before, quality(trained)])


if __name__ == "__main__":
    main()
