"""Every #include "danaus/<module>/..." in src/ and include/ must follow an edge of layers.toml.

usage: check_layers.py [ROOT]      prints one line per violation, exit code 1 if there is any
"""

import pathlib
import re
import sys
import tomllib

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]danaus/([a-z_]+)/')


def module_of(path):
    """src/danaus/<module>/... and src/cli/... belong to a module; public headers belong to none and may include anything."""
    parts = path.parts
    if parts[:2] == ("src", "danaus"):
        return parts[2]
    return parts[1] if parts[0] == "src" else None


def cycles(layers):
    """Modules that can reach themselves."""
    def reach(start):
        seen, todo = set(), list(layers[start])
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo += layers.get(module, [])
        return seen
    return [f"layers.toml: {module} depends on itself" for module in layers if module in reach(module)]


def violations(root):
    layers = tomllib.loads((root / "layers.toml").read_text())
    found = cycles(layers)
    for source in sorted(p for folder in ("src", "include") for p in (root / folder).rglob("*") if p.suffix in (".h", ".cpp")):
        path = source.relative_to(root)
        module = module_of(path)
        if module is None:
            continue
        if module not in layers:
            found.append(f"{path}: module {module} is not in layers.toml")
            continue
        for number, line in enumerate(source.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if match and match[1] != module and match[1] not in layers[module]:
                allowed = ", ".join(layers[module]) or "nothing"
                found.append(f"{path}:{number}: {module} may not include {match[1]} (allowed: {allowed})")
    return found


if __name__ == "__main__":
    lines = violations(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(lines))
    sys.exit(1 if lines else 0)
