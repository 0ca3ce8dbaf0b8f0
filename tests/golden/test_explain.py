"""The equations that `danaus explain cost` prints are evaluated again: the line with the numbers must give the result."""

import math
import re

import pytest

from conftest import ROOT

CHIPS = sorted(path.stem for path in (ROOT / "chips").glob("*.toml"))
TOPICS = ["input", "adc", "activation", "message", "network", "link", "digital", "attention", "buffer", "passive", "area", "program"]
SCALE = {"mm2": 1e6, "uJ": 1e6, "us": 1e3}  # to um2, pJ, ns


def value(text):
    """A line of numbers as printed: units dropped, ^ is power, "ln x" and "log2(x)" are functions."""
    expression = text.split(", ")[0] if ", all arrays" in text or ", times" in text else text
    expression = re.sub(r"\b(ns|pJ|um2|mW|uJ|samples/s)\b", "", expression)
    expression = re.sub(r"ln ([0-9.e+-]+)", r"log(\1)", expression)
    expression = expression.replace("^", "**").replace("(infinitely fast)", "")
    names = {"ceil": math.ceil, "log2": math.log2, "log10": math.log10, "log": math.log, "exp": math.exp, "max": max, "min": min}
    return eval(expression, {"__builtins__": {}}, names)  # printed by our own program


def equations(page):
    """(name, line of numbers, result) of the equations that have a line of numbers."""
    for match in re.finditer(r"^(\S+) +=.*\n {10}= (.*)\n {10}= ([0-9.e+-]+)(?: ([a-zA-Z/0-9]+))?", page, re.M):
        yield match[1], match[2], float(match[3]), match[4]


@pytest.mark.parametrize("sharing", ["array", "group"])
@pytest.mark.parametrize("topic", ["activation", "area"])
def test_numbers_of_a_switch_give_the_result(danaus, topic, sharing):
    settings = {"adc.sharing": sharing, "adc.share_ns": 0.5, "adc.share_energy_pj": 0.25, "adc.share_area_um2": 3, "adc.group_arrays": 8}
    page, _ = danaus("explain", "cost", topic, *(f"--set={key}={value}" for key, value in settings.items()))
    found = {}
    for name, numbers, result, unit in equations(page):
        assert result * SCALE.get(unit, 1) == pytest.approx(value(numbers), rel=2e-3, abs=1e-12), name
        found[name] = numbers
    assert found["A_switch"] == ("256 * 8 * 3 um2" if sharing == "array" else "256 * 8 * 8 * 3 um2")
    if topic == "activation":
        assert found["t_conv"].endswith(" + 0.5 ns") and " + 0.25) pJ" in found["E_adc"]


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("topic", TOPICS)
def test_numbers_give_the_result(danaus, chip, topic):
    page, _ = danaus("explain", "cost", topic, "--chip", chip)
    if chip == "ibm-3dcim" and topic not in ("message", "digital", "attention", "passive"):
        return  # the next test
    found = 0
    for name, numbers, result, unit in equations(page):
        if "OPERATION" in numbers or "infinitely" in numbers and "max" not in numbers:
            continue
        expected = value(numbers)
        if topic == "program" and name == "even":
            expected *= 1e6  # uJ over pJ
        scaled = result * (SCALE.get(unit, 1))
        assert scaled == pytest.approx(expected, rel=2e-3, abs=1e-12), f"{name} = {numbers} = {result} {unit}"
        found += 1
    for count, each, product in re.findall(r"(\d+) \* ([0-9.e+-]+) (?:ns|pJ) = ([0-9.e+-]+)", page) if topic == "digital" else []:
        assert float(product) == pytest.approx(int(count) * float(each), rel=1e-4)
        found += 1
    if (chip, topic) == ("unit", "message"):
        assert "ideal network" in page
        return
    if topic == "network" and chip in ("unit", "paper", "ibm-3dcim"):
        assert "there is no mesh" in page
        return
    assert found >= {"input": 0, "adc": 1, "digital": 20}.get(topic, 2)


@pytest.mark.parametrize("topic", ["input", "adc", "activation", "link", "buffer", "area", "program", "reload"])
def test_a_chip_without_programs_says_so(danaus, topic):
    page, _ = danaus("explain", "cost", topic, "--chip", "ibm-3dcim")
    assert "Chip 'ibm-3dcim' schedules whole operations by list" in page
    figures = re.findall(r"= ([0-9.e+-]+) (\S+)", page)
    product = danaus.json("run", "gpt2-medium", "--chip", "ibm-3dcim", "--set", "network.topology=ideal")["results"][0]
    if topic in ("input", "adc", "activation"):
        assert figures == [("100", "ns"), ("10000", "pJ")]
        # A token of a decoder meets every array once, and its output matrix.
        assert product["breakdown_nj"]["cells"] == product["activations"] * 10000 / 1000
    else:
        assert figures == []
    assert product["area_mm2"] is product["conversions"] is product["programming"] is product["counts"]["adc_rounds"] is None


def test_the_page_lists_every_chip():
    assert sorted(re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs/cost.md").read_text(), re.M)) == CHIPS


def test_every_topic_is_listed(danaus):
    listed = re.findall(r"^([a-z]+) {2,}", danaus("explain", "cost")[0], re.M)
    assert set(listed) == set(TOPICS) | {"reload"}


def test_the_hermes_check(danaus):
    page, _ = danaus("explain", "cost", "activation", "--chip", "hermes-14nm")
    rows = re.findall(r"^(time|energy|area) +([0-9.]+) \S+ +([0-9.]+) \S+ +([0-9.]+)$", page, re.M)
    assert "".join(f"    {line}\n" for line in page.splitlines()[-5:-1]) in (ROOT / "docs/cost.md").read_text()
    assert rows == [("time", "138", "130", "1.062"), ("energy", "12.09", "12.5", "0.967"), ("area", "0.634", "0.634", "1.000")]
