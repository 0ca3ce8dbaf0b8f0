#!/usr/bin/env python3
"""What real models lose on the chip: perplexity of SmolLM2-135M, and cosine of MiniLM's sentence embeddings to those of the
float model, for dense operators and for blocks, bit by bit, by converter range, and with PCM devices as time goes by.

    bench/accuracy.py build/danaus [--only smollm2|minilm] [--json FILE]

Needs the models (make models). Text for calibration and evaluation: data/text. Prints Markdown tables; docs/accuracy.md is
such a print. Takes about twenty minutes on two cores."""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMOLLM2 = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = ROOT / "models" / "all-MiniLM-L6-v2"
TEXT = ROOT / "data" / "text"

STRUCTURES = [("dense, `linear`", []), ("Monarch 2x, `sparse`", ["--structure", "monarch", "--compression", "2"]),
              ("the paper's blocks, `sparse`", ["--pad", "square"])]
IDEAL = ["--set", "noise.device=ideal"]
BITS = [8, 6, 5, 4]
TIMES = [("20 s", 0), ("1 h", 3600), ("1 day", 86400)]


def fixed(bits):
    return ["--set", "adc.rule=fixed", "--set", f"adc.bits={bits}", "--set", "adc.allow_extrapolation=true"]


def settings(calibration, blocks, details):
    """(label, options) of every row beside the float one. details: also what only a model that works can show."""
    calibrated = ["--calibrate", str(calibration)]
    yield "lossless converters (8 bit weights and inputs)", IDEAL + ["--set", "adc.rule=lossless"]
    for bits in BITS:
        yield f"{bits} bit, l1", IDEAL + fixed(bits)
    for bits in BITS:
        yield f"{bits} bit, cal-shared", IDEAL + fixed(bits) + calibrated
    for label, seconds in TIMES:
        yield f"8 bit, cal-shared, PCM at {label}", fixed(8) + calibrated + ["--set", f"noise.time_s={seconds}"]
    if not details:
        return
    yield "6 bit, cal-shared, PCM at 1 day", fixed(6) + calibrated + ["--set", "noise.time_s=86400"]
    yield "5 bit, cal-column", IDEAL + fixed(5) + calibrated + ["--set", "noise.adc_range=cal-column"]
    if blocks:
        yield "5 bit, cal-shared, channels as projected", IDEAL + fixed(5) + calibrated + ["--channel-scale", "balanced"]
        yield "R 4 bit, L 6 bit, cal-shared", IDEAL + fixed(4) + calibrated + ["--set", "adc.second_bits=6"]
        yield "R 6 bit, L 4 bit, cal-shared", IDEAL + fixed(6) + calibrated + ["--set", "adc.second_bits=4"]


def evaluate(program, model, text, options):
    command = [program, "eval", str(model), "--text", str(text), "--json", "--progress", "none", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def number(value, digits):
    return f"{value:.{digits}f}" if value < 10000 else f"{value:.1e}"


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def mean_cosine(result, reference):
    pairs = list(zip(result["embeddings"], reference["embeddings"]))
    return sum(cosine(a, b) for a, b in pairs) / len(pairs)


def zero_codes(result):
    analog = result["linear"]["analog"]
    if not analog:
        return "", ""
    conversions = sum(stage["conversions"] for stage in analog["stages"])
    share = lambda key: 100 * sum(stage["conversions"] * stage[key] for stage in analog["stages"]) / conversions
    return f"{share('clipped'):.3f} %", f"{share('zero_codes'):.1f} %"


def table(program, title, model, text, calibration, head, figures, log, folder):
    print(f"\n## {title}\n", flush=True)
    dense = None
    for structure, options in STRUCTURES:
        started = time.time()
        if options:
            factors = pathlib.Path(folder) / "factors.safetensors"
            subprocess.run([program, "project", str(model), "-o", str(factors), "-q", "--progress", "none", *options],
                           check=True, stdout=subprocess.DEVNULL)
            options = ["--factors", str(factors)]
        reference = evaluate(program, model, text, options)
        dense = dense or reference
        linear = reference["linear"]
        note = "" if linear["relative_error"] is None else (
            f": {linear['parameters'] / linear['dense_parameters']:.3f} of the parameters, relative error of the weights "
            f"{linear['relative_error']:.3f}")
        print(f"\n**{structure}**{note}\n\n| converters and devices | {head} | clipped | zero codes |\n|---|---|---|---|---|")
        rows = [("float", reference)]
        print(f"| float | {figures(reference, dense, reference)} | | |", flush=True)
        for label, more in settings(calibration, bool(options), not options or model == MINILM):
            result = evaluate(program, model, text, options + ["--analog"] + more)
            clipped, zero = zero_codes(result)
            print(f"| {label} | {figures(result, dense, reference)} | {clipped} | {zero} |", flush=True)
            rows.append((label, result))
        for label, result in rows:
            log.append({"model": model.name, "structure": structure, "row": label, "nll": result.get("nll"),
                        "tokens_per_s": result["provenance"].get("tokens_per_s"), "linear": result["linear"]})
        print(f"{structure}: {time.time() - started:.0f} s", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--only", choices=["smollm2", "minilm"])
    parser.add_argument("--json", help="all results, with the converters of every stage")
    arguments = parser.parse_args()
    for model in (SMOLLM2, MINILM):
        if not model.exists():
            sys.exit(f"{model.relative_to(ROOT)} is not there: make models")
    log = []
    with tempfile.TemporaryDirectory() as folder:
        tables(arguments, log, folder)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(log, indent=1) + "\n")


def tables(arguments, log, folder):
    if arguments.only != "minilm":
        table(arguments.program, "SmolLM2-135M-Instruct: perplexity", SMOLLM2, TEXT / "evaluation.txt",
              TEXT / "calibration.txt", "perplexity | against its own float operators",
              lambda result, dense, own: (f"{number(result['perplexity'], 2)} | "
                                            f"{number(result['perplexity'] / own['perplexity'], 3)} x"),
              log, folder)
    if arguments.only != "smollm2":
        table(arguments.program, "all-MiniLM-L6-v2: mean cosine of sentence embeddings", MINILM,
              TEXT / "evaluation-sentences.txt", TEXT / "calibration-sentences.txt",
              "to the float model | to its own float operators",
              lambda result, dense, own: f"{mean_cosine(result, dense):.4f} | {mean_cosine(result, own):.4f}", log, folder)


if __name__ == "__main__":
    main()
