"""cmake/sources_digest.cmake: the same digest for the same sources anywhere, another for any change."""

import hashlib
import re
import subprocess

from conftest import ROOT

SOURCES = {"src/a.cpp": "int a;\n", "src/deep/b.h": "int b;\n", "chips/c.toml": "name = 1\n"}


def digest(folder, sources):
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = list(sources)
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in reversed(names)))
    subprocess.run(["cmake", f"-DROOT={folder}", f"-DLIST={folder}/list.txt", f"-DOUTPUT={folder}/out.h", "-P",
                    ROOT / "cmake/sources_digest.cmake"], check=True, cwd=folder)
    found, = re.findall(r'kSourcesDigest = "([0-9a-f]{16})"', (folder / "out.h").read_text())
    lines = "".join(f"{hashlib.sha256(sources[name].encode()).hexdigest()}  {name}\n" for name in sorted(names))
    assert found == hashlib.sha256(lines.encode()).hexdigest()[:16]
    return found


def test_the_digest_is_of_names_and_contents(tmp_path):
    first = digest(tmp_path / "one", SOURCES)
    assert digest(tmp_path / "two", SOURCES) == first
    changes = [{**SOURCES, "src/a.cpp": "int b;\n"}, {**SOURCES, "src/c.cpp": ""}, {"src/a.cpp": "int a;\n"},
               {"src/A.cpp": "int a;\n", "src/deep/b.h": "int b;\n"}]
    assert len({first, *(digest(tmp_path / str(n), sources) for n, sources in enumerate(changes))}) == 1 + len(changes)
