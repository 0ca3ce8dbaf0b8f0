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


# Gathered by 8 in groups of 32: blocks of 128x32, and of 512x32 in two row tiles, all of them exactly 1/8 of the cells. Conversions: the
# outputs, those of the second feed-forward matrix twice. Sparse: two blocks of 128x32 or one of 256x32 an array, one round of 4 a stage.
GATHER = ("--structure", "gather", "--compression", "8", "--group", "32")


def test_bert_large_gathered_sparse(danaus):
    expect(one(danaus, "bert-large", "sparse", *GATHER), structure="gather", blocks="group 32", parameters=37748736, macs=37748736,
           arrays=24 * (4 * 16 + 64 + 64), conversions=24 * (4 * 1024 + 4096 + 2 * 1024))


def test_bert_large_gathered_striped(danaus):
    """Four stages of one window and one round of 8 (SAR: bits + 1) on an eighth of the arrays: more than 8 times faster than linear."""
    chip = [part for key in ("input.time_ns=10", "array.settle_ns=10", "adc.kind=sar", "adc.step_ns=1", "adc.per_array=8")
            for part in ("--set", key)]
    linear = one(danaus, "bert-large", "linear", *chip)
    striped = one(danaus, "bert-large", "striped", *GATHER, *chip)
    expect(striped, arrays=576, utilisation=1.0, conversions=245760, linear_latency_ns=24 * (3 * (20 + 8) + 20 + 9))
    assert linear["linear_latency_ns"] >= 8 * striped["linear_latency_ns"] and linear["arrays"] >= 7.5 * striped["arrays"]


def test_bert_large_dense_32(danaus):
    result = one(danaus, "bert-large", "dense", "--blocks", "32")
    expect(result, parameters=14155776, conversions=368640)
    assert result["bound"]["arrays"] == 216
    assert 216 <= result["arrays"] <= 220
    assert result["utilisation"] >= 0.98


@pytest.mark.parametrize("map_name, arrays", [("linear", 4608), ("sparse", 2304)])
def test_bert_large_padded_square(danaus, map_name, arrays):
    expect(one(danaus, "bert-large", map_name, "--pad", "square"), arrays=arrays)


# gpt2-medium has the linear operators of bert-large: 24 layers of q, k, v, o 1024x1024, up and down 1024x4096.
def test_gpt2_medium_linear(danaus):
    expect(one(danaus, "gpt2-medium", "linear"), structure="dense", blocks="", arrays=24 * (4 * 16 + 2 * 64),
           parameters=24 * (4 * 1024**2 + 2 * 1024 * 4096), macs=301989888, conversions=1179648, utilisation=1.0, linear_latency_ns=1728)


def test_gpt2_medium_sparse_32(danaus):
    expect(one(danaus, "gpt2-medium", "sparse", "--blocks", "32"), structure="monarch", blocks="32x32:1", arrays=1728,
           parameters=14155776, conversions=368640, utilisation=0.125, linear_latency_ns=3312)


def test_gpt2_medium_dense_32(danaus):
    result = one(danaus, "gpt2-medium", "dense", "--blocks", "32")
    expect(result, parameters=14155776, conversions=368640)
    assert result["bound"]["arrays"] == 216
    assert 216 <= result["arrays"] <= 220


# bart-large: 12 encoder layers like bert's and 12 decoder layers with 4 matrices of 1024x1024 more. One decoded token uses the
# decoder without keys and values of the cross-attention, which belong to encoder tokens: 6 of 1024x1024, up and down; 6 dependent
# steps a layer (q, k, v side by side; o; q and o of the cross-attention; up; down).
def test_bart_large_linear(danaus):
    parameters = 12 * (4 * 1024**2 + 2 * 1024 * 4096) + 12 * (8 * 1024**2 + 2 * 1024 * 4096)
    expect(one(danaus, "bart-large", "linear"), structure="dense", arrays=5376, parameters=parameters, macs=12 * (6 * 1024**2 + 2 * 1024 * 4096),
           conversions=12 * (6 * 16 + 2 * 64) * 256, utilisation=1.0, linear_latency_ns=12 * 6 * (10 + 8))


# Blocks 32: an operator 1024x1024 has 2 * 32 * 32 * 32 parameters and 2 * 1024 conversions on 8 arrays; up and down together 327680,
# 7168 and 40.
def test_bart_large_sparse_32(danaus):
    expect(one(danaus, "bart-large", "sparse", "--blocks", "32"), arrays=12 * (4 * 8 + 40) + 12 * (8 * 8 + 40),
           parameters=12 * (4 * 65536 + 327680) + 12 * (8 * 65536 + 327680), conversions=12 * (6 * 2048 + 7168))


def test_bart_large_encodes(danaus):
    result, = danaus.json("run", "bart-large", "--chip", "unit", "--mode", "encode", "--tokens", "4", "--share-inputs", "off",
                          "--map", "linear", "--no-error")["results"]
    # The encoder, and keys and values of 12 cross-attentions: per token 12 * (4 * 16 + 2 * 64) + 12 * 2 * 16 arrays.
    expect(result, arrays=5376, conversions=(12 * (4 * 16 + 2 * 64) + 24 * 16) * 256)


# mixtral-8x7b, a token: q and o 4096x4096 (256 arrays each), k and v 1024x4096 (64), the router 8x4096 (16 arrays, 8 columns each),
# and 2 of 8 experts of three 14336x4096 (896 each). Steps a layer: q, k, v; o; router (one round); gate and up; down.
def test_mixtral_linear(danaus):
    result = one(danaus, "mixtral-8x7b", "linear")
    expect(result, parameters=32 * (2 * 4096**2 + 2 * 1024 * 4096 + 8 * 4096 + 24 * 14336 * 4096),
           macs=32 * (2 * 4096**2 + 2 * 1024 * 4096 + 8 * 4096 + 2 * 3 * 14336 * 4096),
           conversions=32 * ((2 * 256 + 2 * 64 + 2 * 3 * 896) * 256 + 16 * 8), linear_latency_ns=32 * (4 * 18 + 11))
    assert result["arrays"] == 32 * (2 * 256 + 2 * 64 + 16 + 24 * 896)


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


# bert-large is larger than a chip of 1000 arrays: 24 layers of 192 arrays (q, k, v, o 16 each, up and down 64 each) are 4608.
SMALL_CHIP = ("--set", "chip.arrays=1000")


def test_larger_than_the_chip_is_an_error(danaus):
    stdout, stderr = danaus("run", "bert-large", "--map", "linear", *SMALL_CHIP, code=5)
    assert stdout == ""
    # 5 layers and q, k of the sixth take 5 * 192 + 32 = 992 arrays, so v does not fit.
    assert "needs 4608 arrays, the chip has 1000: a shortfall of 3608" in stderr
    assert "first operator that does not fit: blk.5.attn_v" in stderr
    assert "--chips 5: 5 x 1000 = 5000 arrays" in stderr
    # A pass: 256 rows * 20 cycles * 330 ns = 1.6896 ms. A weight: 4 devices * 20 cycles * 20 pJ, 301989888 of them.
    assert "--reload: 5 passes, at most 5 x 1.69 ms = 8.448 ms and 483.2 mJ to write them" in stderr


def test_larger_than_the_chip_in_passes(danaus):
    result, = danaus.json("run", "bert-large", *UNIT, "--map", "linear", *SMALL_CHIP, "--reload", "--set", "program.iterations=20",
                          "--set", "program.pulse_ns=200", "--set", "program.verify_ns=130", "--set", "program.energy_pj=20",
                          "--set", "array.devices_per_weight=4", "--set", "program.endurance=1e8")["results"]
    expect(result, arrays=4608, arrays_per_chip=1000, chips_used=1, linear_latency_ns=1728 + 5 * 1689600, latency_ns=1728 + 5 * 1689600)
    assert result["breakdown_ns"]["reload"] == 5 * 1689600
    assert result["breakdown_nj"]["reload"] == pytest.approx(301989888 * 4 * 20 * 20e-3)
    assert result["reload"] == {"passes": 5, "writes": 5, "tokens_until_worn_out": 1e8 / (5 * 20)}
    assert result["energy_nj"] == sum(result["breakdown_nj"].values())
    # Encoding writes each pass once, whatever the number of tokens.
    encoded, = danaus.json("run", "bert-base", "--chip", "unit", "--mode", "encode", "--tokens", 16, "--map", "linear", "--set",
                           "chip.arrays=300", "--reload", "--set", "program.iterations=1", "--set", "program.pulse_ns=1000")["results"]
    assert encoded["reload"]["passes"] == encoded["reload"]["writes"] == 5
    # A layer takes q k v 27, o 9, up 36, down 36 arrays. 300 hold 2 layers, q k v, o and up of a third (288); its down, 2 layers, q k v
    # and o (288); up, down and 2 layers (288); again as the first; and the rest.
    assert encoded["breakdown_ns"]["reload"] == 5 * 256 * 1000


# Chips of 960 arrays hold 5 layers each: 4 borders. Over each the residual stream goes twice, to q, k, v and to where the sum with the
# output of o is made, from the 4 tiles of `down` with 256 elements each: 8 messages of 256 * 8 + 32 = 2080 bits over one link.
@pytest.mark.parametrize("gbps, border_ns", [
    # 1.625 ns a message: q, k, v have the first four after 4 * 1.625 + 20 ns; the other four are there before o is done.
    (1280, 26.5),
    # 16.25 ns a message: the last is there after 8 * 16.25 + 20 = 150 ns, later than q, k, v and o after 4 * 16.25 + 20 + 2 * 18.
    (128, 150 - 2 * 18),
])
def test_larger_than_the_chip_on_five_chips(danaus, gbps, border_ns):
    options = ("--chip", "unit", "--map", "linear", "--set", "chip.arrays=960", "--chips", 5, "--set", f"chip.link_gbps={gbps}", "--set",
               "chip.link_latency_ns=20", "--set", "network.header_bits=32", "--set", "chip.link_energy_pj_per_bit=0.5")
    document = danaus.json("run", "bert-large", *options)
    result, = document["results"]
    expect(result, arrays=4608, arrays_per_chip=960, chips_used=5, latency_ns=1728 + 4 * border_ns)
    assert document["chips"] == 5
    assert result["counts"]["link_messages"] == 4 * 8
    assert result["counts"]["link_bits"] == 4 * 8 * 2080
    assert result["breakdown_nj"]["link"] == 4 * 8 * 2080 * 0.5e-3
    assert result["busiest_link_ns"] == pytest.approx(8 * 2080 / gbps)


@pytest.mark.parametrize("options", [("--chips", 3), ("--chips", 2, "--set", "chip.arrays=100", "--reload")])
@pytest.mark.parametrize("map_name", ["linear", "sparse", "dense"])
def test_simulate_gives_the_figures_of_run(danaus, tmp_path, options, map_name):
    arguments = ("smollm2-135m", "--chip", "pcm-14nm", "--map", map_name, *options)
    result, = danaus.json("run", *arguments)["results"]
    danaus("compile", *arguments, "-o", tmp_path / "p.dnx")
    simulated = danaus.json("simulate", tmp_path / "p.dnx")
    for key in ("latency_ns", "linear_latency_ns", "energy_nj", "breakdown_ns", "breakdown_nj", "counts", "busiest_link_ns"):
        assert simulated[key] == result[key], key
    assert sum(result["breakdown_ns"].values()) == result["latency_ns"]
    assert sum(result["breakdown_nj"].values()) == result["energy_nj"]
