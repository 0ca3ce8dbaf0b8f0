"""scripts/cluster as a user of Slurm runs them, where a controller answers (a controller and a node daemon on one machine will do)."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time

import pytest

from conftest import ROOT
from test_kill import STUDY, POINTS

SCRIPTS = ROOT / "scripts/cluster"
PATIENCE_S = 180


def why_not():
    if shutil.which("sbatch") is None:
        return "no Slurm"
    ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True)
    return None if ping.returncode == 0 and " UP" in ping.stdout else "no Slurm controller answers"


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


class Slurm:
    def __init__(self, danaus, folder):
        self.folder = folder
        self.jobs = []
        self.environment = {**os.environ, "DANAUS": str(danaus.path), "PATH": f"{danaus.path.parent}:{os.environ['PATH']}",
                            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def submit(self, *arguments):
        done = subprocess.run(["sbatch", "--parsable", "--output=job-%A-%a.txt", *arguments], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        self.jobs.append(done.stdout.strip())
        return self.jobs[-1]

    def wait(self, job):
        """Until all tasks have ended: what they have printed."""
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(["squeue", "--noheader", "--jobs", job], capture_output=True, text=True).stdout.strip():
            assert time.monotonic() < deadline, subprocess.run(["squeue", "--long"], capture_output=True, text=True).stdout
            time.sleep(0.2)
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"job-{job}-*.txt")))


@pytest.fixture
def slurm(danaus, tmp_path):
    (tmp_path / "m.toml").write_text((ROOT / "tests/golden/tiny.toml").read_text())
    (tmp_path / "t.toml").write_text(STUDY)
    cluster = Slurm(danaus, tmp_path)
    yield cluster
    for job in cluster.jobs:
        subprocess.run(["scancel", "--quiet", job], capture_output=True)


@pytest.fixture
def alone(danaus, slurm):
    danaus("explore", "t.toml", "-o", "alone.db", "-q", cwd=slurm.folder)
    return danaus("explore", "export", "alone.db", cwd=slurm.folder)[0]


def test_an_array_of_shards_and_the_job_that_merges_them(danaus, slurm, alone):
    array = slurm.submit("--array=1-3", str(SCRIPTS / "array.sh"), "t.toml")
    merge = slurm.submit(f"--dependency=afterok:{array}", "--wrap", "danaus explore merge t-shard-*.db -o t.db")
    log = slurm.wait(array)
    assert log.count(f"{POINTS // 3} computed, 0 there before") == 3, log
    assert f"{POINTS} points in t.db" in slurm.wait(merge)
    assert danaus("explore", "export", "t.db", cwd=slurm.folder)[0] == alone


def test_a_shard_alone_knows_how_many_there_are(slurm):
    log = slurm.wait(slurm.submit("--array=2", str(SCRIPTS / "array.sh"), "t.toml", "4"))
    assert f"{POINTS // 4} points in t-shard-2.db" in log, log


def ranks_by(script, *arguments):
    return ["--ntasks=2", str(SCRIPTS / script), "t.toml", *arguments]


@pytest.mark.parametrize("job", [ranks_by("ranks.sh"), ranks_by("mpirun.sh", "2")], ids=["srun", "mpirun"])
def test_ranks_in_a_job_that_is_cancelled_and_submitted_again(danaus, slurm, alone, job):
    cores = subprocess.run(["sinfo", "--noheader", "--format=%C"], capture_output=True, text=True).stdout.split("/")[-1]
    if int(cores) < 2:
        pytest.skip("the cluster has one core")
    first = slurm.submit(*job)
    deadline = time.monotonic() + PATIENCE_S
    rows = 0
    while rows == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.suppress(sqlite3.OperationalError):
            with contextlib.closing(sqlite3.connect(f"file:{slurm.folder}/t.db?mode=ro", uri=True)) as connection:
                rows = connection.execute("SELECT count(*) FROM points").fetchone()[0]
    subprocess.run(["scancel", first], check=True, capture_output=True)
    slurm.wait(first)
    log = slurm.wait(slurm.submit(*job))
    assert log.count(f"{POINTS} points in t.db") == 1 and " 0 there before" not in log, log
    assert danaus("explore", "export", "t.db", cwd=slurm.folder)[0] == alone
