"""Pictures and trace events of programs, against what `danaus simulate` counts."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from conftest import ROOT
from test_text import SMALL_CHIP

TINY = ROOT / "tests/golden/tiny.toml"


def compiled(danaus, path, *options):
    danaus("compile", *options, "-o", path, "-q")
    return path


@pytest.fixture(scope="module")
def tiny(danaus, tmp_path_factory):
    return compiled(danaus, tmp_path_factory.mktemp("trace") / "tiny.dnx", TINY, "--map", "sparse", "--blocks", "4", *SMALL_CHIP)


def test_events_add_up_to_the_counts(danaus, tiny, tmp_path):
    danaus("trace", tiny, "-o", tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    counted = danaus.json("simulate", tiny)
    busy = {}
    for event in events:
        if event["ph"] == "X":
            busy[event["cat"]] = busy.get(event["cat"], 0) + round(event["dur"] * 1e6)
    # The unit chip: 10 ns of settling an activation, 1 ns a round; nothing else takes time.
    assert busy == {"input": counted["counts"]["activations"] * 10000, "conversion": counted["counts"]["adc_rounds"] * 1000}
    assert max(round((event["ts"] + event["dur"]) * 1e6) for event in events if event["ph"] == "X") == counted["latency_ns"] * 1000
    # On one thread nothing overlaps.
    ends = {}
    for event in sorted((e for e in events if e["ph"] == "X"), key=lambda e: e["ts"]):
        assert round(event["ts"] * 1e6) >= ends.get(event["tid"], 0)
        ends[event["tid"]] = round((event["ts"] + event["dur"]) * 1e6)


def drawn(svg):
    """Cells of each colour, weighted by depth: (inputs, conversions)."""
    root = ElementTree.fromstring(svg)
    sums = {"#2b6cb0": 0, "#dd6b20": 0}
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        if path.get("stroke-opacity"):
            lengths = [int(length) for length in re.findall(r"h(\d+)", path.get("d"))]
            sums[path.get("stroke")] += float(path.get("stroke-opacity")) * sum(lengths)
    return sums["#2b6cb0"], sums["#dd6b20"]


def test_the_picture_shows_the_busy_time(danaus, tiny, tmp_path):
    danaus("trace", tiny, "-o", tmp_path / "t.svg")
    svg = (tmp_path / "t.svg").read_text()
    counted = danaus.json("simulate", tiny)
    arrays = int(re.search(r"(\d+) arrays", svg)[1])
    inputs, conversions = drawn(svg)
    pixels = 800 / counted["latency_ns"]  # of one ns of one array: it has a row of its own
    assert inputs == pytest.approx(counted["counts"]["activations"] * 10 * pixels, rel=0.02)
    assert conversions == pytest.approx(counted["counts"]["adc_rounds"] * pixels, rel=0.05)
    percent = [float(share) / 100 for share in re.findall(r"([\d.]+) % (?:input windows|conversions|idle)", svg)]
    whole = counted["latency_ns"] * arrays
    assert percent == pytest.approx([counted["counts"]["activations"] * 10 / whole, counted["counts"]["adc_rounds"] / whole,
                                     1 - (counted["counts"]["activations"] * 10 + counted["counts"]["adc_rounds"]) / whole], abs=6e-4)


def test_part_of_a_picture(danaus, tiny, tmp_path):
    danaus("trace", tiny, "-o", tmp_path / "t.svg", "--between", "0", "10")
    inputs, conversions = drawn((tmp_path / "t.svg").read_text())
    assert (conversions, inputs % 800) == (0, 0)  # the arrays of q, k and v settle
    assert inputs > 0


@pytest.mark.parametrize("mapping", ["linear", "striped"])
def test_a_large_picture_is_small_and_always_the_same(danaus, tmp_path, mapping):
    program = compiled(danaus, tmp_path / "p.dnx", "bert-large", "--map", mapping)
    danaus("trace", program, "-o", tmp_path / "a.svg", "--threads", "1")
    danaus("trace", program, "-o", tmp_path / "b.svg", "--threads", "2")
    picture = (tmp_path / "a.svg").read_bytes()
    assert picture == (tmp_path / "b.svg").read_bytes()
    assert len(picture) < 2_000_000
    ElementTree.fromstring(picture)


def test_explain_mapping_of_a_model(danaus):
    document = danaus.json("explain", "mapping", "striped", "bert-large", "--kv", "512")
    assert document["schema"] == "danaus.mapping/1"
    total = sum(sum(stage["breakdown_ns"].values()) for stage in document["stages"]) + sum(document["rest_ns"].values())
    assert total == pytest.approx(document["latency_ns"], rel=1e-12)
    run = danaus.json("run", "bert-large", "--map", "striped", "--kv", "512")["results"][0]
    assert (document["latency_ns"], document["arrays"]) == (run["latency_ns"], run["arrays"])
    assert document["bound"]["latency_ns"] == run["bound"]["latency_ns"]
    assert all(stage["layers"] == 24 for stage in document["stages"])
