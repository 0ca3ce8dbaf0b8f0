"""The embedded model: it needs no file, it has learned its text, and its trained blocks have kept that."""

import re

import pytest

from conftest import ROOT

DATA = ROOT / "data/tiny-kjv"
DENSE = 13.50              # perplexity of the held-out chapters, as in docs/tuning.md
MOST = {4: 1.15, 8: 1.30}  # times that, with trained blocks


@pytest.fixture(scope="module")
def perplexity(danaus):
    def measure(*more, model="tiny-kjv", **options):
        return danaus.json("eval", model, "--text", DATA / "held-out.txt", *more, **options)["perplexity"]
    return measure


@pytest.fixture(scope="module")
def dense(perplexity):
    return perplexity()


def test_it_is_the_file_of_the_repository_and_needs_none(perplexity, dense, tmp_path):
    assert perplexity(cwd=tmp_path) == dense
    assert perplexity(model=DATA / "tiny-kjv.gguf") == dense


def test_it_has_learned(dense):
    assert dense == pytest.approx(DENSE, rel=2e-3)


@pytest.mark.parametrize("ratio", [4, 8])
def test_trained_blocks_keep_the_model(danaus, perplexity, dense, ratio, tmp_path):
    projected = tmp_path / "projected.safetensors"
    danaus("project", "tiny-kjv", "--compression", ratio, "-o", projected)
    document = danaus.json("eval", "tiny-kjv", "--text", DATA / "held-out.txt", "--factors",
                           DATA / f"monarch-{ratio}x.safetensors")
    assert document["linear"]["parameters"] * ratio <= document["linear"]["dense_parameters"]
    assert document["perplexity"] < MOST[ratio] * dense
    assert perplexity("--factors", projected) > 5 * dense


def test_blocks_on_the_analog_machine_lose_little(perplexity):
    factors = ["--factors", DATA / "monarch-4x.safetensors"]
    converters = ["--analog", "--calibrate", DATA / "calibration.txt", "--set", "noise.device=ideal", "--set", "adc.rule=fixed",
                  "--set", "adc.allow_extrapolation=true"]
    own = perplexity(*factors)
    assert own < perplexity(*factors, *converters, "--set", "adc.bits=6") < 1.05 * own
    assert 1.1 * own < perplexity(*factors, *converters, "--set", "adc.bits=4") < 1.6 * own


def test_it_speaks_and_runs_on_the_chip_without_any_file(danaus, tmp_path):
    text, _ = danaus("generate", "tiny-kjv", "And the LORD said unto", "--tokens", 24, cwd=tmp_path)
    assert re.match(r" \w+", text)
    table, _ = danaus("run", "tiny-kjv", cwd=tmp_path)
    assert "proved" in table
