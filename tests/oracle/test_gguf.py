"""Whole GGUF models through the program: `project --structure dense -o` writes the weights that danaus read, and the Python package gguf
reads the same file. Every bit must agree. Without the package (pip install gguf) these tests are skipped; the committed figures of
tests/unit/model/quantised_test.cpp remain.
"""

import pathlib
import sys

import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/golden"))
import safetensors_file  # noqa: E402

gguf = pytest.importorskip("gguf", reason="the Python package gguf is not installed")
import gguf_types  # noqa: E402

SMOLLM2 = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"


def compare(danaus, model, folder, expected_operators):
    danaus("project", model, "--structure", "dense", "-o", folder / "weights.safetensors", "-q")
    ours = safetensors_file.unpack((folder / "weights.safetensors").read_bytes())
    assert len(ours) == expected_operators
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(model).tensors}
    for name, values in ours.items():
        reference = gguf_types.values_of_tensor(tensors[name.removesuffix(".W") + ".weight"])
        assert values.shape == reference.shape, name
        assert numpy.array_equal(values.view(numpy.uint32), reference.view(numpy.uint32)), name


def write_llama(path, name, generator):
    """A llama of one layer, hidden 256, 512 in its feed-forward part, all matrices of one type."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(512)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    for tensor, rows, columns in [("token_embd", 8, 256), ("blk.0.attn_q", 256, 256), ("blk.0.attn_k", 128, 256), ("blk.0.attn_v", 128, 256),
                                  ("blk.0.attn_output", 256, 256), ("blk.0.ffn_gate", 512, 256), ("blk.0.ffn_up", 512, 256),
                                  ("blk.0.ffn_down", 256, 512)]:
        gguf_types.add_tensor(writer, f"{tensor}.weight", name, gguf_types.random_tensor(name, rows, columns, generator))
    for tensor in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]:
        writer.add_tensor(f"{tensor}.weight", numpy.ones(256, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("name", gguf_types.TYPES)
def test_every_type(danaus, tmp_path, name):
    write_llama(tmp_path / "m.gguf", name, numpy.random.default_rng(gguf_types.TYPES.index(name)))
    compare(danaus, tmp_path / "m.gguf", tmp_path, 7)


@pytest.mark.skipif(not SMOLLM2.is_file(), reason="the model is not there (make models)")
def test_a_real_model(danaus, tmp_path):
    compare(danaus, SMOLLM2, tmp_path, 210)


def test_the_committed_file_is_what_the_script_writes(tmp_path, capsys):
    gguf_types.main(str(tmp_path / "quantised.gguf"))
    assert (tmp_path / "quantised.gguf").read_bytes() == (ROOT / "tests/data/gguf/quantised.gguf").read_bytes()
    test = (ROOT / "tests/unit/model/quantised_test.cpp").read_text()
    for line in capsys.readouterr().out.splitlines():
        name, _, checksum = line.strip("{},").split(", ")
        assert f"{name}, " in test and f"{checksum}}}" in test


def test_types_and_their_numbers_are_those_of_the_package():
    source = (ROOT / "src/danaus/model/gguf.cpp").read_text()
    for kind in gguf.GGMLQuantizationType:
        assert f'{{{int(kind)}, "{kind.name}", ' in source
