"""Projection of real weights from the command line, with errors that are known in closed form."""

import math

import numpy
import pytest

import safetensors_file

IDENTITY = numpy.eye(4, dtype=numpy.float32)


@pytest.fixture
def identity(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors_file.pack({"w": IDENTITY}))
    return path


def test_relative_error(danaus, identity):
    # The slices of I by 2 x 2 blocks are I, 0, 0, I: rank 1 keeps half of each I.
    document = danaus.json("project", identity, "--blocks", "2")
    layer, = document["layers"]
    assert layer["relative_error"] == pytest.approx(math.sqrt(2 / 4))
    assert (layer["k"], layer["l"], layer["r"], layer["parameters"]) == (2, 2, 1, 16)
    assert document["total"]["relative_error"] == layer["relative_error"]
    ran = danaus.json("run", identity, "--blocks", "2", "--chip", "unit", "--map", "linear,sparse")["results"]
    assert [result["relative_error"] for result in ran] == [None, layer["relative_error"]]


def test_no_error_skips_the_projection(danaus, identity):
    result, = danaus.json("run", identity, "--blocks", "2", "--chip", "unit", "--map", "sparse", "--no-error")["results"]
    assert result["relative_error"] is None


def test_factors_multiply_to_the_best_approximation(danaus, tmp_path):
    weights = numpy.random.default_rng(1).standard_normal((6, 8)).astype(numpy.float32)
    (tmp_path / "m.safetensors").write_bytes(safetensors_file.pack({"w": weights, "v": weights}))
    danaus("project", "m.safetensors", "--blocks", "2x3:1", "--only", "w", "-o", "f.safetensors", "-q", cwd=tmp_path)
    factors = safetensors_file.unpack((tmp_path / "f.safetensors").read_bytes())
    assert sorted(factors) == ["w.L", "w.R"]
    right, left = factors["w.R"], factors["w.L"]          # {k, l*r, in_block}, {l, out_block, k*r}
    for i in range(3):
        for j in range(2):
            best = weights[2 * i:2 * i + 2, 4 * j:4 * j + 4]
            u, s, v = numpy.linalg.svd(best)
            ours = numpy.outer(left[i, :, j], right[j, i, :])
            assert ours == pytest.approx(s[0] * numpy.outer(u[:, 0], v[0]), abs=1e-5)
