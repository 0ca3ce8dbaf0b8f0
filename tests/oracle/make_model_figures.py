"""Prints the figures of tests/unit/model/real_models_test.cpp, made with independent readers.

    pip install gguf safetensors numpy
    python make_model_figures.py models/SmolLM2-135M-Instruct.Q4_1.gguf models/all-MiniLM-L6-v2/model.safetensors

Each line is a tensor, its first element and a checksum over all its elements as binary32:
sum over n of (n + 1) * bits(element n), modulo 2^64. It depends on every bit and every position.
"""

import sys

import gguf
import numpy
import safetensors.numpy

GGUF_TENSORS = [
    "token_embd.weight",
    "blk.0.attn_q.weight",
    "blk.0.attn_k.weight",
    "blk.0.attn_norm.weight",
    "blk.14.ffn_gate.weight",
    "blk.29.ffn_down.weight",
    "output_norm.weight",
]
SAFETENSORS_TENSORS = [
    "embeddings.position_embeddings.weight",
    "encoder.layer.0.attention.self.query.weight",
    "encoder.layer.5.output.dense.bias",
]


def print_figures(name, values):
    values = numpy.ascontiguousarray(values, dtype=numpy.float32)
    bits = values.reshape(-1).view(numpy.uint32).astype(numpy.uint64)
    checksum = (bits * numpy.arange(1, bits.size + 1, dtype=numpy.uint64)).sum(dtype=numpy.uint64)
    print(f'{{"{name}", {"x".join(map(str, values.shape))}, {float(values.reshape(-1)[0]).hex()}, {checksum:#018x}}}')


def main(gguf_path, safetensors_path):
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(gguf_path).tensors}
    for name in GGUF_TENSORS:
        print_figures(name, gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type))
    tensors = safetensors.numpy.load_file(safetensors_path)
    for name in SAFETENSORS_TENSORS:
        print_figures(name, tensors[name])


if __name__ == "__main__":
    main(*sys.argv[1:])
