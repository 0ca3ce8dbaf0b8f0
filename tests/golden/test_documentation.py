"""The commands that the documentation shows are run."""

import re
import shlex

import pytest

from conftest import ROOT


def commands(page):
    """Indented lines that begin with danaus, continuation lines joined."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in re.findall(r"^ {4}danaus .*", text, re.M)]


SMOLLM2 = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.skipif(not SMOLLM2.is_file(), reason="make models")
def test_readme_shows_what_the_demo_prints(danaus):
    table, _ = danaus("run", SMOLLM2)
    assert f"```\n{table}```\n" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page, least", [("docs/tour.md", 4)])
def test_commands_of_the_page_run(danaus, tmp_path, page, least):
    found = commands(page)
    assert len(found) >= least
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    for arguments in found:
        danaus(*arguments, cwd=tmp_path)


def test_the_page_on_models_larger_than_the_chip_shows_the_error(danaus):
    page = (ROOT / "docs/larger-than-the-chip.md").read_text()
    shown = re.search(r"^ {4}\$ danaus (.*)\n((?: {4}.*\n)+)", page, re.M)
    _, stderr = danaus(*shown[1].split(), code=5)
    assert re.sub("^ {4}", "", shown[2], flags=re.M) == stderr
