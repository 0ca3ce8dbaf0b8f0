"""The repository checks itself: layers, banned headers, documentation of errors, README files, stray paths."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(ROOT / "tests" / "error"))

import cases  # noqa: E402
import check_layers  # noqa: E402


def tracked_files():
    """What is or will be committed; a source archive without git is read whole."""
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                             capture_output=True, text=True)
    if listing.returncode == 0:
        paths = [ROOT / line for line in listing.stdout.splitlines()]
    else:
        skipped = {"build", "models", ".git", "__pycache__"}
        paths = [p for p in ROOT.rglob("*") if not skipped & set(p.relative_to(ROOT).parts)]
    return [p for p in paths if p.is_file()]


def texts():
    for path in tracked_files():
        try:
            yield path.relative_to(ROOT), path.read_text()
        except UnicodeDecodeError:
            continue


def sources():
    return [(path, text) for path, text in texts() if path.parts[0] in ("src", "include") and path.suffix in (".h", ".cpp")]


def error_ids():
    """Ids are literal where the error is made: Error("module.name", ...) or a helper called with it first."""
    found = {}
    for path, text in sources():
        for match in re.finditer(r'"([a-z]+\.[a-z0-9]+(?:-[a-z0-9]+)*)"', text):
            line = text.count("\n", 0, match.start()) + 1
            found.setdefault(match[1], f"{path}:{line}")
    return found


def literal_error_ids():
    found = set()
    for _, text in sources():
        found |= set(re.findall(r'\bError[ a-z_]*[({]\s*"([a-z0-9]+\.[a-z0-9-]+)"', text))
    return found


def documented_ids():
    return re.findall(r"^### (\S+)$", (ROOT / "docs/errors.md").read_text(), re.M)


def test_layers():
    assert check_layers.violations(ROOT) == []


@pytest.mark.parametrize("folder, include, message", [
    ("src/danaus/core/planted.h", "report/report.h", "core may not include report (allowed: nothing)"),
    ("src/danaus/machine/planted.cpp", "compile/compile.h", "machine may not include compile (allowed: core, chip, program)"),
])
def test_layers_check_finds_a_planted_violation(tmp_path, folder, include, message):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copy(ROOT / "layers.toml", tmp_path)
    (tmp_path / "include").mkdir()
    (tmp_path / folder).write_text(f'#pragma once\n#include "danaus/{include}"\n')
    assert check_layers.violations(tmp_path) == [f"{folder}:2: {message}"]


def test_layers_check_finds_a_cycle(tmp_path):
    (tmp_path / "layers.toml").write_text('core = ["model"]\nmodel = ["core"]\n')
    assert check_layers.violations(tmp_path) == ["layers.toml: core depends on itself", "layers.toml: model depends on itself"]


def test_banned_headers():
    banned = re.compile(r"^\s*#\s*include\s*<(format|expected|mdspan)>", re.M)
    assert [str(path) for path, text in sources() if banned.search(text)] == []


def test_third_party_headers_stay_in_source_files():
    """tl::expected and fmt excepted: they are cheap, and core brings them along. *-inl.h are parts of Highway's sources."""
    heavy = re.compile(r"^\s*#\s*include\s*<(nlohmann|toml\+\+|CLI|tbb|hwy|Random123|xxhash|protozero|Eigen)", re.M)
    headers = [str(path) for path, text in sources() if path.suffix == ".h" and heavy.search(text) and not path.name.endswith("-inl.h")]
    assert headers == []


def test_headers_open_with_pragma_once():
    late = [str(path) for path, text in sources()
            if path.suffix == ".h" and not text.startswith("#pragma once") and "HWY" not in text]
    assert late == []


def test_every_error_id_is_documented():
    missing = sorted(literal_error_ids() - set(documented_ids()))
    assert missing == [], "add them to docs/errors.md"


def test_every_documented_id_exists():
    known = error_ids()
    assert sorted(set(documented_ids()) - set(known) - {"cli.interrupted"}) == []


def test_documented_ids_are_sorted_and_unique():
    ids = documented_ids()
    assert ids == sorted(set(ids))


def test_every_error_id_is_tested():
    """A golden text from the command line, or a unit test that names the id."""
    golden = {case.id for case in cases.CASES}
    unit = "".join(text for path, text in texts() if path.parts[:2] in (("tests", "unit"), ("tests", "property")))
    named = {id for id in documented_ids() if f'"{id}"' in unit}
    missing = sorted(set(documented_ids()) - golden - named - set(cases.NOT_REACHABLE))
    assert missing == [], "add a case to tests/error/cases.py, or say in NOT_REACHABLE why there is none"
    assert sorted(golden & set(cases.NOT_REACHABLE)) == [], "these are reachable after all"


def test_every_module_has_a_readme():
    modules = [p for p in (ROOT / "src/danaus").iterdir() if p.is_dir()]
    assert [p.name for p in modules if not (p / "README.md").is_file()] == []


def test_no_machine_paths_and_no_registry_hosts():
    paths = re.compile(r"(?<![\w./~-])/(?:root|home|tmp|work|Users)/\w")
    hosts = re.compile(r"\b(?:registry|files|static|deb|index|proxy|pypi)\.[a-z]+\.(?:org|io|com)\b|\bpypi\.org\b|huggingface\.co/\S+/resolve")
    found = []
    for path, text in texts():
        if path == pathlib.Path("tests/repo/test_repo.py"):
            continue  # holds the patterns
        for number, line in enumerate(text.splitlines(), 1):
            if paths.search(line) or hosts.search(line):
                found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_unfinished_work():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [f"{path}" for path, text in texts() if path != pathlib.Path("tests/repo/test_repo.py") and marks.search(text)]
    assert found == []


def test_text_files_are_clean():
    """.editorconfig: no trailing blanks, a newline at the end."""
    found = []
    for path, text in texts():
        if path.suffix in (".md", ".h", ".cpp", ".py", ".toml", ".cmake") and "golden" not in path.parts and path.name != "LICENSE":
            if text and not text.endswith("\n"):
                found.append(f"{path}: no newline at the end")
            found += [f"{path}:{n}: trailing blank" for n, line in enumerate(text.splitlines(), 1) if line != line.rstrip()]
    assert found == []


def test_relative_links_in_the_documentation_lead_somewhere():
    broken = []
    for path, text in texts():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not re.match(r"[a-z]+:", target) and not (ROOT / path.parent / target).exists():
                broken.append(f"{path}: {target}")
    assert broken == []


def shown_commands(text):
    """(subcommand, options) of every `danaus ...` in code: indented lines, blocks and words in backticks."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^ {4}(?:\$ )?(danaus .*)", text, re.M)
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S):
        lines += [line for line in block.splitlines() if line.startswith("danaus ")]
    lines += re.findall(r"`(?:build/)?(danaus [^`]*)`", text)
    for line in lines:
        for command in re.split(r" {2,}(?=danaus )", line):  # two beside each other
            command = re.split(r" {3,}|  #| \| | > ", command)[0]  # without what is said about it
            words = command.split()
            yield words[1], [word.split("=")[0] for word in words[2:] if re.fullmatch(r"--[a-z][a-z0-9-]*(=.*)?", word)]


def test_commands_and_options_of_the_documentation_exist():
    helps = ROOT / "tests/golden/text"
    subcommands = {path.stem.removeprefix("help-") for path in helps.glob("help-*.txt")}
    listed = (helps / "help.txt").read_text()
    assert len(subcommands) > 10 and all(re.search(rf"^  {name} ", listed, re.M) for name in subcommands)
    found, wrong = set(), []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for subcommand, options in shown_commands(page.read_text()):
            if subcommand.startswith(("-", "SUB", "...", "<")):
                continue
            found.add(subcommand)
            known = (helps / f"help-{subcommand}.txt").read_text() if subcommand in subcommands else None
            if known is None:
                wrong.append(f"{page.name}: danaus {subcommand}")
                continue
            wrong += [f"{page.name}: danaus {subcommand} {option}" for option in options
                      if not re.search(rf"{option}\b(?!-)", known)]
    assert not wrong
    assert found == subcommands, "README and docs show every command"


def test_who_includes_toml_links_it():
    """Without the flags of the library its header compiles a parser of its own into the module, and two parsers meet at link time."""
    linked = (ROOT / "cmake/modules.cmake").read_text()
    for path in sorted((ROOT / "src/danaus").rglob("*.cpp")):
        if "#include <toml++" not in path.read_text():
            continue
        module = path.relative_to(ROOT / "src/danaus").parts[0]
        assert re.search(rf"target_link_libraries\(danaus_{module} .*PkgConfig::tomlplusplus", linked), path
