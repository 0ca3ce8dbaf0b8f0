"""--map auto where a mixture has to win, and where limits rule everything else out."""

import json

import pytest

from conftest import ROOT

FOLDER = ROOT / "tests/golden/auto"
MAPS = "linear,sparse,dense,dense-diagonal,striped,linear-striped"
CHIP = ["--set", "array.rows=64", "--set", "array.cols=64", "--set", "input.clock_ns=0.1", "--reference", "none"]

# Between the blocks of all operators (40 arrays) and the dense operators (320) on chips with few and with many converters: from 16
# on, dense operators on arrays of their own are faster than blocks, as many of them as the limit allows.
MIXTURES = [(converters, arrays) for converters in (8, 16, 32, 64) for arrays in (120, 200, 280)]


def auto(danaus, *options):
    result, = danaus.json("run", FOLDER / "two.toml", "--map", "auto", *CHIP, *options)["results"]
    return result


@pytest.mark.parametrize("converters,arrays", MIXTURES)
def test_a_limit_of_arrays_forces_a_mixture(danaus, converters, arrays):
    options = ["--set", f"adc.per_array={converters}", "--compression", "8"]
    singles = danaus.json("run", FOLDER / "two.toml", "--map", MAPS, *CHIP, *options)["results"]
    kept = [single["latency_ns"] for single in singles if single["arrays"] <= arrays]
    assert 0 < len(kept) < len(singles)
    result = auto(danaus, "--max-arrays", arrays, *options)
    assert result["arrays"] <= arrays
    assert result["latency_ns"] < min(kept)
    assert result["automatic"]["winner"].startswith("mixture")
    if converters >= 16 and arrays >= 200:
        assert {choice["candidate"] for choice in result["automatic"]["choices"]} == {"dense", "given"}


@pytest.mark.parametrize("arrays", [120, 200])
def test_a_limit_of_the_error_forces_a_mixture(danaus, arrays):
    # No structure for all operators keeps to an error of 3; the dense operators need 320 arrays.
    options = ["--sensitivity", FOLDER / "sensitivity.toml", "--set", "adc.per_array=4"]
    result = auto(danaus, *options, "--max-error", 3, "--max-arrays", arrays)
    choices = {choice["name"]: choice for choice in result["automatic"]["choices"]}
    assert choices["blk.0.ffn_down"]["candidate"] == "dense"
    used = {limit["name"]: limit["used"] for limit in result["automatic"]["limits"]}
    assert used["arrays"] == result["arrays"] <= arrays
    assert used["error"] == pytest.approx(sum(choice["error"] for choice in choices.values())) and used["error"] <= 3
    for candidate in ("monarch:8", "gather:8:16"):
        danaus("run", FOLDER / "two.toml", "--map", "auto", *CHIP, *options, "--max-error", 3, "--candidates", candidate, code=5)


def test_the_error_of_weights_is_the_one_of_the_table(danaus):
    model = ROOT / "tests/data/nn/llama"
    small = ["--set", "array.rows=8", "--set", "array.cols=8", "--reference", "none", "--objective", "arrays"]
    table, = danaus.json("run", model, "--map", "auto", *small, "--max-error", 0.5)["results"]
    limit, = table["automatic"]["limits"]
    assert limit["used"] == pytest.approx(table["relative_error"], rel=1e-6)
    assert 0 < limit["used"] <= 0.5
    tighter, = danaus.json("run", model, "--map", "auto", *small, "--max-error", 0.05)["results"]
    assert tighter["relative_error"] <= 0.05
    assert tighter["arrays"] >= table["arrays"]


def test_fewest_arrays_within_a_latency(danaus):
    fast = auto(danaus, "--set", "adc.per_array=16")
    limit = 1.05 * fast["latency_ns"] / 1000
    small = auto(danaus, "--set", "adc.per_array=16", "--objective", "arrays", "--max-latency-us", limit)
    assert small["latency_ns"] <= limit * 1000
    assert small["arrays"] <= fast["arrays"]


def test_compile_writes_what_run_found(danaus, tmp_path):
    options = ["--set", "array.rows=64", "--set", "array.cols=64", "--max-arrays", 200]
    result, = danaus.json("run", FOLDER / "two.toml", "--map", "auto", *options, "--reference", "none")["results"]
    danaus("compile", FOLDER / "two.toml", "--map", "auto", *options, "-o", tmp_path / "p.dnx", "--placement", tmp_path / "p.json")
    danaus("verify", tmp_path / "p.dnx")
    timed = danaus.json("simulate", tmp_path / "p.dnx")
    assert timed["latency_ns"] == result["latency_ns"]


def test_the_explanation_names_every_kind_of_operator(danaus):
    options = [*CHIP[:-2], "--set", "adc.per_array=16", "--max-arrays", 200]
    text, _ = danaus("explain", "mapping", "auto", FOLDER / "two.toml", *options)
    for name in ("attn_q", "attn_output", "ffn_gate", "ffn_down"):
        assert f"blk.*.{name}" in text
    assert "limits: arrays" in text


def test_a_time_budget_ends_with_the_best_so_far(danaus):
    result = auto(danaus, "--time-budget", 1e-9)
    assert result["automatic"]["stopped"]
    assert result["latency_ns"] > 0


def test_copies_keep_to_the_limit_of_arrays(danaus):
    options = ["--mode", "prefill", "--tokens", 4, "--objective", "energy", "--replicate", 100]
    limit, = auto(danaus, *options, "--max-arrays", 60)["automatic"]["limits"]
    assert limit["name"] == "arrays" and limit["used"] <= limit["most"] == 60


def test_an_area_that_has_no_room_for_copies_is_no_reason_to_refuse(danaus):
    options = ["--mode", "prefill", "--tokens", 4]
    striped, = danaus.json("run", FOLDER / "two.toml", "--map", "striped", *CHIP, *options)["results"]
    area = striped["area_mm2"]
    result = auto(danaus, *options, "--max-area-mm2", 1.001 * area)
    assert result["area_mm2"] <= 1.001 * area
    assert result["latency_ns"] <= striped["latency_ns"]


@pytest.mark.parametrize("objective", ["energy", "area", "arrays"])
def test_a_latency_that_one_mapping_keeps_to_is_never_refused(danaus, objective):
    options = ["--set", "adc.per_array=4"]
    singles = danaus.json("run", FOLDER / "two.toml", "--map", MAPS, *CHIP, *options)["results"]
    limit = 1.0001 * min(single["latency_ns"] for single in singles) / 1000
    result = auto(danaus, *options, "--objective", objective, "--max-latency-us", limit)
    assert result["latency_ns"] <= 1000 * limit


def test_more_arrays_or_area_are_never_worse(danaus):
    for option, most in (("--max-arrays", (250, 300, 400, 600)), ("--max-area-mm2", (4.5, 5.5, 6, 7))):
        found = [danaus.json("run", "gpt2", "--map", "auto", "--reference", "none", option, limit)["results"][0] for limit in most]
        latencies = [result["latency_ns"] for result in found]
        assert latencies == sorted(latencies, reverse=True)


def test_an_energy_between_those_of_the_mappings_is_used(danaus):
    # Striped takes 27.6 uJ and the next one that keeps to the limit 98.8 us.
    options = ["--max-energy-nj", 27000, "--reference", "none"]
    result, = danaus.json("run", "bert-large", "--map", "auto", *options)["results"]
    assert result["energy_nj"] <= 27000
    assert result["latency_ns"] < 80000


def test_measured_costs_are_what_auto_spends(danaus, tmp_path):
    model = ROOT / "tests/data/nn/llama"
    ids, costs = tmp_path / "ids.json", tmp_path / "costs.toml"
    ids.write_text(json.dumps([(n * n * 31 + n * 7) % 29 for n in range(400)]))
    document = danaus.json("sensitivity", model, "--text", ids, "--calibrate", ids, "--candidates", "gather:2:4,lowrank:2", "--tokens", 120, "-o", costs)
    assert document["schema"] == "danaus.sensitivity/1" and document["measure"] == "kl-nats" and document["tokens"] == 120
    plain = danaus.json("sensitivity", model, "--text", ids, "--candidates", "gather:2:4,lowrank:2", "--tokens", 120, "-o", tmp_path / "plain.toml")
    for calibrated, weights in zip(document["candidates"], plain["candidates"]):
        assert calibrated["sum"] < weights["sum"]
    small = ["--set", "array.rows=8", "--set", "array.cols=8", "--reference", "none", "--objective", "arrays"]
    budget = document["candidates"][0]["sum"] / 2
    result, = danaus.json("run", model, "--map", "auto", *small, "--sensitivity", costs, "--max-error", budget, "--save-policy", tmp_path / "policy.toml")["results"]
    projected = danaus.json("project", model, "--policy", tmp_path / "policy.toml", *small[:4])
    assert sum(layer["parameters"] for layer in projected["layers"]) == result["parameters"]
    by_name = {one["name"]: dict(zip(document["operators"], one["costs"])) for one in document["candidates"]}
    spent = 0
    for choice in result["automatic"]["choices"]:
        expected = 0 if choice["candidate"] == "dense" else by_name[choice["candidate"]][choice["name"]]
        assert choice["error"] == pytest.approx(expected, rel=1e-3, abs=1e-9)
        spent += expected
    assert 0 < spent <= budget * 1.001
