"""`danaus project` against numpy: the factor file, its layout, and the optimum of the family by numpy's SVD.

DANAUS names the program (default build/danaus; all is skipped when it is not built).
"""
import json
import os
import struct
import subprocess
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
DANAUS = Path(os.environ.get("DANAUS", ROOT / "build" / "danaus"))
pytestmark = pytest.mark.skipif(not DANAUS.is_file(), reason=f"{DANAUS} is not built")


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in tensors.values()))


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        tensors[name] = numpy.frombuffer(data[8 + length + first : 8 + length + last], "<f4").reshape(entry["shape"])
    return tensors, metadata


def padded_slices(weights, k, l):
    """Array (l, k, s, p) of the zero-padded slices."""
    out, width = weights.shape
    s, p = -(-out // l), -(-width // k)
    padded = numpy.zeros((l * s, k * p))
    padded[:out, :width] = weights
    return padded.reshape(l, s, k, p).swapaxes(1, 2)


def optimum(weights, k, l, r):
    sigma = numpy.linalg.svd(padded_slices(weights, k, l), compute_uv=False)
    return float(numpy.sqrt((sigma[..., r:] ** 2).sum()))


def member(right, left, shape, r):
    """M from the tensors R {k, l r, p} and L {l, s, k r}: L's column of block i is (rho, j)."""
    k, _, p = right.shape
    l, s, _ = left.shape
    u = left.astype(float).reshape(l, s, r, k)
    v = right.astype(float).reshape(k, l, r, p)
    dense = numpy.einsum("isrj,jirp->isjp", u, v).reshape(l * s, k * p)
    assert not dense[shape[0] :].any() and not dense[:, shape[1] :].any()
    return dense[: shape[0], : shape[1]]


@pytest.mark.parametrize("blocks", [(4, 4, 1), (7, 5, 2), (1, 1, 9), (16, 8, 3), (70, 3, 1)])
def test_projection_is_optimal(tmp_path, blocks):
    k, l, r = blocks
    generator = numpy.random.default_rng(k * 100 + l)
    weights = {
        "wide": generator.standard_normal((61, 144)),
        "tall": generator.standard_normal((160, 53)) * 1e-20,
        "steep": generator.standard_normal((64, 64)) * numpy.logspace(0, -6, 64),
    }
    weights = {name: array.astype("<f4") for name, array in weights.items()}
    write_safetensors(tmp_path / "model.safetensors", weights)
    run = subprocess.run(
        [DANAUS, "project", tmp_path / "model.safetensors", "--blocks", f"{k}x{l}:{r}", "-o", tmp_path / "f.safetensors", "--json"],
        capture_output=True, text=True, check=False,
    )
    assert run.returncode == 0, run.stderr
    layers = {layer["name"]: layer for layer in json.loads(run.stdout)["layers"]}
    tensors, metadata = read_safetensors(tmp_path / "f.safetensors")
    described = {entry["name"]: entry for entry in json.loads(metadata["danaus.factors"])["operators"]}
    assert set(layers) == set(described) == set(weights)
    for name, array in weights.items():
        exact = array.astype(float)
        norm = numpy.linalg.norm(exact)
        error = numpy.linalg.norm(exact - member(tensors[f"{name}.R"], tensors[f"{name}.L"], array.shape, r))
        best = optimum(exact, k, l, r)
        assert error**2 <= (best * (1 + 1e-6)) ** 2 + 1e-12 * norm**2, name
        assert layers[name]["relative_error"] == pytest.approx(error / norm, rel=1e-5, abs=1e-7)
        assert (layers[name]["k"], layers[name]["l"], layers[name]["r"]) == (k, l, r)
        assert layers[name]["parameters"] == tensors[f"{name}.R"].size + tensors[f"{name}.L"].size
