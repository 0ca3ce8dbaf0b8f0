"""danaus eval --analog: what the analog machine promises, on small models of every family that can be evaluated."""

import json

import numpy
import pytest

from test_eval import DECODERS, MODELS, figures, ids_file, without_provenance

FINE = ["--set", "noise.device=ideal", "--set", "adc.rule=lossless", "--set", "noise.weight_bits=12", "--set", "input.bits=12"]
NOISY = ["--set", "noise.device=pcm", "--set", "noise.time_s=3600", "--set", "noise.read_noise=output",
         "--set", "noise.adc_gain_sd=0.01", "--set", "adc.rule=fixed", "--set", "adc.bits=8"]


def longest(name):
    return max(figures(name), key=lambda text: len(text["ids"]))["ids"]


def others(ids):
    """Token ids for calibration that share no long run with these."""
    return [(7 * n * n + 3) % (max(ids) + 1) for n in range(20)]


@pytest.mark.parametrize("name", DECODERS)
def test_fine_converters_and_weights_answer_like_floats(danaus, tmp_path, name):
    ids = ids_file(tmp_path, longest(name))
    float_nll = danaus.json("eval", MODELS / name, "--ids", ids)["nll"]
    document = danaus.json("eval", MODELS / name, "--ids", ids, "--analog", *FINE)
    assert document["nll"] == pytest.approx(float_nll, rel=5e-3)
    analog = document["linear"]["analog"]
    assert analog["map"] == "linear" and analog["proof_tokens"] >= 1
    assert all(stage["clipped"] == 0 and stage["adc_bits"] == 0 for stage in analog["stages"])


def test_embeddings_on_fine_converters(danaus, tmp_path):
    ids = ids_file(tmp_path, [text["ids"] for text in figures("bert")])
    exact = danaus.json("eval", MODELS / "bert", "--ids", ids)["embeddings"]
    analog = danaus.json("eval", MODELS / "bert", "--ids", ids, "--analog", *FINE)["embeddings"]
    assert numpy.allclose(exact, analog, atol=0.01)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_gathered_blocks_answer_alike_in_every_mapping(danaus, tmp_path, name):
    ids = ids_file(tmp_path, longest(name))
    gathered = ["--structure", "gather", "--compression", "2", "--group", "5"]
    by_map = [danaus.json("eval", MODELS / name, "--ids", ids, "--analog", "--map", map, *gathered, *FINE)["nll"]
              for map in ("sparse", "dense", "striped")]
    assert by_map[0] == by_map[1] == by_map[2]
    factors = danaus.json("eval", MODELS / name, "--ids", ids, *gathered)["nll"]
    assert by_map[0] == pytest.approx(factors, rel=5e-3)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_blocks_answer_alike_in_every_mapping(danaus, tmp_path, name):
    ids = ids_file(tmp_path, longest(name))
    options = ["--blocks", "2", "--set", "noise.device=ideal", "--set", "adc.rule=lossless"]
    by_map = [danaus.json("eval", MODELS / name, "--ids", ids, "--analog", "--map", map, *options)["nll"]
              for map in ("sparse", "dense")]
    assert by_map[0] == by_map[1]
    factors = danaus.json("eval", MODELS / name, "--ids", ids, "--blocks", "2")["nll"]
    assert by_map[0] == pytest.approx(factors, rel=0.1)


def test_threads_change_nothing(danaus, tmp_path):
    ids = ids_file(tmp_path, longest("llama"))
    calibration = tmp_path / "c.json"
    calibration.write_text(json.dumps(others(longest("llama"))))
    for options in (NOISY, NOISY + ["--blocks", "2", "--calibrate", calibration]):
        documents = [without_provenance(danaus("eval", MODELS / "llama", "--ids", ids, "--analog", "--json", *options,
                                               "--threads", threads)[0]) for threads in ("1", "2", "3")]
        assert documents[0] == documents[1] == documents[2]


def test_the_seed_makes_the_devices(danaus, tmp_path):
    ids = ids_file(tmp_path, longest("llama"))
    nll = [danaus.json("eval", MODELS / "llama", "--ids", ids, "--analog", *NOISY, "--seed", seed)["nll"]
           for seed in ("1", "2", "1")]
    assert nll[0] == nll[2] != nll[1]


def test_ranges_that_never_clip_see_almost_nothing(danaus, tmp_path):
    ids = ids_file(tmp_path, longest("llama"))
    options = ["--set", "noise.device=ideal", "--set", "adc.rule=fixed", "--set", "adc.bits=4"]
    calibration = tmp_path / "c.json"
    calibration.write_text(json.dumps(others(longest("llama"))))

    def zeros(*more):
        stages = danaus.json("eval", MODELS / "llama", "--ids", ids, "--analog", *options, *more)["linear"]["analog"]["stages"]
        return sum(stage["zero_codes"] for stage in stages) / len(stages)

    full = zeros("--set", "noise.adc_range=full")
    data_free = zeros("--set", "noise.adc_range=l1")
    calibrated = zeros("--calibrate", calibration)
    assert full > data_free > calibrated


def test_experts_are_calibrated_on_all_of_their_tokens(danaus, tmp_path):
    ids = ids_file(tmp_path, longest("mixtral"))
    calibration = tmp_path / "c.json"
    options = ["--set", "noise.device=ideal", "--set", "adc.rule=fixed", "--set", "adc.bits=8", "--calibrate", calibration]
    calibration.write_text(json.dumps(others(longest("mixtral"))))
    exact = danaus.json("eval", MODELS / "mixtral", "--ids", ids)["nll"]
    document = danaus.json("eval", MODELS / "mixtral", "--ids", ids, "--analog", *options)
    assert document["nll"] == pytest.approx(exact, rel=0.1)
    calibration.write_text(json.dumps([1]))
    few = danaus.json("eval", MODELS / "mixtral", "--ids", ids, "--analog", *options)
    assert any("saw no token of the calibration" in note for note in few["linear"]["notes"])


def test_lossless_converters_take_no_calibration(danaus, tmp_path):
    ids = ids_file(tmp_path, longest("llama"))
    document = danaus.json("eval", MODELS / "llama", "--ids", ids, "--analog", *FINE, "--set", "noise.adc_range=cal-shared")
    assert document["linear"]["analog"]["adc_range"] == "lossless"


def test_a_line_of_the_calibration_may_not_be_evaluated(danaus, tmp_path):
    from test_eval import with_tokenizer
    folder = tmp_path / "m"
    folder.mkdir()
    with_tokenizer(folder, "bert", "bert.json", 420, 64)
    (tmp_path / "t.txt").write_text("the quick brown fox\n\njumps over\n")
    (tmp_path / "c.txt").write_text("the lazy dog\n\n")
    danaus.json("eval", folder, "--text", tmp_path / "t.txt", "--analog", "--calibrate", tmp_path / "c.txt")
    (tmp_path / "c.txt").write_text("the lazy dog\njumps over\n")
    _, error = danaus("eval", folder, "--text", tmp_path / "t.txt", "--analog", "--calibrate", tmp_path / "c.txt", code=2)
    assert "line 2 of the calibration text" in error


def test_the_report_names_ranges_and_calibration(danaus, tmp_path):
    ids = ids_file(tmp_path, longest("llama"))
    calibration = tmp_path / "c.json"
    calibration.write_text(json.dumps(others(longest("llama"))))
    out, _ = danaus("eval", MODELS / "llama", "--ids", ids, "--analog", "--blocks", "2", "--calibrate", calibration)
    for words in ("analog machine", "cal-shared, on 20 other tokens", "clips most", "ranges are reliable from about 1000 on"):
        assert words in out
    verbose, _ = danaus("eval", MODELS / "llama", "--ids", ids, "--analog", "-v")
    assert "layers.0.self_attn.q_proj" in verbose


def test_generate_on_the_analog_machine(danaus, tmp_path):
    from test_eval import with_tokenizer
    folder = tmp_path / "m"
    folder.mkdir()
    with_tokenizer(folder, "llama", "gpt-2.json", 480, 256)
    exact = danaus.json("generate", folder, "The quick", "--tokens", "5")
    analog = danaus.json("generate", folder, "The quick", "--tokens", "5", "--analog", *FINE)
    assert len(analog["ids"]) == len(exact["ids"])
    assert analog["linear"]["analog"]["chip"] == "pcm-14nm"
