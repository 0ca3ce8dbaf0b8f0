"""Calibration and projection through the command line: the same factors by every way, and better ones than without."""

import json

from conftest import ROOT

LLAMA = ROOT / "tests/data/nn/llama"


def ids(folder, count=600):
    path = folder / "ids.json"
    path.write_text(json.dumps([(n * n * 31 + n * 7) % 29 for n in range(count)]))
    return path


def test_factors_are_the_same_from_a_file_and_from_a_text_with_any_number_of_threads(danaus, tmp_path):
    text = ids(tmp_path)
    document = danaus.json("calibrate", LLAMA, "--text", text, "-o", tmp_path / "m.safetensors")
    assert document["schema"] == "danaus.calibrate/1"
    assert all(one["tokens"] == 600 and one["energy"]["first"] > 0 for one in document["inputs"])
    operators = [name for one in document["inputs"] for name in one["operators"]]
    for structure in (["--blocks", "4:1"], ["--structure", "gather", "--group", "4", "--compression", "2"]):
        files = []
        for name, source, threads in (("a", text, 1), ("b", text, 2), ("c", tmp_path / "m.safetensors", 2)):
            files.append(tmp_path / f"{name}.safetensors")
            projected = danaus.json("project", LLAMA, "--calibrate", source, "--threads", str(threads), *structure, "-o", files[-1])
            assert sorted(layer["name"] for layer in projected["layers"]) == sorted(operators)
            for layer in projected["layers"]:
                assert layer["output_error"]["fitted"] < layer["output_error"]["plain"]
        assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
        assert danaus.json("eval", LLAMA, "--ids", text, "--factors", files[0])["perplexity"] > 0


def test_going_on_with_what_is_done_changes_nothing(danaus, tmp_path):
    text, output = ids(tmp_path), tmp_path / "m.safetensors"
    danaus("calibrate", LLAMA, "--text", text, "-o", output, "--resume")
    first = output.read_bytes()
    danaus("calibrate", LLAMA, "--text", text, "-o", output, "--resume")
    assert output.read_bytes() == first
