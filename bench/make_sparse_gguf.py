#!/usr/bin/env python3
"""A GGUF file of a llama shape in full size that takes no space: its weights are holes, that is zeros, which is legal in every type.

usage: bench/make_sparse_gguf.py [--shape shapes/llama-7b.toml] [--type F16|Q4_K_M|...] [--random GLOB] -o FILE.gguf

`--type` is a type of tensors for all matrices, or the mixture Q4_K_M as llama-quantize chooses it. The tensors whose names match a GLOB
(repeatable; '*' = all) get random weights instead, Gaussian of deviation 0.02 in F32 and F16, random blocks with a scale of that size in the
quantised types; they take their space. The same arguments make the same file.
"""
import argparse
import fnmatch
import pathlib
import struct
import tomllib
import zlib

import numpy

ALIGNMENT = 32
# Type: number, elements and bytes of a block, places of half-precision scale and minimum, largest integer of an element and of a scale.
TYPES = {"F32": (0, 1, 4, None), "F16": (1, 1, 2, None), "Q4_0": (2, 32, 18, ([0], 8)), "Q4_1": (3, 32, 20, ([0, 2], 15)),
         "Q5_0": (6, 32, 22, ([0], 16)), "Q5_1": (7, 32, 24, ([0, 2], 31)), "Q8_0": (8, 32, 34, ([0], 128)),
         "Q2_K": (10, 256, 84, ([80, 82], 3 * 15)), "Q3_K": (11, 256, 110, ([108], 4 * 32)), "Q4_K": (12, 256, 144, ([0, 2], 15 * 63)),
         "Q5_K": (13, 256, 176, ([0, 2], 31 * 63)), "Q6_K": (14, 256, 210, ([208], 32 * 128))}
DEVIATION = 0.02
CHUNK = 1 << 22  # elements made at a time


def type_of(wanted, name, layer, layers):
    """The type of a matrix in a file of the wanted kind."""
    if wanted != "Q4_K_M":
        return wanted
    more_bits = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    if name == "output.weight" or (name.endswith(("attn_v.weight", "ffn_down.weight")) and more_bits):
        return "Q6_K"
    return "Q4_K"


def tensors_of(shape, wanted):
    """(name, sizes with the fastest first, type) of a llama model."""
    hidden, ffn, layers = shape["hidden"], shape["ffn"], shape["layers"]
    kv = hidden // shape["heads"] * shape.get("kv_heads", shape["heads"])
    yield "token_embd.weight", (hidden, shape["vocab"]), type_of(wanted, "token_embd.weight", 0, layers)
    for layer in range(layers):
        for part, sizes in [("attn_norm", (hidden,)), ("attn_q", (hidden, hidden)), ("attn_k", (hidden, kv)), ("attn_v", (hidden, kv)),
                            ("attn_output", (hidden, hidden)), ("ffn_norm", (hidden,)), ("ffn_gate", (hidden, ffn)), ("ffn_up", (hidden, ffn)),
                            ("ffn_down", (ffn, hidden))]:
            name = f"blk.{layer}.{part}.weight"
            yield name, sizes, "F32" if len(sizes) == 1 else type_of(wanted, name, layer, layers)
    yield "output_norm.weight", (hidden,), "F32"
    if not shape.get("tied_embeddings", False):
        yield "output.weight", (hidden, shape["vocab"]), type_of(wanted, "output.weight", 0, layers)


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def metadata(shape, stem):
    def number(key, value):
        return text(key) + struct.pack("<II", 4, value)

    def real(key, value):
        return text(key) + struct.pack("<If", 6, value)

    return [text("general.architecture") + struct.pack("<I", 8) + text("llama"), text("general.name") + struct.pack("<I", 8) + text(stem),
            number("llama.block_count", shape["layers"]), number("llama.context_length", shape["context"]),
            number("llama.embedding_length", shape["hidden"]), number("llama.feed_forward_length", shape["ffn"]),
            number("llama.attention.head_count", shape["heads"]),
            number("llama.attention.head_count_kv", shape.get("kv_heads", shape["heads"])),
            real("llama.attention.layer_norm_rms_epsilon", shape["epsilon"]), real("llama.rope.freq_base", shape.get("theta", 10000.0))]


def random_bytes(kind, elements, generator):
    """Weights of deviation DEVIATION, near enough, as the type stores them."""
    _, block, size, scales = TYPES[kind]
    if scales is None:
        values = generator.standard_normal(elements, dtype=numpy.float32) * numpy.float32(DEVIATION)
        return values.astype({"F32": "<f4", "F16": "<f2"}[kind])
    places, largest = scales
    blocks = generator.integers(0, 256, (elements // block, size), dtype=numpy.uint8)
    for place, unit in zip(places, (4 * DEVIATION / largest, DEVIATION / 63)):
        halves = (unit * generator.uniform(0.5, 1, len(blocks))).astype("<f2")
        blocks[:, place:place + 2] = halves.view(numpy.uint8).reshape(-1, 2)
    return blocks


def write(path, shape, wanted, globs=()):
    tensors = []
    offset = 0
    for name, sizes, kind in tensors_of(shape, wanted):
        number, block, size, _ = TYPES[kind]
        if sizes[0] % block != 0:
            raise SystemExit(f"make_sparse_gguf: rows of {sizes[0]} elements ({name}) are not whole blocks of {kind}")
        elements = sizes[0] * (sizes[1] if len(sizes) == 2 else 1)
        tensors.append((name, sizes, kind, number, elements, offset))
        offset += -(-elements // block * size // ALIGNMENT) * ALIGNMENT
    entries = metadata(shape, pathlib.Path(path).stem)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries)
    for name, sizes, _, number, _, start in tensors:
        header += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, number, start)
    data = -(-len(header) // ALIGNMENT) * ALIGNMENT
    with open(path, "wb") as file:
        file.write(header)
        for name, _, kind, _, elements, start in tensors:
            if not any(fnmatch.fnmatchcase(name, glob) for glob in globs):
                continue
            file.seek(data + start)
            generator = numpy.random.default_rng(zlib.crc32(name.encode()))
            for first in range(0, elements, CHUNK):
                file.write(random_bytes(kind, min(CHUNK, elements - first), generator).tobytes())
        file.truncate(data + offset)


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=pathlib.Path, default=root / "shapes/llama-7b.toml")
    parser.add_argument("--type", default="F16", choices=[*TYPES, "Q4_K_M"])
    parser.add_argument("--random", action="append", default=[], metavar="GLOB")
    parser.add_argument("-o", "--output", required=True)
    arguments = parser.parse_args()
    write(arguments.output, tomllib.loads(arguments.shape.read_text()), arguments.type, arguments.random)


if __name__ == "__main__":
    main()
