#!/usr/bin/env python3
"""Where striping wins and where it loses: all mappings over converters, inputs, bits and networks, as Markdown tables.

usage: bench/mappings.py [--model bert-large] [--quick] [-o FOLDER] [DANAUS]        (default build/danaus)

Decode of one token, on pcm-14nm with the keys of the table in place of its own: 1, 4, 8, 16, 32 or 256 converters per array; SAR (1 ns
per bit), ramp (0.3 ns per level) and integrating ones (a ramp without sample-and-hold); inputs of 10 ns or pulses of 128 ns; 8 bits for all
mappings or as many as the rows summed ask for; an ideal network or the mesh. 10 ns to settle. The points are a study of `danaus explore`, so
-o FOLDER keeps its databases, and a second run there resumes.

All figures are ratios to the dense operator in tiles (linear) under the same keys: time of the linear operators (x linear), of the whole
token, energy with read columns alone and with all columns drawing current, arrays. The last tables compare chips of equal
converters and of equal area instead of equal keys.
"""
import argparse
import csv
import io
import pathlib
import subprocess
import sys
import tempfile

MODELS = {"bert-large": (512, 32), "gpt2-medium": (1024, 32), "llama-7b": (2048, 64)}  # KV length, blocks
MAPS = ["linear", "linear-striped", "sparse", "dense", "striped"]
STUDY = """[study]
name = "{name}"
model = "{model}"
chip = "pcm-14nm"
kv = {kv}
{structure}
objective = ["min linear_latency_ns", "min arrays"]
"adc.step_ns" = 1
"adc.lsb_ns" = 0.3
"adc.bits" = 8
"input.time_ns" = 10
"input.clock_ns" = 1
"array.settle_ns" = 10

[sweep]
map = {maps}
"network.topology" = [{networks}]
"input.kind" = ["fixed", "pwm"]
"adc.rule" = ["rows", "fixed"]
"adc.kind" = ["sar", "ramp"]
"adc.sample_hold" = [true, false]
"array.idle_columns" = ["float", "draw"]
"adc.per_array" = {converters}
"""
CONVERTERS = {("sar", "true"): "SAR", ("ramp", "true"): "ramp", ("ramp", "false"): "integrating"}


def explore(program, folder, name, text):
    """The rows of a study, as dictionaries."""
    (folder / f"{name}.toml").write_text(text)
    command = [program, "explore", f"{name}.toml", "-o", f"{name}.db", "--resume"]
    if subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    exported = subprocess.run([program, "explore", "export", f"{name}.db"], cwd=folder, capture_output=True, text=True, check=True)
    return list(csv.DictReader(io.StringIO(exported.stdout)))


def ratio(number):
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--model", default="bert-large", choices=sorted(MODELS))
    parser.add_argument("--quick", action="store_true", help="8 converters alone: a quarter of a minute, all take many")
    parser.add_argument("-o", "--output", type=pathlib.Path)
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.program).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.output or pathlib.Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        tables(program, folder, arguments.model, [8] if arguments.quick else [1, 4, 8, 16, 32, 256])


def tables(program, folder, model, converters):
    kv, blocks = MODELS[model]
    fields = dict(model=model, kv=kv, converters=converters, networks='"ideal", "mesh"')
    rows = explore(program, folder, f"{model}-monarch", STUDY.format(name=f"{model}-monarch", structure=f"blocks = {blocks}", maps=str(MAPS).replace("'", '"'), **fields))
    gathered = explore(program, folder, f"{model}-gather", STUDY.format(name=f"{model}-gather", structure='structure = "gather"\ncompression = 8', maps='["striped"]', **fields))
    for row in gathered:
        row["map"] = "gathered"
    points = {}
    for row in rows + gathered:
        converter = CONVERTERS.get((row["adc.kind"], row["adc.sample_hold"]))
        if converter is None or row["error"]:
            continue
        key = (row["network.topology"], row["input.kind"], row["adc.rule"], converter, int(row["adc.per_array"]))
        points.setdefault(key, {}).setdefault(row["map"], {})[row["array.idle_columns"]] = row
    maps = MAPS + ["gathered"]
    print(f"{model}, decode, KV length {kv}, blocks {blocks}x{blocks} (gathered: 8 times fewer weights)")
    for network in ("ideal", "mesh"):
        for rule, bits in (("rows", "bits by the rows summed"), ("fixed", "8 bits for all")):
            print(f"\n## {network} network, {bits}\n")
            print("| converters | input | A | linear us | " + " | ".join(f"{m}: x linear, token, energy gated / not" for m in maps[1:]) + " |")
            print("|---|---|---|---|" + "---|" * (len(maps) - 1))
            for converter in CONVERTERS.values():
                for kind, text in (("fixed", "10 ns"), ("pwm", "128 ns")):
                    for count in converters:
                        of_map = points.get((network, kind, rule, converter, count), {})
                        if "linear" not in of_map:
                            continue
                        print(f"| {converter} | {text} | {count} | {line(of_map, maps)} |")
    arrays = {m: next(iter(rows_of[m].values()))["arrays"] for rows_of in points.values() for m in maps if m in rows_of}
    print("\n## Arrays (8 converters)\n\n" + ", ".join(f"{m} {arrays_at(points, m)}" for m in maps if m in arrays))
    if 1 not in converters:
        return
    for title, weight in (("Equal converters on the chip", lambda row: float(row["arrays"]) * float(row["adc.per_array"])), ("Equal area", lambda row: float(row["area_mm2"]))):
        equal(points, maps, title, weight)


def arrays_at(points, name):
    for key, of_map in points.items():
        if name in of_map and (key[4] == 8):
            return of_map[name]["float"]["arrays"]
    return "-"


def line(of_map, maps):
    linear = of_map["linear"]
    cells = [f"{float(linear['float']['linear_latency_ns']) / 1000:.3g}"]
    for name in maps[1:]:
        if name not in of_map:
            cells.append("-")
            continue
        gated, drawing = of_map[name]["float"], of_map[name].get("draw")
        speed = float(linear["float"]["linear_latency_ns"]) / float(gated["linear_latency_ns"])
        token = float(linear["float"]["latency_ns"]) / float(gated["latency_ns"])
        energy = [float(row["energy_nj"]) / float(base["energy_nj"]) for row, base in ((gated, linear["float"]), (drawing, linear.get("draw"))) if row and base]
        cells.append(f"{ratio(speed)}, {ratio(token)}, {' / '.join(map(ratio, energy))}")
    return " | ".join(cells)


def equal(points, maps, title, weight):
    """Every mapping with the number of converters per array that comes closest to, and does not exceed, the chip of linear with one each."""
    print(f"\n## {title}: as linear with one converter per array\n")
    print("| network | bits | converters | input | " + " | ".join(f"{m} (A): x linear" for m in maps[1:]) + " |")
    print("|---|---|---|---|" + "---|" * (len(maps) - 1))
    settings = sorted({key[:4] for key in points})
    for setting in settings:
        base = points.get((*setting, 1), {}).get("linear")
        if base is None:
            continue
        budget = weight(base["float"])
        cells = []
        for name in maps[1:]:
            best = None
            for key, of_map in points.items():
                if key[:4] != setting or name not in of_map or weight(of_map[name]["float"]) > budget * 1.001:
                    continue
                row = of_map[name]["float"]
                if best is None or float(row["linear_latency_ns"]) < float(best["linear_latency_ns"]):
                    best = row
            cells.append("-" if best is None else f"({best['adc.per_array']}) {ratio(float(base['float']['linear_latency_ns']) / float(best['linear_latency_ns']))}")
        network, kind, rule, converter = setting
        print(f"| {network} | {'rows' if rule == 'rows' else '8'} | {converter} | {'10 ns' if kind == 'fixed' else '128 ns'} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
