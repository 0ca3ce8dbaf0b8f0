"""One case per error that a user can cause from the command line: files, a command line, the exit code and the id.

The text of each is golden (golden/<name>.txt). Damage inside binary formats is tested in tests/unit, where the bytes are made;
test_repo.py checks that every id of docs/errors.md is in one of both places or in NOT_REACHABLE.
"""

import json
import pathlib
import re
import struct
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = (ROOT / "tests/golden/tiny.toml").read_text()
PROGRAM = (ROOT / "tests/data/example-dense.txt").read_text()

# Errors that no input causes, and why.
NOT_REACHABLE = {
    "cli.internal": "a broken invariant",
    "cli.memory": "depends on the machine",
    "cli.interrupted": "tests/golden/test_behaviour.py sends the signal",
    "cli.stdout": "tests/golden/test_behaviour.py fills the device",
    "file.unreadable": "root, who runs continuous integration, may read everything",
    "reproduce.gnuplot": "tests/golden/test_reproduce.py empties the PATH",
    "machine.invalid": "simulate proves the program first",
    "machine.too-large": "takes a gigabyte: danaus run llama-70b --map dense",
    "verify.proof-size": "takes a program of gigabytes",
    "model.duplicate-tensor": "every importer finds it earlier",
    "pipeline.proof": "a mistake of the compiler",
    "auto.stopped": "takes an interrupt at the right time",
    "emit.kv": "the command line refuses a KV length of 0",
    "emit.tokens": "the command line refuses 0 tokens",
    "analog.activation": "eval proves the program first",
    "analog.too-large": "takes a model larger than the memory of the machine",
    "explore.internal": "a broken invariant, or too little memory",
    "explore.merge": "tests/explore merges databases of different studies",
    "explore.no-point": "tests/explore has studies of such points, with a table on stdout",
    "explore.mpi": "tests/explore starts ranks",
    "explore.parquet": "tests/explore takes Python away",
    "tune.engine-failed": "a mistake of danaus, or of the library",
    "tune.no-engine": "tests/tune takes the library away",
    "graph.order": "both forms of a program refuse it earlier",
    "graph.sources": "both forms of a program refuse it earlier",
    "graph.name": "both forms of a program refuse it earlier",
    "graph.output": "both forms of a program refuse it earlier",
}


def folder(name, **more):
    """A model of tests/data/nn as files of the folder m, and others beside."""
    source = ROOT / "tests/data/nn" / name
    return {**{f"m/{file}": (source / file).read_bytes() for file in ("config.json", "model.safetensors")}, **more}


TOKENIZER = (ROOT / "tests/data/tokenizers/gpt-2.json").read_text()


class Case(NamedTuple):
    id: str
    code: int
    arguments: str                 # split at blanks
    files: dict = {}               # name -> text or bytes, written before
    name: str = ""                 # when an id has several cases
    needs_compile: str = ""        # a command line that makes a file first

    @property
    def label(self):
        return f"{self.id}.{self.name}" if self.name else self.id


def tiny(**changes):
    """tiny.toml with lines replaced, added, or (None) removed."""
    lines = TINY.splitlines()
    for key, value in changes.items():
        lines = [line for line in lines if not line.startswith(f"{key} =")]
        if value is not None:
            lines.append(f"{key} = {value}")
    return {"m.toml": "\n".join(lines) + "\n"}


def program(pattern, replacement):
    """The example program with one line changed."""
    changed, count = re.subn(pattern, replacement, PROGRAM, count=1, flags=re.M)
    assert count == 1, pattern
    return {"p.txt": changed}


def chip(text):
    return {"c.toml": text}


def gguf(metadata=b"", tensors=0, entries=0, magic=b"GGUF", version=3):
    return magic + struct.pack("<IQQ", version, tensors, entries) + metadata


def gguf_tensor(name, sizes, kind):
    """A file whose only tensor has these sizes (fastest first) and this type number."""
    return gguf(struct.pack("<Q", len(name)) + name.encode() + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, 0), tensors=1)


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def f32(name, shape, values=None):
    count = shape[0] * shape[1]
    values = values or [1.0] * count
    return safetensors({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * count]}}, struct.pack(f"<{count}f", *values))


def wide_bert():
    """A feed-forward layer of more columns than an operation may have operands, with an attention of few."""
    return 'name = "wide"\nfamily = "bert"\nlayers = 1\nhidden = 16\nffn = 70000\nheads = 1\nvocab = 64\ncontext = 8\nactivation = "gelu"\n'


def study(text, sweep='map = ["linear"]', **more):
    """A study of the tiny model."""
    return {**tiny(), "s.toml": f'[study]\nmodel = "m.toml"\nchip = "unit"\n{text}\n\n[sweep]\n{sweep}\n', **more}


SMALL = "--chip unit --set array.rows=16 --set array.cols=16 --set adc.per_array=4"
COMPILE = f"compile m.toml --blocks 4 {SMALL} --placement p.json -o p.dnx -q"


def placement(**changes):
    """A placement of the tiny model with the fields of its first patch changed."""
    return ("placement", changes)


CASES = [
    # The command line.
    Case("cli.no-subcommand", 2, ""),
    Case("cli.unknown-subcommand", 2, "rnu bert-large"),
    Case("cli.unknown-subcommand", 2, "frobnicate", name="far"),
    Case("cli.unknown-option", 2, "run bert-large --blcoks 32"),
    Case("cli.unknown-option", 2, "--chip unit run bert-large", name="before"),
    Case("cli.unknown-option", 2, "run bert-large --blcoks 32 --json", name="json"),
    Case("cli.arguments", 2, "run", name="missing"),
    Case("cli.arguments", 2, "run bert-large gpt2", name="superfluous"),
    Case("cli.arguments", 2, "run bert-large --mode decoed", name="choice"),
    Case("cli.arguments", 2, "run bert-large --mode prefill --tokens 0", name="range"),
    Case("cli.arguments", 2, "run bert-large --threads many", name="number"),
    Case("cli.arguments", 2, "run bert-large --compression 0.5", name="compression"),
    Case("cli.arguments", 2, "run bert-large --blocks 32 --compression 8", name="exclusive"),
    Case("cli.arguments", 2, "run bert-large --set adc.per_array", name="setting"),
    Case("cli.arguments", 2, "compile bert-large", name="output"),
    Case("cli.arguments", 2, "compile bert-large --map linear,dense -o p.dnx", name="one-map"),
    Case("cli.arguments", 2, "run bert-large --map dense,dense", name="map-twice"),
    Case("cli.arguments", 2, "compile bert-large --placement p.dnx -o ./p.dnx", name="same-output"),
    Case("cli.arguments", 2, "show chips unit --json", name="show-json"),
    Case("cli.unknown-option", 2, "disasm prog.dnx --json", name="no-document"),
    Case("cli.tokens", 2, "run bert-large --tokens 5"),
    Case("cli.trace-format", 2, "trace example.txt -o trace.png"),
    Case("cli.arguments", 2, "trace nowhere.dnx -o trace.json --between 0 10", name="trace-between"),
    Case("cli.arguments", 2, "explain mapping dense --blocks 4", name="explain"),
    Case("cli.tokens", 2, "run bert-large --mode encode --tokens 2 --slots 3", name="slots"),
    Case("cli.tokens", 2, "run bert-large --mode encode --kv 5", name="kv"),
    Case("cli.tokens", 2, "run gpt2-medium --prompt 5", name="prompt"),
    Case("cli.tokens", 2, "run gpt2-medium --mode generate --prompt 5 --tokens 5", name="generate"),
    Case("cli.no-chip", 2, "simulate p.txt", files={"p.txt": PROGRAM}),
    Case("cli.arguments", 2, "show models --sources", name="sources"),
    Case("reference.unknown", 2, "run bert-large --reference gpus"),
    Case("reference.unknown", 2, "run bert-large --reference abacus", name="far"),
    Case("reference.syntax", 3, "run bert-large --reference r.toml", files={"r.toml": "name =\n"}),
    Case("reference.key", 3, "run bert-large --reference r.toml", files={"r.toml": 'name = "mine"\npeak_top = 1\n'}),
    Case("reference.key", 3, "run bert-large --reference r.toml", files={"r.toml": 'name = "mine"\n'}, name="missing"),
    Case("reference.value", 3, "run bert-large --reference r.toml",
         files={"r.toml": (ROOT / "data/reference/cpu.toml").read_text().replace("= 29.5", '= "29.5"')}),
    Case("cli.no-operator", 2, "project m.toml --only blk.0.atn_q", files=tiny()),
    Case("cli.no-weights", 2, "project m.toml -o f.safetensors", files=tiny()),
    Case("cli.unknown-topic", 2, "show model"),
    Case("cli.unknown-topic", 2, "explain gguf.truncatd", name="explain"),
    Case("cli.unknown-topic", 2, "explain cost adcs", name="cost"),

    # Files.
    Case("file.missing", 6, "run nowhere.toml"),
    Case("file.missing", 6, "run models/nothing", name="folder"),
    Case("chip.unknown-preset", 2, "run gpt2 --chip pcm14", name="beginning"),
    Case("cli.unknown-topic", 2, "show keys adc.nothing", name="keys"),
    Case("file.not-regular", 6, "verify ."),
    Case("reproduce.unknown-claim", 2, "reproduce latency-sprase"),
    Case("reproduce.unknown-claim", 2, "reproduce warp-drive", name="far"),
    Case("reproduce.setting", 2, "reproduce parameters --set adc.kind=sar"),
    Case("reproduce.folder", 6, "reproduce parameters -o m.toml", files=tiny()),
    Case("reproduce.folder", 6, "reproduce parameters -o m.toml/out", files=tiny(), name="below"),
    Case("file.not-writable", 6, "compile m.toml -o nowhere/p.dnx", files=tiny()),
    Case("file.too-large", 3, "run m.toml --chip c.toml", files={**tiny(), **chip("#" * (2 << 20))}),

    # Models.
    Case("model.unknown", 2, "run bert-lrage"),
    Case("model.unsupported-format", 4, "run model.bin", files={"model.bin": b""}),
    Case("model.no-matrices", 3, "project m.safetensors", files={"m.safetensors": safetensors({})}),
    Case("model.dimensions", 3, "project m.safetensors", files={
        "m.safetensors": safetensors({"w": {"dtype": "F32", "shape": [20000000, 0], "data_offsets": [0, 0]}})}),
    Case("shape.too-large", 3, "run m.toml", files={"m.toml": "#" * (2 << 20)}),
    Case("shape.syntax", 3, "run m.toml", files={"m.toml": "name = \n"}),
    Case("shape.unknown-key", 3, "run m.toml", files=tiny(hiden=3)),
    Case("shape.missing-key", 3, "run m.toml", files=tiny(ffn=None)),
    Case("shape.type", 3, "run m.toml", files=tiny(layers='"two"')),
    Case("shape.range", 3, "run m.toml", files=tiny(heads=3)),
    Case("shape.name", 3, "run m.toml", files=tiny(name='"a b"')),
    Case("shape.family", 3, "run m.toml", files=tiny(family='"lama"')),
    Case("shape.activation", 3, "run m.toml", files=tiny(activation='"silo"')),
    Case("shape.choice", 3, "run m.toml", files=tiny(biases='"qvk"')),
    Case("shape.rope-pairs", 3, "run m.toml", files=tiny(rope_pairs='"hlaf"')),
    Case("gguf.magic", 3, "run m.gguf", files={"m.gguf": gguf(magic=b"GGML")}),
    Case("gguf.truncated", 3, "run m.gguf", files={"m.gguf": b"GGUF\x03\x00"}),
    Case("gguf.unsupported-version", 4, "run m.gguf", files={"m.gguf": gguf(version=9)}),
    Case("gguf.count", 3, "run m.gguf", files={"m.gguf": gguf(tensors=1 << 60)}),
    Case("gguf.missing-key", 3, "run m.gguf", files={"m.gguf": gguf()}),
    # Metadata alone: what it says has to outlive the reading of the file.
    Case("gguf.missing-key", 3, "run m.gguf", name="no-tensors", files={"m.gguf": gguf(
        struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama", entries=1)}),
    Case("gguf.unsupported-type", 4, "run m.gguf", files={"m.gguf": gguf_tensor("blk.0.attn_q.weight", [256, 256], 23)}),
    Case("gguf.dimension", 3, "run m.gguf", files={"m.gguf": gguf_tensor("blk.0.attn_q.weight", [576, 256], 12)}),
    Case("safetensors.truncated", 3, "project m.safetensors", files={"m.safetensors": b"\x10"}),
    Case("safetensors.json", 3, "project m.safetensors", files={"m.safetensors": safetensors(b"{'w'}")}),
    Case("hf.config-missing", 3, "run folder", files={"folder/readme": "nothing here"}),
    Case("hf.json", 3, "run folder", files={"folder/config.json": "{", "folder/model.safetensors": safetensors({})}),

    # Structures.
    Case("factor.blocks", 2, "project m.toml --blocks 4x", files=tiny()),
    Case("factor.group", 2, "project m.toml --structure gather --group 1 --compression 1", files={"m.toml": TINY.replace("ffn = 32", "ffn = 2000000")}),
    Case("factor.policy-conflict", 2, "project m.toml --pad square --structure dense", files=tiny()),
    Case("factor.policy-syntax", 3, "project m.toml --policy p.toml", files={**tiny(), "p.toml": "[[layer]\n"}),
    Case("factor.policy-key", 3, "project m.toml --policy p.toml", files={**tiny(), "p.toml": '[[layer]]\nmatch = "*"\nblcoks = "4"\n'}),
    Case("factor.policy-match", 3, "project m.toml --policy p.toml", files={**tiny(), "p.toml": '[[layer]]\nmatch = "*query*"\nblocks = "4"\n'}),
    Case("factor.policy-value", 3, "project m.toml --policy p.toml", files={**tiny(), "p.toml": '[[layer]]\nmatch = "*"\nstructure = 4\n'}),
    # Map auto.
    Case("auto.candidate", 2, "run m.toml --map auto --candidates dense,monark:8", files=tiny()),
    Case("auto.candidate", 2, "run m.toml --map auto --candidates gather:8:0", files=tiny(), name="group"),
    Case("auto.candidate", 2, "run m.toml --map auto --candidates monarch", files=tiny(), name="compression"),
    Case("auto.no-errors", 2, "run m.toml --map auto --max-error 0.1", files=tiny()),
    Case("auto.infeasible", 5, "run m.toml --map auto --max-latency-us 0.001", files=tiny()),
    Case("auto.infeasible", 5, "run m.toml --map auto --candidates lowrank:4 --max-error 1 --sensitivity s.toml", name="error",
         files={**tiny(), "s.toml": '[[operator]]\nmatch = "*"\ncosts = { "lowrank:4" = 2 }\n'}),
    Case("auto.unsupported", 4, "run m.toml --map auto --reload", files=tiny()),
    Case("auto.unsupported", 2, "run m.toml --map striped,auto --sliver 8", files=tiny(), name="sliver"),
    Case("auto.unsupported", 2, "run m.toml --map auto --least-arrays 8", files=tiny(), name="least-arrays"),
    Case("auto.unsupported", 4, "run m.toml --map auto --chip unit --set adc.rule=calibrated", files=tiny(), name="bits"),
    Case("auto.sensitivity-syntax", 3, "run m.toml --map auto --max-error 1 --sensitivity s.toml", files={**tiny(), "s.toml": "[[operator]\n"}),
    Case("auto.sensitivity-key", 3, "run m.toml --map auto --max-error 1 --sensitivity s.toml",
         files={**tiny(), "s.toml": '[[operator]]\nmatch = "*"\ncost = { "monarch:8" = 1 }\n'}),
    Case("auto.sensitivity-value", 3, "run m.toml --map auto --max-error 1 --sensitivity s.toml",
         files={**tiny(), "s.toml": '[[operator]]\nmatch = "*"\ncosts = { "monarch:8" = -1 }\n'}),
    Case("auto.sensitivity-match", 3, "run m.toml --map auto --max-error 1 --sensitivity s.toml",
         files={**tiny(), "s.toml": '[[operator]]\nmatch = "*query*"\ncosts = { "monarch:8" = 1 }\n'}),
    Case("cli.arguments", 2, "run m.toml --max-arrays 4", files=tiny(), name="auto-only"),
    Case("cli.arguments", 2, "run m.toml --map linear --save-policy p.toml", files=tiny(), name="save-policy"),
    Case("cli.arguments", 2, "compile m.toml --map auto --from-placement p.json -o p.dnx", files=tiny(), name="auto-placement"),
    Case("factor.non-finite", 3, "project m.safetensors --blocks 2",
         files={"m.safetensors": f32("w", [4, 4], [float("nan")] + [1.0] * 15)}),

    # Chips.
    Case("chip.unknown-preset", 2, "run m.toml --chip pcm-14", files=tiny()),
    Case("chip.syntax", 3, "run m.toml --chip c.toml", files={**tiny(), **chip("[array\n")}),
    Case("chip.unknown-key", 3, "run m.toml --chip c.toml", files={**tiny(), **chip('base = "unit"\n[adc]\nper_aray = 8\n')}),
    Case("chip.unknown-key", 2, "run m.toml --chip unit --set adc.per_aray=8", files=tiny(), name="set"),
    Case("chip.type", 3, "run m.toml --chip c.toml", files={**tiny(), **chip('base = "unit"\n[adc]\nper_array = "8"\n')}),
    Case("chip.range", 2, "run m.toml --chip unit --set adc.per_array=0", files=tiny()),
    Case("chip.range", 2, "run m.toml --chip unit --set array.cols=16", files=tiny(), name="together-set"),
    Case("chip.range", 3, "run m.toml --chip c.toml", files={**tiny(), **chip('[array]\nrows = 8\n')}, name="together"),
    Case("chip.empty", 3, "run m.toml --chip c.toml", files={**tiny(), **chip('name = "c"\n')}),
    Case("chip.adc-bits", 4, "run m.toml --chip pcm-14nm --set adc.rule=fixed --set adc.bits=3", files=tiny()),

    Case("pipeline.adc-bits-table", 2, "run m.toml --chip unit --set adc.rule=calibrated", files=tiny()),
    Case("pipeline.adc-bits-table", 2, "run m.toml --chip unit --adc-bits b.toml", name="rule",
         files={**tiny(), "b.toml": '[[stage]]\nmatch = "*"\nbits = 6\n'}),
    Case("pipeline.adc-bits-syntax", 3, "run m.toml --chip unit --set adc.rule=calibrated --adc-bits b.toml",
         files={**tiny(), "b.toml": "[[stage]\n"}),
    Case("pipeline.adc-bits-key", 3, "run m.toml --chip unit --set adc.rule=calibrated --adc-bits b.toml",
         files={**tiny(), "b.toml": '[[stage]]\nmatch = "*"\nbit = 6\n'}),
    Case("pipeline.adc-bits-value", 3, "run m.toml --chip unit --set adc.rule=calibrated --adc-bits b.toml",
         files={**tiny(), "b.toml": '[[stage]]\nmatch = "*"\nbits = 60\n'}),
    Case("pipeline.adc-bits-rule", 3, "run m.toml --chip unit --set adc.rule=calibrated --adc-bits b.toml",
         files={**tiny(), "b.toml": '[[stage]]\nmatch = "*attn_q"\nbits = 6\n'}),
    Case("chip.range", 2, "run m.toml --chip unit --set adc.sharing=group --set adc.group_arrays=3", files=tiny(), name="group"),
    Case("machine.shared-copies", 4, f"run m.toml {SMALL} --blocks 4 --map linear --replicate 20 --set adc.sharing=group --set adc.group_arrays=2", files=tiny()),
    Case("precision.range", 2, "precision m.toml --chip unit --set noise.adc_range=lossless", files=tiny()),
    Case("precision.text", 3, "precision m --text i.json --chip unit", files=folder("llama", **{"i.json": "[1, 2]"})),
    Case("cli.no-weights", 2, "precision m.toml --text t.txt", name="precision", files={**tiny(), "t.txt": "a"}),

    # List scheduling.
    Case("list.capacity", 5, "run bert-base --chip ibm-3dcim --set chip.arrays=100 --set chip.tiers=2"),
    Case("list.too-large", 4, "run bert-large --chip ibm-3dcim --mode encode --tokens 1048576"),
    Case("list.too-large", 4, "run bert-large --chip ibm-3dcim --set array.rows=1 --set array.cols=1", name="tiers"),
    Case("list.too-large", 4, "run wide.toml --chip ibm-3dcim --mode encode --tokens 1 --set array.rows=1024 --set array.cols=1",
         name="operands", files={"wide.toml": wide_bert()}),
    Case("list.unsupported", 4, "run bert-base --chip ibm-3dcim --set network.topology=mesh"),
    Case("pipeline.list-chip", 4, "compile bert-base --chip ibm-3dcim --map linear -o p.dnx"),
    Case("pipeline.list-chip", 4, "run bert-base --chip unit --map linear --set chip.tiers=2", name="tiers"),
    Case("pipeline.list-map", 4, "run bert-base --chip ibm-3dcim --map linear,dense"),
    Case("pipeline.list-mode", 4, "run bert-base --chip ibm-3dcim --mode generate"),
    Case("pipeline.list-mode", 4, "run gpt2-medium --chip ibm-3dcim --mode encode", name="decoder"),
    Case("pipeline.list-model", 4, "run m.toml --chip ibm-3dcim", files=tiny()),
    Case("pipeline.list-option", 4, "run bert-base --chip ibm-3dcim --reload"),
    Case("pipeline.list-option", 4, "run bert-base --chip ibm-3dcim --replicate 8", name="replicate"),
    Case("pipeline.sequences", 4, "run m.toml --chip unit --sequences 2", files=tiny()),
    Case("pipeline.sequences", 4, "run m.toml --chip unit --mode generate", name="generate", files=tiny()),

    # Mapping and compiling.
    Case("place.unknown-map", 2, "run m.toml --map linear,dence", files=tiny()),
    Case("place.capacity", 5, "run m.toml --chip unit --set chip.arrays=1 --set array.rows=16 --set array.cols=16 "
         "--set adc.per_array=4", files=tiny()),
    Case("place.capacity", 5, "run m.toml --map dense --blocks 4 --set chip.arrays=2 --chips 2 --set array.rows=16 "
         "--set array.cols=16", name="chips", files=tiny()),
    Case("place.capacity", 5, f"compile m.toml --blocks 4 {SMALL} --set chip.arrays=1 --from-placement p.json -o p.dnx",
         name="placement", files={**tiny(), "change": {"array": 0}}, needs_compile=COMPILE),
    Case("place.pieces", 4, "run bert-large --map linear --set array.rows=1 --set array.cols=1 --set adc.per_array=1"),
    Case("place.copies", 4, "run m.toml --map linear --set chip.arrays=50 --chips 40 --replicate 5 --set array.rows=16 "
         "--set array.cols=16", files=tiny()),
    Case("cli.arguments", 2, "run m.toml --chips 0", name="chips", files=tiny()),
    Case("emit.mode", 4, "run m.toml --mode encode", files=tiny()),
    Case("emit.mode", 4, "run bert-base --mode prefill", name="encoder"),
    Case("emit.buffer", 5, "run m.toml --chip unit --set buffer.bytes_per_tile=64", files=tiny()),
    Case("emit.buffer", 5, "run m.toml --map linear --chip unit --mode prefill --tokens 8 --replicate 20 --set array.rows=16 "
         "--set array.cols=16 --set adc.per_array=4 --set buffer.bytes_per_tile=600", name="copies", files=tiny()),
    Case("emit.address-range", 5, "compile m.toml --mode prefill --tokens 1000000 -o p.dnx", files=tiny()),
    Case("emit.encoding", 4, f"compile m.toml --map sparse --blocks 3000x4 {SMALL} -o p.dnx", files=tiny()),
    Case("placement.syntax", 3, "compile m.toml --blocks 4 --from-placement p.json -o p.dnx", files={**tiny(), "p.json": "{"}),
    Case("placement.patch", 3, f"compile m.toml --blocks 4 {SMALL} --from-placement p.json -o p.dnx",
         files={**tiny(), "change": {"row": "first"}}, needs_compile=COMPILE),
    Case("emit.placement", 3, f"compile m.toml --blocks 4 {SMALL} --from-placement p.json -o p.dnx",
         files={**tiny(), "change": {"array": 9999}}, needs_compile=COMPILE),

    Case("emit.overlap", 3, f"compile m.toml --blocks 4 {SMALL} --from-placement p.json -o p.dnx",
         files={**tiny(), "change": {"row": 1}}, needs_compile=COMPILE),

    # Programs.
    Case("program.magic", 3, "verify p.txt", files={"p.txt": "hello\n"}),
    Case("program.version", 4, "verify p.txt", files={"p.txt": "danaus program 9\n"}),
    Case("program.syntax", 3, "verify p.txt", files=program(r"^cfg 1 norm rms n 8", "cfg 1 norm rms n")),
    Case("program.name", 3, "asm p.txt -o p.dnx", files=program(r"^node qr rope q ", "node qr rope qq ")),
    Case("program.duplicate", 3, "asm p.txt -o p.dnx", files=program(r"^node k linear", "node q linear")),
    Case("program.range", 3, "asm p.txt -o p.dnx", files=program(r"^chip rows 8 ", "chip rows 99999999 ")),
    Case("program.crc", 3, "disasm p.dnx", files={**tiny(), "flip": 40}, needs_compile=COMPILE),
    Case("program.truncated", 3, "disasm p.dnx", files={**tiny(), "cut": 100}, needs_compile=COMPILE),
    Case("verify.overlap", 1, "verify p.txt", files=program(r"^patch a0 0,2 4x2 k", "patch a0 0,1 4x2 k")),
    Case("verify.coverage", 1, "verify p.txt", files=program(r"^mvm .*\n", "")),
    Case("verify.model", 1, "verify p.txt --model m.toml", files={**tiny(), "p.txt": PROGRAM}),

    # Simulation.
    Case("machine.too-long", 4, "run m.safetensors --chip unit --blocks 2 --map sparse --mode prefill --tokens 150000 --no-error "
         "--set array.settle_ns=1e9", files={"m.safetensors": f32("w", [4, 4])}),
    Case("machine.shape", 3, "simulate p.txt --chip unit", files={"p.txt": PROGRAM}),
    Case("machine.shape", 3, "simulate p.dnx --set chip.chips=3", name="chips", files=tiny(),
         needs_compile=f"compile m.toml --blocks 4 {SMALL} --chips 2 -o p.dnx -q"),

    # What a model says.
    Case("cli.arguments", 2, "eval m", name="eval", files=folder("llama")),
    Case("cli.arguments", 2, "eval m --ids i --text t", name="eval-both", files=folder("llama")),
    Case("cli.arguments", 2, "generate m hello --temperature -1", name="temperature", files=folder("llama")),
    Case("file.missing", 6, "eval m --text t.txt", name="text", files=folder("llama")),
    Case("eval.no-tokenizer", 3, "eval m --text t.txt", files=folder("llama", **{"t.txt": "a"})),
    Case("eval.no-tokenizer", 3, "generate m hello", name="generate", files=folder("llama")),
    Case("eval.empty-text", 3, "eval m --text t.txt", files=folder("llama", **{"t.txt": ""})),
    Case("eval.empty-text", 3, "eval m --ids i.json", name="ids", files=folder("llama", **{"i.json": "[]"})),
    Case("eval.ids", 3, "eval m --ids i.json", files=folder("llama", **{"i.json": "[1,\n 2 3]"})),
    Case("eval.ids", 3, "eval m --ids i.json", name="value", files=folder("llama", **{"i.json": "[1, -2]"})),
    Case("eval.ids", 3, "eval m --ids i.json", name="list", files=folder("llama", **{"i.json": "[[1, 2]]"})),
    Case("eval.ids", 3, "eval m --ids i.json --json", name="encoder", files=folder("bert", **{"i.json": "[1, 2]"})),
    Case("eval.encoder-decoder", 4, "eval m --ids i.json", files=folder("bart", **{"i.json": "[1, 2]"})),
    Case("eval.map", 2, "eval m --ids i.json --analog --map linear --blocks 2", files=folder("llama", **{"i.json": "[1, 2]"})),
    Case("analog.not-calibrated", 2, "eval m --ids i.json --analog --set noise.adc_range=cal-column",
         files=folder("llama", **{"i.json": "[1, 2]"})),
    Case("analog.calibration-overlap", 2, "eval m --ids i.json --analog --calibrate c.json",
         files=folder("llama-tied", **{"i.json": str([n * n % 29 for n in range(40)]),
                                       "c.json": str([3] + [n * n % 29 for n in range(35)])})),
    Case("analog.unsupported", 4, "eval m --ids i.json --analog --set noise.weight_bits=0 --set array.slices=2",
         files=folder("llama", **{"i.json": "[1, 2]"})),
    Case("calibrate.resume", 2, "calibrate m --text b.json -o c.safetensors --resume",
         needs_compile="calibrate m --text a.json -o c.safetensors -q",
         files=folder("llama", **{"a.json": "[1, 2]", "b.json": "[1, 2, 3]"})),
    Case("moments.model", 3, "project m --calibrate c.safetensors --blocks 2",
         needs_compile="calibrate n --text a.json -o c.safetensors -q",
         files={**folder("llama", **{"a.json": "[1, 2]"}),
                **{name.replace("m/", "n/"): data for name, data in folder("gpt2").items()}}),
    Case("moments.metadata", 3, "project n.safetensors --calibrate n.safetensors --blocks 2",
         files={"n.safetensors": f32("w", [4, 4])}),
    Case("cli.no-weights", 2, "project m.toml --calibrate t.txt", name="calibrate", files={"m.toml": TINY, "t.txt": "a"}),
    Case("cli.arguments", 2, "project m --calibrate c.safetensors --normalise 1", name="calibrated",
         files=folder("llama", **{"c.safetensors": ""})),
    Case("eval.factors", 3, "eval m --ids i.json --factors f.safetensors",
         needs_compile="project n.safetensors --blocks 2 -o f.safetensors -q",
         files=folder("llama", **{"i.json": "[1, 2]", "n.safetensors": f32("w", [4, 4])})),
    Case("eval.factors", 3, "eval m --ids i.json --factors f.safetensors", name="shape",
         needs_compile="project n.safetensors --blocks 2 -o f.safetensors -q",
         files=folder("llama", **{"i.json": "[1, 2]", "n.safetensors": f32("model.layers.0.self_attn.q_proj", [4, 4])})),
    Case("nn.embedding-rows", 3, "eval m --text t.txt", files=folder("llama", **{"t.txt": "a", "m/tokenizer.json": TOKENIZER})),
    Case("nn.token-id", 3, "eval m --ids i.json", name="eval", files=folder("llama", **{"i.json": "[1, 29]"})),
    Case("nn.context", 3, "eval m --ids i.json", name="eval", files=folder("bert", **{"i.json": f"[[1], {[1] * 25}]"})),
    Case("nn.window", 2, "eval m --ids i.json --window 25", name="eval", files=folder("llama", **{"i.json": "[1, 2]"})),
    Case("nn.window", 2, "eval m --ids i.json --stride 2", name="encoder", files=folder("bert", **{"i.json": "[[1, 2]]"})),
    Case("nn.no-weights", 3, "eval gpt2 --ids i.json", name="eval", files={"i.json": "[1, 2]"}),
    Case("nn.no-embedding", 4, "eval m.safetensors --ids i.json", name="eval",
         files={"i.json": "[1, 2]", "m.safetensors": f32("w", [4, 4])}),
    Case("nn.no-decoder", 3, "generate m hello", name="generate", files=folder("bert")),

    # Studies.
    Case("explore.syntax", 3, "explore s.toml", files=study("kv = = 4")),
    Case("explore.unknown-key", 3, "explore s.toml", files=study("", '"adc.per_aray" = [4, 8]')),
    Case("explore.unknown-key", 3, "explore s.toml", name="section", files=study("", "[sweeep]")),
    Case("explore.unknown-key", 3, "explore s.toml", name="study", files=study("objectiv = \"latency_ns\"")),
    Case("explore.unknown-key", 3, "explore s.toml", name="misplaced", files=study("", "budget = 4")),
    Case("explore.unknown-key", 3, "explore s.toml", name="range", files=study("", "kv = {from = 1, to = 4, stpe = 1}")),
    Case("explore.missing-key", 3, "explore s.toml", files={"s.toml": "[study]\nkv = 4\n"}),
    Case("explore.missing-key", 3, "explore s.toml", name="range", files=study("", "kv = {from = 4, step = 1}")),
    Case("explore.missing-key", 3, "explore s.toml", name="budget", files=study('sampling = "random"')),
    Case("explore.missing-key", 3, "explore s.toml", name="accuracy", files=study('objective = "perplexity"')),
    Case("explore.type", 3, "explore s.toml", files=study("kv = true")),
    Case("explore.type", 3, "explore s.toml", name="list", files=study("kv = [4, 8]")),
    Case("explore.type", 3, "explore s.toml", name="single", files=study("", '"adc.per_array" = 4')),
    Case("explore.value", 3, "explore s.toml", files=study("", '"adc.per_array" = [4, 0]')),
    Case("explore.value", 3, "explore s.toml", name="word", files=study("", 'map = ["linaer"]')),
    Case("explore.value", 3, "explore s.toml", name="constraint", files=study('constraint = "area_mm2 = 5"')),
    Case("explore.conflict", 3, "explore s.toml", files=study("compression = 4", "blocks = [2, 4]")),
    Case("explore.conflict", 3, "explore s.toml", name="twice", files=study("kv = 4", "kv = [4, 8]")),
    Case("explore.conflict", 3, "explore s.toml", name="mode", files=study('mode = "encode"', "kv = [4, 8]")),
    Case("explore.empty-range", 3, "explore s.toml", files=study("", "kv = []")),
    Case("explore.empty-range", 3, "explore s.toml", name="bounds", files=study("", "kv = {from = 8, to = 4, step = 1}")),
    Case("explore.duplicate", 3, "explore s.toml", files=study("", '"array.settle_ns" = [8, 4, 8.0]')),
    Case("explore.unit", 3, "explore s.toml", files=study('constraint = ["area_mm2 <= 5", "latency < 10"]')),
    Case("explore.unit", 3, "explore s.toml", name="other", files=study('objective = ["min latency_us"]')),
    Case("explore.unit", 3, "explore s.toml", name="key", files=study("", '"array.settle" = [1, 2]')),
    Case("explore.unit", 3, "explore s.toml", name="value", files=study("", '"array.settle_ns" = ["10ns"]')),
    Case("explore.unit", 3, "explore s.toml", name="constraint", files=study('constraint = "latency_ns <= 10us"')),
    Case("explore.unknown-metric", 3, "explore s.toml", files=study('constraint = "utilization >= 0.5"')),
    Case("explore.contradiction", 3, "explore s.toml", files=study('constraint = ["area_mm2 < 1",\n  "area_mm2 > 2"]')),
    Case("explore.contradiction", 3, "explore s.toml", name="impossible", files=study('constraint = "utilisation > 1"')),
    Case("explore.budget", 3, "explore s.toml", files=study("budget = 0")),
    Case("explore.too-many-points", 3, "explore s.toml",
         files=study("", "kv = {from = 1, to = 2000, step = 1}\n\"array.settle_ns\" = {from = 0, to = 999, step = 1}")),
    Case("explore.accuracy", 3, "explore s.toml", files=study("", 'map = ["linear"]\n[accuracy]\ntext = "t.txt"', **{"t.txt": "a"})),
    Case("model.unknown", 3, "explore s.toml", name="study", files={"s.toml": '[study]\nmodel = ["bert-large", "bert-lrage"]\n'}),
    Case("explore.shard", 2, "explore s.toml --shard 5/4", files=study("")),
    Case("explore.exists", 2, "explore s.toml", files=study(""), needs_compile="explore s.toml -q"),
    Case("explore.exists", 2, "explore merge t.db t.db -o t.db", name="merge", files=study(""), needs_compile="explore s.toml -o t.db -q"),
    Case("explore.value", 3, "explore s.toml", name="sliver", files=study("", 'sliver = ["auto", 0]')),
    Case("explore.value", 3, "explore s.toml", name="sliver-word", files=study("", 'sliver = ["auto", "hole"]')),
    Case("explore.other-study", 3, "explore s.toml -o t.db --resume --seed 2", files=study(""), needs_compile="explore s.toml -o t.db -q"),
    Case("explore.no-database", 6, "explore export s.db"),
    Case("explore.database", 3, "explore export s.db", files={"s.db": "no database, but a file of some length" * 40}),
    Case("explore.database", 6, "explore s.toml -o nowhere/s.db", name="folder", files=study("")),
    Case("cli.arguments", 2, "explore export s.db --resume", name="explore"),
]
