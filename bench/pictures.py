#!/usr/bin/env python3
"""A picture per mapping: which arrays and converters of the chip work when, over one token.

usage: bench/pictures.py [--model bert-large] [-o docs/figures] [DANAUS]        (default build/danaus)

Decode of one token on the default chip, so that pictures can be compared: FOLDER/token-MAPPING.svg each. A picture is one of `danaus trace`;
that of any program and span of time is two commands:
    danaus compile MODEL --map striped -o a.dnx
    danaus trace a.dnx -o a.svg --between 0 5000
"""
import argparse
import pathlib
import subprocess
import tempfile

BLOCKS = ["--blocks", "32"]
PICTURES = {  # by name: what to compile
    "linear": ["--map", "linear"],
    "linear-striped": ["--map", "linear-striped"],
    "sparse": ["--map", "sparse", *BLOCKS],
    "dense": ["--map", "dense", *BLOCKS],
    "striped": ["--map", "striped", *BLOCKS],
    "gathered": ["--map", "striped", "--structure", "gather", "--compression", "8"],
    "auto": ["--map", "auto", "--max-arrays", "1152", *BLOCKS],  # a quarter of the arrays of linear
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--model", default="bert-large")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("docs/figures"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, options in PICTURES.items():
            program = f"{folder}/{name}.dnx"
            picture = arguments.output / f"token-{name}.svg"
            subprocess.run([arguments.program, "compile", arguments.model, "--kv", "512", *options, "-o", program, "-q"], check=True)
            subprocess.run([arguments.program, "trace", program, "-o", str(picture), "-q"], check=True)
            print(f"{picture}: {picture.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
