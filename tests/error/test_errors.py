"""Every error says what, where and what to do, and says it the same way each time."""

import json
import pathlib

import pytest

from cases import CASES

GOLDEN = pathlib.Path(__file__).parent / "golden"


def write_files(folder, files):
    for name, content in files.items():
        if name in ("change", "cut", "flip"):
            continue
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def damage(folder, files):
    """Damage to what the program itself has written."""
    if "change" in files:
        placement = json.loads((folder / "p.json").read_text())
        placement["patches"][0].update(files["change"])
        (folder / "p.json").write_text(json.dumps(placement))
    program = folder / "p.dnx"
    if "cut" in files:
        program.write_bytes(program.read_bytes()[:-files["cut"]])
    if "flip" in files:
        content = bytearray(program.read_bytes())
        content[-files["flip"]] ^= 1
        program.write_bytes(content)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_error(danaus, golden, tmp_path, case):
    write_files(tmp_path, case.files)
    if case.needs_compile:
        danaus(*case.needs_compile.split(), cwd=tmp_path)
        damage(tmp_path, case.files)
    before = sorted(tmp_path.rglob("*"))
    stdout, stderr = danaus(*case.arguments.split(), cwd=tmp_path, code=case.code)
    assert stdout == ""
    golden(GOLDEN / f"{case.label}.txt", stderr)
    assert (json.loads(stderr)["error"]["id"] == case.id) if "--json" in case.arguments else f"error[{case.id}]: " in stderr
    assert sorted(tmp_path.rglob("*")) == before, "a failed command leaves no file behind"
