"""What people read: help texts, lists, tables, the text of a small program."""

import pathlib
import re

import pytest

from conftest import ROOT

HERE = pathlib.Path(__file__).parent
TEXTS = HERE / "text"
SMALL_CHIP = ("--chip", "unit", "--set", "array.rows=16", "--set", "array.cols=16", "--set", "adc.per_array=4")
SUBCOMMANDS = ["run", "project", "precision", "calibrate", "sensitivity", "compile", "eval", "tune", "generate", "verify", "disasm", "asm", "simulate", "trace", "reproduce", "explore", "show", "explain"]


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_help(danaus, golden, subcommand):
    stdout, stderr = danaus(subcommand, "--help")
    assert stderr == ""
    golden(TEXTS / f"help-{subcommand}.txt", stdout)


def test_help_lists_every_subcommand(danaus, golden):
    stdout, _ = danaus("--help")
    assert re.findall(r"^  ([a-z]+) {2,}", stdout, re.M) == SUBCOMMANDS
    golden(TEXTS / "help.txt", stdout)


def test_version(danaus):
    version = re.search(r"project\(danaus VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert danaus("--version") == (f"danaus {version}\n", "")


def test_explain_mapping_of_a_model(danaus, golden):
    golden(TEXTS / "explain-mapping-tiny.txt", danaus("explain", "mapping", "sparse", "tiny.toml", "--blocks", "4", *SMALL_CHIP, cwd=HERE)[0])


@pytest.mark.parametrize("what", ["models", "chips", "maps", "keys", "formats", "references"])
def test_show(danaus, golden, what):
    golden(TEXTS / f"show-{what}.txt", danaus("show", what)[0])


def test_show_a_model(danaus, golden):
    golden(TEXTS / "show-model-tiny.txt", danaus("show", "models", "tiny.toml", cwd=HERE)[0])
    golden(TEXTS / "show-model-mistral-7b.txt", danaus("show", "models", "mistral-7b")[0])


def test_show_a_model_as_json(danaus):
    document = danaus.json("show", "models", "gpt2-medium")
    assert document["schema"] == "danaus.model/1"
    assert document["mapped"]["weights"] == 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
    assert [group["number"] for group in document["mapped"]["groups"]] == [24] * 6
    assert [matrix["name"] for matrix in document["digital"]["matrices"]] == ["token_embd", "position_embd", "output"]
    # Per layer two norms, with a bias each, and six operators with one each; the last norm has one too.
    assert {node["kind"]: node["number"] for node in document["digital"]["nodes"]} == {
        "norm": 2 * 24 + 1, "bias": 8 * 24 + 1, "attend": 24, "add": 2 * 24, "gelu_tanh": 24}
    assert document["memory"]["file_bytes"] == document["memory"]["projection_bytes"] == 0


def test_show_chip_prints_the_preset_with_its_sources(danaus):
    assert danaus("show", "chips", "pcm-14nm")[0] == (ROOT / "chips/pcm-14nm.toml").read_text()


def test_show_sources_of_a_chip(danaus, golden):
    golden(TEXTS / "show-sources-hermes.txt", danaus("show", "chips", "hermes-14nm", "--sources")[0])
    items = danaus.json("show", "chips", "isaac-32nm", "--sources")["items"]
    assert {"source": "published", "key": "array.slices", "value": "4", "comment": "ISAAC: 2 bits per cell"} in items


@pytest.mark.parametrize("words", [("cost",), ("cost", "adc"), ("cost", "activation"), ("cost", "message"), ("cost", "network"), ("cost", "link"),
                                   ("cost", "reload"), ("mapping", "dense"), ("structure", "gather"),
                                   ("gguf.truncated",), ("adc.per_array",)])
def test_explain(danaus, golden, words):
    golden(TEXTS / f"explain-{'-'.join(words)}.txt", danaus("explain", *words)[0])


@pytest.mark.parametrize("topic", ["message", "network"])
def test_explain_circuit_switching(danaus, golden, topic):
    page, _ = danaus("explain", "cost", topic, "--set", "network.switching=circuit")
    golden(TEXTS / f"explain-cost-{topic}-circuit.txt", page)


def test_run_table(danaus, golden):
    stdout, stderr = danaus("run", "tiny.toml", "--blocks", "4", *SMALL_CHIP, "-v", cwd=HERE)
    assert stderr == ""
    golden(TEXTS / "run-tiny.txt", stdout)


@pytest.mark.parametrize("label, options", [("chips", ("--chips", "3", "--set", "chip.link_gbps=16")), ("reload", ("--reload",))])
def test_run_table_of_a_model_larger_than_the_chip(danaus, golden, label, options):
    programming = ("--set", "program.iterations=10", "--set", "program.pulse_ns=5", "--set", "program.energy_pj=2", "--set",
                   "program.endurance=1e6")
    stdout, stderr = danaus("run", "tiny.toml", "--blocks", "4", *SMALL_CHIP, "--set", "network.arrays_per_tile=2", "--set",
                            "chip.arrays=8", *programming, *options, cwd=HERE)
    assert stderr == ""
    golden(TEXTS / f"run-tiny-{label}.txt", stdout)


def test_project_table_of_shapes(danaus, golden):
    golden(TEXTS / "project-tiny.txt", danaus("project", "tiny.toml", "--blocks", "4", cwd=HERE)[0])


def test_disassembly(danaus, golden, tmp_path):
    danaus("compile", HERE / "tiny.toml", "--map", "sparse", "--blocks", "4", *SMALL_CHIP, "-o", tmp_path / "tiny.dnx", "-q")
    stdout, _ = danaus("disasm", tmp_path / "tiny.dnx")
    golden(TEXTS / "disasm-tiny.txt", stdout)
