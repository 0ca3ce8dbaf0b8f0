#!/usr/bin/env python3
"""What blocks keep of real models without training: MiniLM's sentence embeddings (mean cosine to the dense model's, and
how many sentences keep their nearest neighbour) and SmolLM2's perplexity, for projections that see the weights alone
and for those that see what the operators see on a calibration text.

    bench/d2s.py build/danaus [--only minilm|smollm2] [--moments FOLDER] [--quick]

Needs the models (make models). Calibrates on data/text/calibration-long*, evaluates on data/text/evaluation*. Prints Markdown
tables; docs/d2s.md is made of them. --moments keeps the calibrations in a folder, or takes them from there. --quick: MiniLM at 2x
alone."""
import argparse
import collections
import json
import math
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MINILM = ROOT / "models" / "all-MiniLM-L6-v2"
SMOLLM2 = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT = ROOT / "data" / "text"

# MiniLM's attention has 384 x 384, so 32x32:4 keeps two thirds there and 5/12 of the feed-forward part: half of all.
STRUCTURES = [("Monarch, 32 blocks", lambda c: ["--blocks", f"32:{8 // c}"]),
              ("low rank", lambda c: ["--structure", "lowrank", "--compression", str(c)]),
              ("gathered, groups of 32", lambda c: ["--structure", "gather", "--group", "32", "--compression", str(c)]),
              ("gathered, groups of 8", lambda c: ["--structure", "gather", "--group", "8", "--compression", str(c)])]
CANDIDATES = ",".join([f"gather:{c}:8" for c in (1.5, 2, 3, 4, 6, 8, 12, 16)] + [f"lowrank:{c}" for c in (1.5, 2, 3, 4, 8, 12, 16)] +
                      ["monarch:2", "monarch:4"])


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments), "-q", "--progress", "none"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, done.args))}\n{done.stderr}")
    return done.stdout


def moments_of(program, model, text, folder):
    path = pathlib.Path(folder) / f"{model.name}.moments.safetensors"
    if not path.exists():
        run(program, "calibrate", model, "--text", text, "-o", path)
    return path


def evaluate(program, model, text, options, moments, folder):
    """The result of danaus eval, and the error of the operators' outputs on the calibration text."""
    if options is None:
        return json.loads(run(program, "eval", model, "--text", text, "--json")), None
    factors = pathlib.Path(folder) / "factors.safetensors"
    calibrated = ["--calibrate", moments] if moments else []
    projected = json.loads(run(program, "project", model, *options, *calibrated, "-o", factors, "--json"))
    errors = [layer["output_error"]["fitted"] for layer in projected["layers"] if "output_error" in layer]
    result = json.loads(run(program, "eval", model, "--text", text, "--factors", factors, "--json"))
    return result, sum(errors) / len(errors) if errors else None


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def neighbours(embeddings):
    nearest = lambda n: max((m for m in range(len(embeddings)) if m != n), key=lambda m: cosine(embeddings[n], embeddings[m]))
    return [nearest(n) for n in range(len(embeddings))]


def number(value):
    return f"{value:.1f}" if value < 1e4 else f"{value:.1e}"


def row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def minilm(program, ratios, folder, keep):
    text = TEXT / "evaluation-sentences.txt"
    moments = moments_of(program, MINILM, TEXT / "calibration-long-sentences.txt", keep)
    dense = evaluate(program, MINILM, text, None, None, folder)[0]["embeddings"]
    own = neighbours(dense)
    print("\n## all-MiniLM-L6-v2, all operators: mean cosine to the dense model (same nearest neighbour), output error\n")
    row(["parameters", "", "weights alone", "calibrated", "output error"])
    row(["---"] * 5)
    for ratio in ratios:
        for name, options in STRUCTURES:
            cells = []
            for use in (None, moments):
                result, error = evaluate(program, MINILM, text, options(ratio), use, folder)
                found = result["embeddings"]
                agreement = sum(a == b for a, b in zip(neighbours(found), own)) / len(own)
                cells.append(f"{sum(map(cosine, found, dense)) / len(dense):.3f} ({agreement:.2f})")
            share = result["linear"]["parameters"] / result["linear"]["dense_parameters"]
            row([f"1/{1 / share:.2f}", name, *cells, f"{error:.3f}"])


def minilm_costs(program, keep):
    """The file of what each structure of each operator costs MiniLM, measured once."""
    moments = moments_of(program, MINILM, TEXT / "calibration-long-sentences.txt", keep)
    costs = pathlib.Path(keep) / "minilm-costs.toml"
    if not costs.exists():
        run(program, "sensitivity", MINILM, "--text", TEXT / "calibration-sentences.txt", "--calibrate", moments, "--candidates",
            CANDIDATES, "-o", costs)
    return costs


def choose_by_costs(program, costs, ratio, policy):
    """Writes the policy of MiniLM with the least sum of costs that map auto finds on the default chip with 1/ratio of the
    parameters; gives its result and the ratio it has."""
    dense_parameters = sum(layer["parameters"] for layer in json.loads(
        run(program, "project", MINILM, "--structure", "dense", "--json"))["layers"])

    def choose(budget):
        result, = json.loads(run(program, "run", MINILM, "--map", "auto", "--objective", "arrays", "--sensitivity", costs, "--max-error",
                                 budget, "--save-policy", policy, "--no-error", "--reference", "none", "--json"))["results"]
        return result

    low, high = 1e-4, 4.0  # of the budget: too little, enough
    for _ in range(12):
        middle = math.sqrt(low * high)
        if choose(middle)["parameters"] * ratio > dense_parameters:
            low = middle
        else:
            high = middle
    chosen = choose(high)
    return chosen, dense_parameters / chosen["parameters"]


def minilm_by_costs(program, ratios, folder, keep):
    """Structures per operator, by their measured costs: the least that map auto finds on the default chip within a ratio."""
    text = TEXT / "evaluation-sentences.txt"
    costs, policy = minilm_costs(program, keep), pathlib.Path(folder) / "policy.toml"
    moments = moments_of(program, MINILM, TEXT / "calibration-long-sentences.txt", keep)
    dense = evaluate(program, MINILM, text, None, None, folder)[0]["embeddings"]
    own = neighbours(dense)
    print("\n## all-MiniLM-L6-v2, a structure for each operator by its measured costs, calibrated\n")
    row(["parameters", "arrays", "sum of costs", "cosine (same nearest neighbour)", "structures"])
    row(["---"] * 5)
    for ratio in ratios:
        chosen, reached = choose_by_costs(program, costs, ratio, policy)
        result, _ = evaluate(program, MINILM, text, ["--policy", policy], moments, folder)
        found = result["embeddings"]
        agreement = sum(a == b for a, b in zip(neighbours(found), own)) / len(own)
        counts = collections.Counter(choice["candidate"] for choice in chosen["automatic"]["choices"])
        row([f"1/{reached:.2f}", str(chosen["arrays"]),
             f"{chosen['automatic']['limits'][0]['used']:.3f}", f"{sum(map(cosine, found, dense)) / len(dense):.3f} ({agreement:.2f})",
             ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))])


def smollm2(program, folder, keep):
    text = TEXT / "evaluation.txt"
    moments = moments_of(program, SMOLLM2, TEXT / "calibration-long.txt", keep)
    dense = evaluate(program, SMOLLM2, text, None, None, folder)[0]["perplexity"]
    print(f"\n## SmolLM2-135M-Instruct, calibrated: perplexity, dense {dense:.2f}\n")
    parts = [("attention, 2x", ["--only", "*attn*"], 2), ("feed-forward of layers 12 to 27, 2x",
             ["--only", *(f"blk.{n}.ffn*" for n in range(12, 28))], 2), ("everything, 2x", [], 2)]
    row(["", *(part[0] for part in parts)])
    row(["---"] * (len(parts) + 1))
    for name, options in STRUCTURES:
        if name.startswith("Monarch"):
            options = lambda c: ["--compression", str(c)]
        cells = [number(evaluate(program, SMOLLM2, text, options(c) + only, moments, folder)[0]["perplexity"])
                 for _, only, c in parts]
        row(["Monarch, by compression" if name.startswith("Monarch") else name, *cells])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--only", choices=["minilm", "smollm2"])
    parser.add_argument("--moments")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    for model in (MINILM, SMOLLM2):
        if not model.exists():
            sys.exit(f"{model.relative_to(ROOT)} is not there: make models")
    with tempfile.TemporaryDirectory() as folder:
        keep = arguments.moments or folder
        if arguments.only != "smollm2":
            minilm(arguments.program, [2] if arguments.quick else [2, 4, 8], folder, keep)
            minilm_by_costs(arguments.program, [2] if arguments.quick else [1.5, 2, 4, 8], folder, keep)
        if arguments.only != "minilm" and not arguments.quick:
            smollm2(arguments.program, folder, keep)


if __name__ == "__main__":
    main()
