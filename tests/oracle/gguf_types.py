"""GGUF tensors of every type with random blocks, read by the Python package gguf: the oracle of danaus's dequantisation.

    pip install gguf numpy
    python tests/oracle/gguf_types.py tests/data/gguf/quantised.gguf

writes the committed file anew and prints the figures of tests/unit/model/quantised_test.cpp. The bytes come from a fixed seed, so the file
does not change. Scales and minima are finite half-precision numbers of either sign, subnormal ones and zeros among them; all other bytes
are anything at all.

A line is a tensor, its first element and a checksum over all its elements as binary32: sum over n of (n + 1) * bits(element n), modulo 2^64.
"""

import sys

import gguf
import numpy

TYPES = ["F32", "F16", "BF16", "F64", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
# Where the half-precision scales and minima lie in a block (ggml-common.h of github.com/ggml-org/ggml).
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208]}


def random_tensor(name, rows, columns, generator):
    """The bytes of a tensor as rows of uint8."""
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if name not in SCALES:
        values = (generator.standard_normal((rows, columns)) * 10.0 ** generator.integers(-6, 3, (rows, columns))).astype(numpy.float32)
        if name == "F64":
            return values.astype(numpy.float64).view(numpy.uint8)
        return numpy.ascontiguousarray(gguf.quants.quantize(values, kind)).view(numpy.uint8)
    blocks = generator.integers(0, 256, (rows * columns // elements, size), dtype=numpy.uint8)
    for offset in SCALES[name]:
        half = (generator.standard_normal(len(blocks)) * 10.0 ** generator.integers(-6, 1, len(blocks))).astype(numpy.float16)
        half[1::7] = numpy.float16(-0.0)
        blocks[:, offset:offset + 2] = half.view(numpy.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def values_of(tensor_bytes, name):
    """The reference: what the package makes of the bytes, as float32."""
    if name == "F64":
        return numpy.ascontiguousarray(tensor_bytes).view(numpy.float64).astype(numpy.float32)
    return gguf.quants.dequantize(tensor_bytes, gguf.GGMLQuantizationType[name])


def values_of_tensor(tensor):
    """The same for a tensor of a GGUFReader, which gives some types as numbers and others as bytes."""
    if tensor.data.dtype == numpy.uint8:
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return tensor.data.astype(numpy.float32)


def add_tensor(writer, tensor_name, name, tensor_bytes):
    writer.add_tensor(tensor_name, tensor_bytes, raw_dtype=gguf.GGMLQuantizationType[name])


def checksum_of(values):
    bits = numpy.ascontiguousarray(values).reshape(-1).view(numpy.uint32).astype(numpy.uint64)
    return (bits * numpy.arange(1, bits.size + 1, dtype=numpy.uint64)).sum(dtype=numpy.uint64)


def main(path):
    generator = numpy.random.default_rng(20)
    writer = gguf.GGUFWriter(path, "none")
    for name in TYPES:
        add_tensor(writer, name, name, random_tensor(name, 2, 512, generator))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for tensor in gguf.GGUFReader(path).tensors:
        values = values_of_tensor(tensor)
        print(f'{{"{tensor.name}", {float(values.reshape(-1)[0]).hex()}, {checksum_of(values):#018x}}},')


if __name__ == "__main__":
    main(*sys.argv[1:])
