#!/usr/bin/env python3
"""Where striping wins and where it loses: all mappings over converters, inputs, bits and networks, as Markdown tables.

usage: bench/mappings.py [--quick] [--model NAME ...] [--converters N ...] [-o FOLDER] [DANAUS]

Decode of one token, on pcm-14nm with the keys of the table in place of its own: 1, 4, 8, 16, 32 or 256 converters per array; SAR (1 ns
per bit), ramp (0.3 ns per level) and integrating ones (a ramp without sample-and-hold); inputs of 10 ns or pulses of 128 ns; 10 ns to settle;
8 bits for all mappings or as many as the rows summed ask for; an ideal network, or a mesh of tiles of 16 arrays with 256-bit links at 1 ns, 2 ns a
hop, 32 bits of header, wormhole. Then the same at equal converters and equal area, encoding of 512 tokens, and the floors that striped has to keep.

The points are studies of `danaus explore`, one per model and mapping: -o FOLDER keeps their databases, a second run there computes what is missing
(of the same program), and writes the tables (MODEL.md), all points (points.csv) and floors (floors.json) there, too. Progress goes to stderr.
"""
import argparse
import csv
import dataclasses
import io
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

CONVERTERS = [1, 4, 8, 16, 32, 256]


@dataclasses.dataclass
class Model:
    kv: int
    blocks: int  # width of the paper's blocks
    size: float  # work per point, bert-large = 1
    arrays: int  # of linear
    encode: int = 0  # tokens
    equal: tuple = ("SAR", "ramp", "integrating")  # converters of the tables of equal converters and equal area
    large: bool = False  # auto takes 20 s a point: only with bits by the rows summed, and not for equal converters or area


MODELS = {
    "bert-large": Model(kv=512, blocks=32, size=1, arrays=4608, encode=512),
    "gpt2-medium": Model(kv=1024, blocks=32, size=1, arrays=4608),
    "llama-7b": Model(kv=2048, blocks=64, size=12, arrays=98816, equal=("SAR",), large=True),
}


@dataclasses.dataclass
class Mapping:
    name: str
    options: str  # of a study; {blocks} is the model's, {quarter} a quarter of its arrays with linear
    work: float  # per point, a guess for the time that is left
    encode: bool = True  # simulate the encoder, too
    rules: tuple = ("rows", "fixed")  # 256 rows ask for 8 bits: the same points for dense operators


MAPPINGS = [
    # name, options, work: to add a mapping, add a line.
    Mapping("linear", 'map = "linear"', 0.1, rules=("fixed",)),
    Mapping("linear-striped", 'map = "linear-striped"', 3, encode=False, rules=("fixed",)),
    Mapping("sparse", 'map = "sparse"\nblocks = {blocks}', 0.1),
    Mapping("dense", 'map = "dense"\nblocks = {blocks}', 0.1),
    Mapping("striped", 'map = "striped"\nblocks = {blocks}', 1),
    Mapping("gathered-striped", 'map = "striped"\nstructure = "gather"\ncompression = 8', 1),
    Mapping("gathered-whole", 'map = "striped"\nstructure = "gather"\ngroup = 256\ncompression = 8\nsliver = "whole"', 0.3),
    # The fastest on a quarter of the arrays of `linear`.
    Mapping("auto", 'map = "auto"\nblocks = {blocks}\ncandidates = "dense,given,gather:8:32"\nmax_arrays = {quarter}', 3, encode=False),
]

DENSE = [mapping.name for mapping in MAPPINGS if len(mapping.rules) == 1]
CHIPS = {  # name in the tables: keys in place of pcm-14nm's
    "SAR": 'kind = "sar"\nstep_ns = 1\nsample_hold = true',
    "ramp": 'kind = "ramp"\nlsb_ns = 0.3\nsample_hold = true',
    "integrating": 'kind = "ramp"\nlsb_ns = 0.3\nsample_hold = false',
}
CHIP = """base = "pcm-14nm"
name = "{name}"
[array]
rows = 256
cols = 256
settle_ns = 10
idle_columns = "float"
[input]
time_ns = 10
clock_ns = 1
[adc]
bits = 8
{keys}
[network]
arrays_per_tile = 16
switching = "wormhole"
hop_ns = 2
link_bits = 256
clock_ns = 1
header_bits = 32
"""
STUDY = """[study]
name = "{name}"
model = "{model}"
{options}
{mode}
bounds = true
objective = ["min linear_latency_ns", "min arrays"]
[sweep]
"network.topology" = {networks}
"adc.rule" = {rules}
"adc.per_array" = {converters}
chip = {chips}
"input.kind" = {inputs}
"""
NETWORKS, RULES, INPUTS = ["ideal", "mesh"], ["rows", "fixed"], ["fixed", "pwm"]
INPUT_TEXT, RULE_TEXT = {"fixed": "10 ns", "pwm": "128 ns"}, {"rows": "bits by the rows summed", "fixed": "8 bits for all"}


def rules_of(mapping, model):
    if mapping.name == "auto" and MODELS[model].large:
        return [rule for rule in RULES if rule == "rows"]
    return [rule for rule in RULES if rule in mapping.rules] or list(mapping.rules)


class Bench:
    """Runs studies one after the other and says how far it is."""

    def __init__(self, program, folder, plan):
        self.program, self.folder = program, folder
        self.left, self.done, self.started = sum(plan.values()), 0.0, time.monotonic()
        self.plan = plan
        self.seconds = {}
        for name, keys in CHIPS.items():
            (folder / f"{name}.toml").write_text(CHIP.format(name=name, keys=keys))

    def study(self, model, mapping, kind, **fields):
        """The rows as dictionaries: those of the mapping with the mode and the lists in `fields`."""
        name = f"{model}-{mapping.name}-{kind}"
        lists = {"networks": NETWORKS, "rules": rules_of(mapping, model), "inputs": INPUTS, "chips": [f"{chip}.toml" for chip in CHIPS]} | fields
        text = {key: json.dumps(value) if isinstance(value, list) else value for key, value in lists.items()}
        options = mapping.options.format(blocks=MODELS[model].blocks, quarter=MODELS[model].arrays // 4)
        (self.folder / f"{name}.toml").write_text(STUDY.format(name=name, model=model, options=options, **text))
        begin = time.monotonic()
        command = [self.program, "explore", f"{name}.toml", "-o", f"{name}.db", "--resume"]
        run = subprocess.run(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        if run.returncode != 0:
            sys.exit(f"{' '.join(command)} failed")
        export = subprocess.run([self.program, "explore", "export", f"{name}.db"], cwd=self.folder, capture_output=True, text=True, check=True)
        rows = list(csv.DictReader(io.StringIO(export.stdout)))
        for row in rows:
            row.update(model=model, mapping=mapping.name, study=kind, converter=row["chip"].removesuffix(".toml"), A=int(row["adc.per_array"]))
        took = time.monotonic() - begin
        self.seconds[model] = self.seconds.get(model, 0) + took
        work = self.plan.pop((model, mapping.name, kind), 0)
        self.left -= work
        self.done += work
        elapsed = time.monotonic() - self.started
        left = f"about {elapsed * self.left / self.done / 60:.0f} min left" if self.done and self.left > 1e-9 else ""
        print(f"{name}: {len(rows)} points in {took:.0f} s; {left}", file=sys.stderr, flush=True)
        return rows


def number(row, name):
    return float(row[name]) if row.get(name) else math.nan


def drawn_energy(row):
    """nJ if the columns that are not read drew current, too: all 256 of every row that is driven."""
    cells = number(row, "active_cells")
    return number(row, "energy_nj") + number(row, "energy_cells_nj") * (number(row, "driven_rows") * 256 / cells - 1)


def steady(row):
    """Tokens a second when many follow each other: no array and no tile's vector units can be taken by two tokens at a time."""
    return 1e9 / max(number(row, "busiest_array_ns"), number(row, "busiest_digital_ns"))


def text(value, digits=3):
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


FIGURES = [lambda row: 1 / number(row, "linear_latency_ns"), lambda row: 1 / number(row, "latency_ns"), steady, lambda row: number(row, "energy_nj"), drawn_energy]


def ratios(row, base):
    if base is None or base is row:
        return "-" if base is None else "1"
    speed = [text(figure(row) / figure(base)) for figure in FIGURES]
    return f"{speed[0]}, {speed[1]}, {speed[2]}, {speed[3]} / {speed[4]}"


def of_bound(row):
    parts = [
        number(row, "arrays") / number(row, "bound_arrays"),
        number(row, "linear_latency_ns") / number(row, "bound_linear_latency_ns"),
        number(row, "linear_latency_ns") / number(row, "bound_fewest_arrays_stage_by_stage_ns"),
        number(row, "latency_ns") / number(row, "bound_latency_ns"),
        number(row, "energy_nj") / number(row, "bound_energy_nj"),
    ]
    return ", ".join(text(part) for part in parts)


def by_setting(rows):
    """(network, rule, converter, input, A) -> mapping -> row, without the points that cannot be."""
    points = {}
    for row in rows:
        if not row["error"]:
            alike = RULES if row["mapping"] in DENSE else [row["adc.rule"]]
            for rule in alike:
                points.setdefault((row["network.topology"], rule, row["converter"], row["input.kind"], row["A"]), {})[row["mapping"]] = row
    return points


SHORT = ["striped", "gathered-striped", "linear-striped", "auto"]


def digest(points):
    """How many times faster than linear, at a glance: bits by the rows summed."""
    counts = sorted({key[4] for key in points})
    short = [name for name in SHORT if any(name in of_mapping for of_mapping in points.values())]
    out = []
    for title, figure in (("Linear operators", FIGURES[0]), ("Whole token", FIGURES[1])):
        out += ["", f"### {title}, times as fast as linear with as many converters per array: {' / '.join(short)}", ""]
        out += ["| network | converters | input | " + " | ".join(f"A = {count}" for count in counts) + " |", "|---" * (len(counts) + 3) + "|"]
        for network in NETWORKS:
            for converter in CHIPS:
                for kind in INPUTS:
                    cells = []
                    for count in counts:
                        of_mapping = points.get((network, "rows", converter, kind, count), {})
                        base = of_mapping.get("linear")
                        cells.append(" / ".join(text(figure(of_mapping[name]) / figure(base)) if base and name in of_mapping else "-" for name in short))
                    out.append(f"| {network} | {converter} | {INPUT_TEXT[kind]} | {' | '.join(cells)} |")
    return out


def full_table(model, points):
    out = [
        "Columns: *x linear* and *x linear-striped*: speed of the linear operators, of the whole token, tokens a second in steady state, energy with",
        "unread columns floating / drawing current; *of bound*: arrays, linear operators on the arrays that the mapping has and, stage by stage, on",
        "the fewest, whole token, energy.",
    ]
    for network in NETWORKS:
        for rule in RULES:
            out += ["", f"#### {network} network, {RULE_TEXT[rule]}", ""]
            out += ["| converters | input | A | mapping | arrays | linear us | token us | steady tokens/s | uJ gated / not | x linear | x linear-striped | of bound |", "|---|---|---|---|---|---|---|---|---|---|---|---|"]
            for converter in CHIPS:
                for kind in INPUTS:
                    for count in sorted({key[4] for key in points}):
                        of_mapping = points.get((network, rule, converter, kind, count), {})
                        for mapping in MAPPINGS:
                            row = of_mapping.get(mapping.name)
                            if row is None:
                                continue
                            cells = [converter, INPUT_TEXT[kind], str(count), mapping.name, text(number(row, "arrays"), 6), text(number(row, "linear_latency_ns") / 1000), text(number(row, "latency_ns") / 1000)]
                            cells += [text(steady(row)), f"{text(number(row, 'energy_nj') / 1000)} / {text(drawn_energy(row) / 1000)}"]
                            cells += [ratios(row, of_mapping.get("linear")), ratios(row, of_mapping.get("linear-striped")), of_bound(row)]
                            out.append("| " + " | ".join(cells) + " |")
    return out


def equal_tables(bench, model, rows):
    """Every mapping with as many converters per array as make the chip as large as that of linear with 1 or 8: at most as many converters, or mm2."""
    points = by_setting(rows)
    weights = {"Equal converters": lambda row: number(row, "arrays") * row["A"], "Equal area": lambda row: number(row, "area_mm2")}
    budgets = [1, 8]
    found = list(rows)
    for mapping in MAPPINGS:
        if mapping.name.startswith("linear"):
            continue  # as many arrays as linear has: the same numbers of converters
        if mapping.name == "auto" and MODELS[model].large:
            continue
        wanted = set()
        for (network, rule, converter, kind, count), of_mapping in points.items():
            if rule != "rows" or count not in budgets or converter not in MODELS[model].equal:
                continue
            base = of_mapping.get("linear")
            other = {c: points.get((network, rule, converter, kind, c), {}).get(mapping.name) for c in (8, 16)}
            if base is None or None in other.values():
                continue
            for weight in weights.values():
                slope = (weight(other[16]) - weight(other[8])) / 8
                if slope <= 0:  # auto: other arrays for other converters
                    continue
                most = 8 + (weight(base) - weight(other[8])) / slope
                wanted |= {min(256, max(1, int(most * share))) for share in (1, 0.98, 0.95)}
        wanted = sorted(wanted - {key[4] for key in points})
        if wanted:
            chips = [f"{chip}.toml" for chip in MODELS[model].equal]
            mode = f'mode = "decode"\nkv = {MODELS[model].kv}'
            found += bench.study(model, mapping, "equal", mode=mode, rules=rules_of(mapping, model)[:1], chips=chips, converters=wanted)
    points = by_setting(found)
    out = []
    for title, weight in weights.items():
        out += ["", f"### {title} on the chip: as linear with A converters per array, bits by the rows summed", ""]
        out += ["Cells: converters per array; speed of the linear operators, of the whole token, energy, as ratios to linear.", ""]
        out += ["| network | converters | input | A of linear | " + " | ".join(mapping.name for mapping in MAPPINGS[1:]) + " |", "|---" * (len(MAPPINGS) + 3) + "|"]
        for network in NETWORKS:
            for converter in MODELS[model].equal:
                for kind in INPUTS:
                    for count in budgets:
                        base = points.get((network, "rows", converter, kind, count), {}).get("linear")
                        if base is None:
                            continue
                        cells = []
                        for mapping in MAPPINGS[1:]:
                            fitting = [
                                of[mapping.name]
                                for key, of in points.items()
                                if key[:4] == (network, "rows", converter, kind) and mapping.name in of and weight(of[mapping.name]) <= weight(base) * 1.001
                            ]
                            best = min(fitting, key=lambda row: number(row, "linear_latency_ns"), default=None)
                            if best is None:
                                cells.append("-")
                                continue
                            speed = [text(figure(best) / figure(base)) for figure in FIGURES]
                            cells.append(f"A {best['A']}: {speed[0]}, {speed[1]}, {speed[3]}")
                        out.append(f"| {network} | {converter} | {INPUT_TEXT[kind]} | {count} | {' | '.join(cells)} |")
    return out


def encode_table(bench, model):
    tokens = MODELS[model].encode
    rows = []
    for mapping in MAPPINGS:
        if mapping.encode:
            rows += bench.study(model, mapping, "encode", mode=f'mode = "encode"\ntokens = {tokens}', rules=rules_of(mapping, model)[:1], chips=["SAR.toml"], inputs=["fixed"], converters=[8])
    out = ["", f"### Encoding of {tokens} tokens, SAR, 10 ns, A = 8, bits by the rows summed", ""]
    out += ["Simulated, attention included. Ratios to linear: all tokens, energy with unread columns floating / drawing; of bound: throughput.", ""]
    out += ["| network | mapping | arrays | us | tokens/s | uJ gated | x linear | energy | of bound |", "|---" * 9 + "|"]
    points = by_setting(rows)
    for network in NETWORKS:
        of_mapping = points.get((network, "rows", "SAR", "fixed", 8), {})
        for mapping in MAPPINGS:
            row, base = of_mapping.get(mapping.name), of_mapping.get("linear")
            if row is None or base is None:
                continue
            speed = number(base, "latency_ns") / number(row, "latency_ns")
            energy = [figure(row) / figure(base) for figure in FIGURES[3:]]
            bound = number(row, "bound_throughput_tokens_per_s") / number(row, "throughput_tokens_per_s")
            cells = [network, mapping.name, row["arrays"], text(number(row, "latency_ns") / 1000), text(number(row, "throughput_tokens_per_s")), text(number(row, "energy_nj") / 1000)]
            out.append("| " + " | ".join(cells + [text(speed), f"{text(energy[0])} / {text(energy[1])}", text(bound)]) + " |")
    return out, rows


def floors(model, points):
    """(what, figure, comparison, floor) of striped and gathered-striped: SAR, 10 ns, bits by the rows summed."""

    def at(network, count, mapping):
        return points.get((network, "rows", "SAR", "fixed", count), {}).get(mapping)

    checks = []

    def check(what, value, comparison, floor):
        passes = value >= floor if comparison == ">=" else value <= floor
        checks.append({"model": model, "what": what, "value": None if math.isnan(value) else value, "comparison": comparison, "floor": floor, "pass": passes})

    def speed(row, base):
        return number(base, "linear_latency_ns") / number(row, "linear_latency_ns")

    def share(row, base):
        return number(base, "arrays") / number(row, "arrays")

    if model == "bert-large":
        for network, striped, gathered in (("ideal", 4.5, 8), ("mesh", 3, None)):
            base, row, other = at(network, 8, "linear"), at(network, 8, "striped"), at(network, 8, "gathered-striped")
            check(f"striped, A = 8, {network}: linear operators, times linear", speed(row, base), ">=", striped)
            check(f"striped, A = 8, {network}: arrays of linear over its arrays", share(row, base), ">=", 19)
            if gathered:
                check(f"gathered-striped, A = 8, {network}: linear operators, times linear (an aim)", speed(other, base), ">=", gathered)
                check(f"gathered-striped, A = 8, {network}: arrays of linear over its arrays (an aim)", share(other, base), ">=", 7.5)
    for count in sorted({key[4] for key in points}):
        row = at("ideal", count, "striped")
        if row is None or count == 1 or model not in ("bert-large", "llama-7b"):
            continue  # no floor
        arrays = number(row, "arrays") / number(row, "bound_arrays")
        most = 1.02 if model == "bert-large" else 1.08  # blocks and slivers of power-of-two width, or not
        check(f"striped, A = {count}: arrays of their bound", arrays, "<=", most)
        loose = model == "llama-7b" or count < 8
        gap = number(row, "linear_latency_ns") / number(row, "bound_fewest_arrays_stage_by_stage_ns")
        check(f"striped, A = {count}: linear operators of their bound, stage by stage on the fewest arrays", gap, "<=", 1.10 if loose else 1.05)
    return checks


def floor_lines(checks):
    if not checks:
        return []
    out = ["", "### Floors: SAR, 10 ns, bits by the rows summed", "", "| | figure | floor | |", "|---|---|---|---|"]
    for check in checks:
        value = math.nan if check["value"] is None else check["value"]
        out.append(f"| {check['what']} | {text(value, 4)} | {check['comparison']} {check['floor']} | {'pass' if check['pass'] else 'FAIL'} |")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/danaus")
    parser.add_argument("--model", action="append", choices=sorted(MODELS), help="[all]")
    parser.add_argument("--mapping", action="append", choices=[mapping.name for mapping in MAPPINGS], help="these and linear alone [all]")
    parser.add_argument("--converters", action="append", type=int, help="per array; several [1 4 8 16 32 256]")
    parser.add_argument("--rule", action="append", choices=RULES, help="bits: by the rows summed, 8 for all [both]")
    parser.add_argument("--decode", action="store_true", help="without equal converters, equal area and encoding")
    parser.add_argument("--tokens", type=int, help="encoded [512]")
    parser.add_argument("--quick", action="store_true", help="bert-large with 8 converters, --decode: half a minute")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="keeps databases, tables and points")
    arguments = parser.parse_args()
    arguments.decode |= arguments.quick
    arguments.converters = sorted(set(arguments.converters or ([8] if arguments.quick else CONVERTERS)))
    if arguments.rule:
        RULES[:] = arguments.rule
    if arguments.tokens:
        for model in MODELS.values():
            model.encode = min(model.encode, arguments.tokens)
    if arguments.mapping:
        MAPPINGS[:] = [mapping for mapping in MAPPINGS if mapping.name in ["linear", *arguments.mapping]]
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.output or pathlib.Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        return run(str(pathlib.Path(arguments.program).resolve()), folder, arguments)


def run(program, folder, arguments):
    models = arguments.model or (["bert-large"] if arguments.quick else list(MODELS))
    plan = {}
    for model in models:
        for mapping in MAPPINGS:
            work = mapping.work * MODELS[model].size
            plan[model, mapping.name, "decode"] = work * len(arguments.converters) * 12 * len(rules_of(mapping, model))
            if not arguments.decode and not mapping.name.startswith("linear") and not (mapping.name == "auto" and MODELS[model].large):
                plan[model, mapping.name, "equal"] = work * 60
            if not arguments.decode and MODELS[model].encode and mapping.encode:
                plan[model, mapping.name, "encode"] = work * MODELS[model].encode
    bench = Bench(program, folder, plan)
    every_row, every_check = [], []
    for model in models:
        rows = []
        for mapping in MAPPINGS:
            mode = f'mode = "decode"\nkv = {MODELS[model].kv}'
            rows += bench.study(model, mapping, "decode", mode=mode, converters=arguments.converters)
        points = by_setting(rows)
        blocks = MODELS[model].blocks
        head = [f"## {model}, decode of one token, KV length {MODELS[model].kv}, blocks of {blocks} x {blocks} (gathered-striped: 8 times fewer weights)"]
        errors = sorted({(row["mapping"], row["message"] or row["error"]) for row in rows if row["error"]})
        head += [""] + [f"{mapping}: {message}" for mapping, message in errors] if errors else []
        checks = floors(model, points) if not arguments.mapping else []
        lines = head + floor_lines(checks) + digest(points) + ["", "### All figures", "", *full_table(model, points)]
        if not arguments.decode:
            lines += equal_tables(bench, model, rows)
            if MODELS[model].encode:
                table, encoded = encode_table(bench, model)
                lines += table
                rows += encoded
        print("\n".join(lines) + "\n", flush=True)
        (folder / f"{model}.md").write_text("\n".join(lines) + "\n")
        every_row += rows
        every_check += checks
    names = list(dict.fromkeys(name for row in every_row for name in row))
    with open(folder / "points.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(every_row)
    (folder / "floors.json").write_text(json.dumps(every_check, indent=1) + "\n")
    for model, seconds in bench.seconds.items():
        print(f"{model}: {seconds:.0f} s", file=sys.stderr)
    failed = [check for check in every_check if not check["pass"]]
    print(f"{len(every_check) - len(failed)} of {len(every_check)} floors pass", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
