"""Figures of whole models on the chip `unit`, from closed formulas: every number below can be worked out by hand.

The unit chip has 256 x 256 arrays with 32 ADCs, an ideal network, and times zero but settle = 10 ns and 1 ns per ADC round.
"""

import math

import pytest

from conftest import ROOT

SMOLLM2 = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
UNIT = ("--chip", "unit", "--mode", "decode", "--share-inputs", "off")


def one(danaus, model, map_name, *options):
    result, = danaus.json("run", model, *UNIT, "--map", map_name, "--no-error", *options)["results"]
    assert result["map"] == map_name
    return result


def expect(result, **figures):
    for key, value in figures.items():
        assert result[key] == (pytest.approx(value, abs=6e-4) if key == "utilisation" else value), key


# bert-large: 24 layers of 4 matrices 1024x1024 and 2 of 1024x4096. Linear: (4*16 + 2*64) arrays a layer; per token and layer
# 6 dependent steps (q, k, v in parallel: 4 stages) of one activation with 8 rounds: 24 * 4 * (10 + 8) ns.
def test_bert_large_linear(danaus):
    expect(one(danaus, "bert-large", "linear"), structure="dense", blocks="", arrays=4608, parameters=301989888, macs=301989888,
           conversions=1179648, utilisation=1.0, linear_latency_ns=1728)


def test_bert_large_sparse_32(danaus):
    expect(one(danaus, "bert-large", "sparse", "--blocks", "32"), structure="monarch", blocks="32x32:1", arrays=1728,
           parameters=14155776, conversions=368640, utilisation=0.125, linear_latency_ns=3312)


def test_bert_large_dense_32(danaus):
    result = one(danaus, "bert-large", "dense", "--blocks", "32")
    expect(result, parameters=14155776, conversions=368640)
    assert result["bound"]["arrays"] == 216
    assert 216 <= result["arrays"] <= 220
    assert result["utilisation"] >= 0.98


@pytest.mark.parametrize("map_name, arrays", [("linear", 4608), ("sparse", 2304)])
def test_bert_large_padded_square(danaus, map_name, arrays):
    expect(one(danaus, "bert-large", map_name, "--pad", "square"), arrays=arrays)


SMOLLM2_FIGURES = [
    ("linear", (), dict(arrays=2340, parameters=106168320, conversions=518400, utilisation=0.692, linear_latency_ns=2160)),
    ("sparse", ("--blocks", "24"),
     dict(arrays=1530, parameters=7326720, conversions=276480, utilisation=0.073, linear_latency_ns=4170)),
]


@pytest.mark.parametrize("map_name, options, figures", SMOLLM2_FIGURES)
def test_smollm2_shape(danaus, map_name, options, figures):
    expect(one(danaus, "smollm2-135m", map_name, *options), **figures)


@pytest.mark.skipif(not SMOLLM2.is_file(), reason="make models")
@pytest.mark.parametrize("map_name, options, figures", SMOLLM2_FIGURES)
def test_smollm2_file(danaus, map_name, options, figures):
    expect(one(danaus, SMOLLM2, map_name, *options), **figures)


@pytest.mark.parametrize("chip", ["unit", "pcm-14nm"])
def test_parts_sum_to_totals(danaus, chip):
    document = danaus.json("run", "smollm2-135m", "--chip", chip, "--map", "linear,sparse,dense")
    for result in document["results"]:
        assert sum(result["breakdown_ns"].values()) == result["latency_ns"]
        assert sum(result["breakdown_nj"].values()) == result["energy_nj"]
        assert result["energy_active_nj"] + result["breakdown_nj"]["passive"] == result["energy_nj"]
        assert result["throughput_tokens_per_s"] == pytest.approx(1e9 / result["latency_ns"])
        assert result["linear_latency_ns"] <= result["latency_ns"]
        cells = result["arrays"] * 256 * 256
        assert result["utilisation"] == pytest.approx(result["parameters"] / cells)
        assert result["bound"]["arrays"] == math.ceil(result["parameters"] / 65536)
        assert math.isfinite(result["area_mm2"])
        assert result["program"]["proof_tokens"] == 1
