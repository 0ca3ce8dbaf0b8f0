#!/usr/bin/env python3
"""The chip ibm-3dcim against the results of IBM's 3D-CiM-LLM-Inference-Simulator, and how long BERT-large takes with it.

    bench/ibm_3dcim.py build/danaus

Prints Markdown; docs/ibm-3dcim.md has such a print. The original's results are in tests/data/ibm_3dcim.json."""
import argparse
import json
import pathlib
import resource
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = [32, 512]


def run(program, model, arguments):
    done = subprocess.run([program, "run", str(model), "--chip", "ibm-3dcim", "--json", "--progress", "none", *arguments],
                          capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    return document["results"][0], document["provenance"]["wall_s"]


def shape_file(folder, shape):
    shape = {"name": "shape", "ffn": 4 * shape["hidden"], "heads": shape["hidden"] // 64, **shape}
    path = pathlib.Path(folder) / "shape.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in shape.items()))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    program = parser.parse_args().program
    print("| run | hidden | layers | time (ns), original | danaus | energy (nJ), original | danaus | peak (B), original | danaus |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for oracle in json.loads((ROOT / "tests/data/ibm_3dcim.json").read_text()):
            shape = oracle["shape"]
            result, _ = run(program, shape_file(folder, shape), oracle["arguments"])
            print(f"| {oracle['name']}, {shape['activation']} | {shape['hidden']} | {shape['layers']} "
                  f"| {oracle['latency_ns']} | {result['latency_ns']:.0f} | {oracle['energy_nj']:.12g} | {result['energy_nj']:.12g} "
                  f"| {oracle['peak_buffer_bytes']} | {result['peak_buffer_bytes']} |")
    print("\n| BERT-large, 24 layers | tile operations | wall (s) | peak memory (MiB) | time on the chip (ms) |")
    print("|---|---|---|---|---|")
    for tokens in TOKENS:
        result, wall_s = run(program, "bert-large", ["--mode", "encode", "--tokens", str(tokens)])
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest so far: this one
        print(f"| {tokens} tokens | {result['counts']['activations']} | {wall_s:.2f} | {memory:.0f} "
              f"| {result['latency_ns'] / 1e6:.3f} |")


if __name__ == "__main__":
    main()
