#!/usr/bin/env python3
"""What converters gain from sharing and from a resolution of their own for every stage, as Markdown tables.

usage: bench/adc_sharing.py [--quick] [-o FOLDER] [DANAUS]        (default build/danaus)

bert-large on pcm-14nm, decode of a token (512 keys and values) and prefill (encoding) of 4: SAR converters of 1 ns per bit and ramps of 0.3 ns per level, inputs
of 10 ns, 10 ns to settle, an ideal network, bits by the rows summed, blocks of 32 x 32 (gathered ones at the same compression). The points are
studies of `danaus explore`; -o FOLDER keeps their databases, and a second run there resumes. --quick takes 8 converters per array alone.

Columns: one resolution for all converters (static, wired) as it is; then a resolution per stage (dynamic), a switch in the array, and a switch
over groups of 4 and of 16 arrays, each as the factor by which the linear operators are faster than static; in brackets energy over that of static.
A switch costs nothing here: it is what sharing can gain at most. The last table takes the same total area of converters for all: as many
per array as fit into that of the dense operator with 8 of 8 bits.
"""
import argparse
import csv
import io
import json
import pathlib
import subprocess
import sys
import tempfile

MAPS = {"linear": "linear", "sparse": "blocks", "dense": "blocks", "striped": "blocks",
        "gathered": "gather"}
STRUCTURES = {"linear": "", "blocks": "blocks = 32", "gather": 'structure = "gather"\ncompression = 16\ngroup = 32'}
STUDY = """[study]
name = "{name}"
model = "bert-large"
chip = "pcm-14nm"
{mode}
{structure}
objective = ["min linear_latency_ns", "min energy_nj"]
"adc.step_ns" = 1
"adc.lsb_ns" = 0.3
"adc.rule" = "rows"
"input.kind" = "fixed"
"input.time_ns" = 10
"array.settle_ns" = 10
"network.topology" = "ideal"

[sweep]
map = {maps}
"adc.kind" = ["sar", "ramp"]
"adc.double_buffer" = [false, true]
{setting}
"adc.per_array" = {converters}
"""
MODES = {"decode": "kv = 512", "prefill": 'mode = "encode"\ntokens = 4'}
STUDIES = {"static": '"adc.precision" = ["static"]', "wires": '"adc.sharing" = ["column", "array"]',
           "groups": '"adc.sharing" = ["group"]\n"adc.group_arrays" = [4, 16]'}
STATIC = ("static", "column", 1)
SETTINGS = [("dynamic", "column", 1), ("dynamic", "array", 1), ("dynamic", "group", 4), ("dynamic", "group", 16)]
HEADS = ["+ dynamic precision", "+ switch in the array", "+ groups of 4", "+ groups of 16"]


def explore(program, folder, name, text):
    """The rows of a study, as dictionaries."""
    (folder / f"{name}.toml").write_text(text)
    command = [program, "explore", f"{name}.toml", "-o", f"{name}.db", "--resume"]
    if subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    exported = subprocess.run([program, "explore", "export", f"{name}.db"], cwd=folder, capture_output=True, text=True, check=True)
    return list(csv.DictReader(io.StringIO(exported.stdout)))


def points(program, folder, mode, converters):
    """Figures by (map, kind, double buffer, precision, sharing, arrays of a group, converters)."""
    found = {}
    for kind, structure in STRUCTURES.items():
        maps = [name for name, of in MAPS.items() if of == kind]
        for name, setting in STUDIES.items():
            study = f"{mode}-{kind}-{name}"
            rows = explore(program, folder, study, STUDY.format(
                name=study, mode=MODES[mode], structure=structure, converters=converters, setting=setting,
                maps=str(["striped"] if kind == "gather" else maps).replace("'", '"')))
            for row in rows:
                of_map = "gathered" if kind == "gather" else row["map"]
                found[(of_map, row["adc.kind"], row["adc.double_buffer"], row.get("adc.precision", "dynamic"),
                       row.get("adc.sharing", "column"), int(row.get("adc.group_arrays", 1)), int(row["adc.per_array"]))] = row
    return found


def converter_mm2(program, name, kind):
    """One converter: of the most bits of any stage."""
    structure = {"linear": [], "blocks": ["--blocks", "32"],
                 "gather": ["--structure", "gather", "--compression", "16", "--group", "32"]}[MAPS[name]]
    settings = {"adc.kind": kind, "adc.step_ns": 1, "adc.lsb_ns": 0.3, "adc.sample_hold_area_um2": 0, "adc.per_array": 8}
    command = [program, "run", "bert-large", "--map", "striped" if name == "gathered" else name, "--json", "--kv", "512",
               *structure, *(f"--set={key}={value}" for key, value in settings.items())]
    row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["results"][0]
    return row["breakdown_mm2"]["adcs"] / (row["arrays"] * 8)


def us(row, column="linear_latency_ns"):
    return float(row[column]) / 1000


def compared(base, row):
    return f"{us(base) / us(row):.2f} ({float(row['energy_nj']) / float(base['energy_nj']):.2f})"


def tables(program, folder, converters):
    """`converters` of each mode."""
    everything = {mode: points(program, folder, mode, converters[mode]) for mode in MODES}
    for mode, found in everything.items():
        for buffered in ["false", "true"]:
            print(f"\n## {mode}, {'with' if buffered == 'true' else 'without'} a double buffer\n")
            print("| converters | A | mapping | static, wired: us | " + " | ".join(HEADS) + " |")
            print("|---|---|---|---|" + "---|" * len(SETTINGS))
            for kind in ["sar", "ramp"]:
                for count in converters[mode]:
                    for name in MAPS:
                        base = found[(name, kind, buffered, *STATIC, count)]
                        cells = [compared(base, found[(name, kind, buffered, *setting, count)]) for setting in SETTINGS]
                        print(f"| {kind} | {count} | {name} | {us(base):.3g} | " + " | ".join(cells) + " |")
    if len(converters["decode"]) == 1:
        return
    found = everything["decode"]
    print("\n## decode, the same area of converters for all, with a double buffer\n")
    print("| converters | mapping | static, wired: us (A) | " + " | ".join(f"{head}: us (A)" for head in HEADS) + " |")
    print("|---|---|---|" + "---|" * len(SETTINGS))
    for kind in ["sar", "ramp"]:
        area = int(found[("linear", kind, "true", *STATIC, 8)]["arrays"]) * 8 * converter_mm2(program, "linear", kind)
        for name in MAPS:
            cells = []
            each = converter_mm2(program, name, kind)
            for setting in [STATIC] + SETTINGS:
                fits = [count for count in converters["decode"]
                        if int(found[(name, kind, "true", *setting, count)]["arrays"]) * count * each <= area * (1 + 1e-9)]
                best = min(fits, key=lambda count: us(found[(name, kind, "true", *setting, count)])) if fits else None
                cells.append("-" if best is None else f"{us(found[(name, kind, 'true', *setting, best)]):.3g} ({best})")
            print(f"| {kind} | {name} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--quick", action="store_true", help="8 converters alone")
    parser.add_argument("-o", "--output", type=pathlib.Path)
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.program).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.output or pathlib.Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        tables(program, folder, {"decode": [8] if arguments.quick else [1, 2, 4, 8, 16, 32],
                                 "prefill": [8] if arguments.quick else [8, 32]})


if __name__ == "__main__":
    main()
