"""The chip ibm-3dcim against IBM's 3D-CiM-LLM-Inference-Simulator: its own results, unmodified sources on a CPU.

tests/data/ibm_3dcim.json has named runs, tests/data/ibm_3dcim_random.json drawn ones (tests/oracle/make_ibm_3dcim_figures.py made
them). Times, bytes and operations are exact; energies are sums of floating point numbers there.
"""

import json

import pytest

from conftest import ROOT

ORACLES = json.loads((ROOT / "tests/data/ibm_3dcim.json").read_text())
DRAWN = json.loads((ROOT / "tests/data/ibm_3dcim_random.json").read_text())


def shape_file(folder, family, hidden, layers, activation, vocab, context, ffn=None):
    path = folder / "shape.toml"
    path.write_text(f'''name = "shape"
family = "{family}"
layers = {layers}
hidden = {hidden}
ffn = {ffn or 4 * hidden}
heads = {max(1, hidden // 64)}
vocab = {vocab}
context = {context}
activation = "{activation}"
''')
    return path


def run(danaus, shape, *arguments):
    document = danaus.json("run", shape, "--chip", "ibm-3dcim", *arguments)
    result, = document["results"]
    assert result["map"] == "linear" and "program" not in result
    return result


def expect(result, figures):
    assert result["latency_ns"] == figures["latency_ns"]
    assert result["energy_nj"] == pytest.approx(figures["energy_nj"], rel=1e-9)
    assert result["peak_buffer_bytes"] == figures["peak_buffer_bytes"]
    assert result["flops"] == figures.get("flops", result["flops"])
    assert sum(result["breakdown_ns"].values()) == pytest.approx(result["latency_ns"])
    assert sum(result["breakdown_nj"].values()) == pytest.approx(result["energy_nj"])


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: f"{oracle['latency_ns']}ns")
def test_named_run(danaus, tmp_path, oracle):
    expect(run(danaus, shape_file(tmp_path, **oracle["shape"]), *oracle["arguments"]), oracle)


@pytest.mark.parametrize("number", range(len(DRAWN)))
def test_drawn_run(danaus, tmp_path, number):
    case = DRAWN[number]
    settings = {"array.rows": case["rows"], "array.cols": case["cols"], "chip.arrays": case["arrays"], "chip.tiers": case["tiers"],
                "chip.one_tier_at_a_time": str(case["one_tier_at_a_time"]).lower(), "digital.units": case["digital_units"],
                "attention.units": case["attention_units"], "array.settle_ns": case["mvm_ns"],
                "network.topology": "flat" if case["communication"] else "ideal"}
    arguments = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    if case["shape"]["family"] == "gpt2":
        arguments += ["--mode", "generate", "--prompt", case["prompt"]] + ([] if case["kv_cache"] else ["--no-kv-cache"])
    else:
        arguments += ["--mode", "encode"]
    arguments += ["--tokens", case["tokens"], "--sequences", case["sequences"]]
    expect(run(danaus, shape_file(tmp_path, **case["shape"]), *arguments), case)


def test_bert_large_of_512_tokens(danaus):
    """9 million operations. Each layer waits for the digital units: 159 operations of 10 ns and two norms of 50 ns per token."""
    result = run(danaus, "bert-large", "--mode", "encode", "--tokens", "512")
    assert result["activations"] == 24 * 192
    per_token = 24 * (159 * 10 + 2 * 50)
    assert 512 * per_token / 4 < result["latency_ns"] < 1.01 * 512 * per_token / 4


def test_modes(danaus, tmp_path):
    encoder = shape_file(tmp_path, "bert", 256, 1, "relu", 512, 512)
    assert run(danaus, encoder)["latency_ns"] == run(danaus, encoder, "--mode", "encode", "--tokens", "1")["latency_ns"] == 623
    document = danaus.json("run", "gpt2-medium", "--chip", "ibm-3dcim", "--mode", "generate", "--prompt", "3", "--tokens", "5",
                           "--sequences", "2")
    assert (document["mode"], document["tokens"], document["sequences"]) == ("generate", 5, 2)
    assert document["generation"] == {"prompt": 3, "kv_cache": True}
    table = danaus("run", "gpt2-medium", "--chip", "ibm-3dcim", "--mode", "generate", "--tokens", "3")[0]
    assert "from 1 to 3 tokens, with a KV cache" in table and "Scheduled by list" in table


def test_a_cache_of_keys_and_values_takes_power(danaus):
    """Beside the units' 5 W, 0.1297 W; and every pass after the first has one token."""
    arguments = ("gpt2-medium", "--mode", "generate", "--prompt", "2", "--tokens", "5")
    cached, not_cached = run(danaus, *arguments), run(danaus, *arguments, "--no-kv-cache")
    assert cached["breakdown_nj"]["passive"] == pytest.approx(5.1297 * cached["latency_ns"])
    assert not_cached["breakdown_nj"]["passive"] == pytest.approx(5 * not_cached["latency_ns"])
    tokens = lambda result: result["counts"]["activations"]
    # Per token 24 layers of 192 parts and the embedding's 4; the head's 4 * 197 once a pass.
    assert tokens(cached) == (2 + 1 + 1) * (24 * 192 + 4) + 3 * 4 * 197
    assert tokens(not_cached) == (2 + 3 + 4) * (24 * 192 + 4) + 3 * 4 * 197
