"""scripts/cluster called wrongly: they say how they are used. Under Slurm: test_slurm.py."""

import os
import subprocess

import pytest

from conftest import ROOT

SCRIPTS = ROOT / "scripts/cluster"


@pytest.mark.parametrize("script, arguments", [("mpirun.sh", []), ("mpirun.sh", ["t.toml"]), ("array.sh", []), ("array.sh", ["t.toml"]), ("array.sh", ["t.toml", "2"]),
                                               ("ranks.sh", [])])
def test_usage(tmp_path, script, arguments):
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(["bash", str(SCRIPTS / script), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ") and f"scripts/cluster/{script} STUDY.toml" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_task_of_an_array_is_a_shard(tmp_path):
    (tmp_path / "danaus").write_text('#!/bin/bash\necho "$@"\n')
    (tmp_path / "danaus").chmod(0o755)
    environment = {**os.environ, "DANAUS": str(tmp_path / "danaus"), "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
    done = subprocess.run(["bash", str(SCRIPTS / "array.sh"), "a/t.toml"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("explore a/t.toml --shard 2/3 -o t-shard-2.db --resume"), done.stdout
