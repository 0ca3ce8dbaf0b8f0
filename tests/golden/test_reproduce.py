"""danaus reproduce: the page of the documentation is current, and what is known of the claims.

The figures are worked out by hand: arrays, weights and FLOPs of bert-large per layer (four matrices of 1024 x 1024 in blocks of 32,
two of 1024 x 4096 padded to 4096 x 4096 in blocks of 64), and latencies from the constants of chips/paper.toml.
"""

import json
import os
import re
import shutil

import pytest

from conftest import ROOT

PAGE = ROOT / "docs/reproduction.md"


@pytest.fixture(scope="module")
def folder(danaus, tmp_path_factory):
    """Everything, once. Without gnuplot a program of that name that draws nothing stands in for it."""
    path = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        if shutil.which("gnuplot") is None:
            stand_in = path / "gnuplot"
            stand_in.write_text("#!/bin/sh\n")
            stand_in.chmod(0o755)
            patch.setenv("PATH", str(path), prepend=os.pathsep)
        danaus("reproduce", "-o", path / "out", "-q")
    return path / "out"


@pytest.fixture(scope="module")
def document(folder):
    return json.loads((folder / "reproduction.json").read_text())


@pytest.fixture(scope="module")
def claim(document):
    claims = {entry["claim"]: entry for entry in document["claims"]}
    return claims.__getitem__


@pytest.fixture(scope="module")
def program(document):
    """program(map, ...): the figures of bert-large on one setting."""
    def find(map_name, model="bert-large", converter="ramp", bits="paper bits", policy="published policy", adcs=32):
        found, = [p for p in document["programs"] if (p["model"], p["map"], p["converter"], p["bits"], p["policy"], p["adcs"]) ==
                  (model, map_name, converter, bits, policy, adcs)]
        return found
    return find


def test_the_page_is_current(folder, request):
    """--update writes the page and, where gnuplot draws them, its figures."""
    page = (folder / "reproduction.md").read_text()
    if request.config.getoption("--update"):
        PAGE.write_text(page)
        for figure in (folder / "figures").glob("*.svg"):
            shutil.copy(figure, ROOT / "docs/figures" / figure.name)
    assert page == PAGE.read_text()


def test_every_figure_of_the_page_has_its_script_and_data(folder):
    figures = re.findall(r"\]\(figures/(\w+)\.svg\)", PAGE.read_text())
    assert sorted(figures) == ["arrays", "claims", "ratios", "sweep"]
    for name in figures:
        assert (ROOT / f"docs/figures/{name}.svg").is_file()
        assert f"set output 'figures/{name}.svg'" in (folder / f"data/{name}.gnuplot").read_text()
        assert (folder / f"data/{name}.tsv").read_text().startswith("# ")
        if shutil.which("gnuplot"):
            assert (folder / f"figures/{name}.svg").read_text().rstrip().endswith("</svg>")


def test_structure(claim, program):
    assert [program(m)["arrays"] for m in ("linear", "sparse", "dense-diagonal", "dense")] == [4608, 2304, 480, 480]
    assert [program(m, policy="no dead blocks")["arrays"] for m in ("linear", "sparse", "dense-diagonal")] == [4608, 1728, 192]
    assert [program(m)["conversions"] / 24 for m in ("linear", "sparse", "dense-diagonal")] == [49152, 24576, 24576]
    assert [program(m)["activations"] / 24 for m in ("linear", "sparse", "dense-diagonal")] == [192, 96, 512]
    assert program("sparse")["utilisation"] == pytest.approx(480 / 2304)
    assert claim("flops-512")["ours"] == pytest.approx(5.78, abs=0.005)
    gpt2, = [v["ours"] for v in claim("flops")["values"]
             if v["setting"] == {"model": "gpt2-medium at 1024", "attention": "all tokens seen", "policy": "published policy"}]
    assert gpt2 == pytest.approx(4.31, abs=0.005)
    assert [program(m, bits="honest bits")["adc_bits"] for m in ("linear", "sparse", "dense-diagonal", "dense")] == [8, 6, 6, 6]


# Per layer 4 dependent stages of linear, 8 of blocks: array time 100 ns, twice 8 and twice 4 steps of DenseMap; 256 / ADCs rounds of
# 0.3 * 2^8, 2^5 or 2^3 ns (SAR: 9, 6 or 4 ns) each.
@pytest.mark.parametrize("adcs", [4, 8, 16, 32])
@pytest.mark.parametrize("converter, times", [("ramp", (76.8, 9.6, 2.4)), ("SAR", (9, 6, 4))])
def test_array_and_converter_times(program, converter, times, adcs):
    for map_name, time, stages, steps in [("linear", times[0], 4, 4), ("sparse", times[1], 8, 8), ("dense-diagonal", times[2], 8, 48)]:
        found = program(map_name, converter=converter, adcs=adcs)
        assert found["settle_ns"] == pytest.approx(24 * steps * 100)
        assert found["adc_ns"] == pytest.approx(24 * stages * 256 / adcs * time)
        assert found["latency_ns"] > found["settle_ns"] + found["adc_ns"]


def test_energy(program):
    """The converters' ratio follows from the published regression: 3.7 (5 bits) and 3.1 (3 bits, extrapolated)."""
    linear, sparse, dense = (program(m) for m in ("linear", "sparse", "dense-diagonal"))
    assert linear["energy_adc_nj"] / 24 == pytest.approx(17.8, rel=0.005)
    assert linear["energy_adc_nj"] / sparse["energy_adc_nj"] == pytest.approx(3.66, rel=0.005)
    assert linear["energy_adc_nj"] / dense["energy_adc_nj"] == pytest.approx(3.13, rel=0.005)
    for found in (linear, sparse, dense):
        assert found["energy_passive_nj"] == pytest.approx(5 * found["latency_ns"])


def test_statuses(claim):
    statuses = {"arrays-linear": "consistent with", "arrays-sparse": "reproduced", "utilisation": "differs", "parameters": "reproduced under",
                "flops-512": "reproduced", "bits-dense": "differs", "latency-sparse": "differs", "crossover": "differs", "area": "reproduced"}
    assert {name: claim(name)["status"] for name in statuses} == statuses
    assert "0.33 ns" in claim("crossover")["explanation"]
    assert "None of the 96 settings gives 1.59x and 1.73x at once." in claim("latency-together")["explanation"]


@pytest.mark.parametrize("step_ns, winner", [(0.32, "sparse"), (0.34, "dense-diagonal")])
def test_slower_ramps_make_the_sweep_cross(danaus, step_ns, winner):
    """What the explanation says: DenseMap is faster with 4 ADCs from 0.33 ns per step on."""
    latency = {}
    for map_name, bits in (("sparse", 5), ("dense-diagonal", 3)):
        result, = danaus.json("run", "bert-large", "--chip", "paper", "--pad", "square", "--map", map_name, "--set", "adc.per_array=4",
                              "--set", f"adc.bits={bits}", "--set", f"adc.lsb_ns={step_ns}")["results"]
        latency[map_name] = result["latency_ns"]
    assert min(latency, key=latency.get) == winner


def test_figures_say_what_they_rest_on(danaus):
    """Programs and proofs are spoken of only where there are some, and the fit only of the chip that was made without one."""
    shapes, _ = danaus("reproduce", "memory")
    assert "no program was made" in " ".join(shapes.split())
    assert "proved" not in shapes
    arrays, _ = danaus("reproduce", "arrays-sparse")
    assert "Figures are of 21 programs, each proved to compute its model" in " ".join(arrays.split())
    assert "nothing was fitted" in " ".join(arrays.split())
    other, _ = danaus("reproduce", "arrays-sparse", "--set", "array.settle_ns=10")
    assert "fitted" not in other and "figures differ from docs/reproduction.md" in " ".join(other.split())


def test_the_table_gives_reasons_and_settings(folder):
    rows = [line for line in (folder / "reproduction.md").read_text().splitlines() if line.startswith("| [")]
    assert len(rows) == 24
    for row in rows:
        status = row.rstrip(" |").rsplit(" | ", 1)[1]
        if status.startswith(("differs", "consistent")):
            assert ": " in status
        if status.startswith("reproduced under"):
            assert re.fullmatch(r"reproduced under .+ \(\d+ of \d+ settings\)", status)


def test_claims_are_selected(danaus):
    document = danaus.json("reproduce", "memory", "parameters")
    assert [entry["claim"] for entry in document["claims"]] == ["parameters", "memory"]
    assert document["programs"] == []
    assert document["claims"][0]["ours"] == pytest.approx(9.6)


def test_list_names_every_claim(danaus, document):
    listed = [row["claim"] for row in danaus.json("reproduce", "--list")["items"]]
    assert listed == [entry["claim"] for entry in document["claims"]]


def test_threads_change_nothing(danaus):
    runs = [danaus.json("reproduce", "arrays-linear", "utilisation", "--threads", n) for n in (1, 2)]
    for run in runs:
        del run["provenance"]
    assert runs[0] == runs[1]


def test_without_gnuplot_the_rest_is_written(danaus, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    _, stderr = danaus("reproduce", "arrays-linear", "-o", "out", cwd=tmp_path, code=4)
    assert "error[reproduce.gnuplot]: gnuplot, which draws the figures, is not installed" in stderr
    assert (tmp_path / "out/reproduction.json").is_file()
    # What one claim about arrays needs: no page, no figures of time.
    assert sorted(path.name for path in (tmp_path / "out/data").iterdir()) == [
        "arrays.gnuplot", "arrays.tsv", "claims.gnuplot", "claims.tsv"]
    assert not (tmp_path / "out/reproduction.md").exists()
