"""kill -9 at seeded random moments, several times in a row on one database: --resume completes it to the bytes of an undisturbed run."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from conftest import ROOT

STUDY = """[study]
name = "t"
model = "m.toml"
chip = "unit"
objective = ["min latency_ns", "min area_mm2"]

[sweep]
map = ["linear", "sparse", "dense"]
blocks = [2, 4]
"array.rows" = {from = 16, to = 64, step = 4}
"array.cols" = {from = 16, to = 64, step = 4}
"adc.per_array" = {from = 1, to = 32, factor = 2}
"adc.bits" = [6, 8]
"""
POINTS = 3 * 2 * 13 * 13 * 6 * 2
PATIENCE_S = 120


def processes_of(session):
    """Those of a session that are alive: the launcher has started them, wherever they hang in the tree."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z" and int(fields[3]) == session:
                    found.append(int(entry.name))
    return found


class Launch:
    """danaus explore --resume in a session of its own: alone, or as three ranks of which one is the victim."""

    def __init__(self, danaus, folder, victim):
        environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        launcher = [] if victim is None else ["mpirun", "--oversubscribe", "-n", "3"]
        threads = ["--threads", "1"] if victim is None else []
        self.log = open(folder / "log.txt", "w+")
        self.process = subprocess.Popen([*launcher, danaus.path, "explore", "s.toml", "-o", "t.db", "--resume", *threads],
                                        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log, start_new_session=True)
        self.victim = victim
        self.handle = None  # of the victim

    def __enter__(self):
        if self.victim is None:
            self.handle = os.pidfd_open(self.process.pid)
        while self.handle is None and self.process.poll() is None:
            for process in processes_of(self.process.pid):
                with contextlib.suppress(OSError):
                    handle = os.pidfd_open(process)
                    if f"OMPI_COMM_WORLD_RANK={self.victim}".encode() in pathlib.Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                        self.handle = handle
                        break
                    os.close(handle)
            time.sleep(0.005)
        self.start = time.monotonic()
        return self

    def __exit__(self, *exception):
        for process in processes_of(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        if self.handle is not None:
            os.close(self.handle)

    def ended(self):
        return self.process.poll() is not None

    def kill(self):
        if self.handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def finish(self):
        """The exit code. Nobody is left behind, without our help."""
        code = self.process.wait(timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while processes_of(self.process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert processes_of(self.process.pid) == []
        self.log.seek(0)
        text = self.log.read()
        assert code != 0 or f"{POINTS} points in t.db" in text, text
        assert "error[" not in text.replace("error[cli.interrupted]", ""), text  # mpirun ends the other ranks by SIGTERM
        return code


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def wait_for_moment(launch, folder, kind, dice, span_s, work_s):
    """Until the moment to kill: any, any while there is a database, as it comes into being, or as a transaction is written."""
    if kind == "work":
        while not launch.ended() and size_of(folder / "t.db") <= 0:
            time.sleep(0.001)
    if kind in ("any", "work"):
        moment = (launch.start if kind == "any" else time.monotonic()) + dice.uniform(0, span_s if kind == "any" else work_s)
        while not launch.ended() and time.monotonic() < moment:
            time.sleep(0.001)
        return
    watched = folder / ("t.db" if kind == "creation" else "t.db-wal")
    before = size_of(watched) if kind == "write" else -1
    while not launch.ended() and size_of(watched) in (before, -1):
        time.sleep(0.0002)
    time.sleep(dice.choice([0, dice.uniform(0, 0.002), dice.uniform(0, 0.02)]))


def rows_of_copy(folder, copy):
    """Number -> id of the points, from a copy: looking at the database itself would recover it before danaus does."""
    if not (folder / "t.db").exists():
        return {}
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in ("t.db", "t.db-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, copy)
    with contextlib.closing(sqlite3.connect(copy / "t.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone() == (0,):
            return {}
        rows = connection.execute("SELECT number, id FROM points").fetchall()
    assert len({number for number, _ in rows}) == len({digest for _, digest in rows}) == len(rows)
    return dict(rows)


@pytest.mark.parametrize("victim, kills, seed", [(None, 26, 1), (1, 12, 2), (0, 12, 3)],
                         ids=["one process", "a worker rank", "rank 0"])
def test_a_study_that_is_killed_again_and_again(danaus, tmp_path, victim, kills, seed):
    if victim is not None and shutil.which("mpirun") is None:
        pytest.skip("no mpirun")
    (tmp_path / "m.toml").write_text((ROOT / "tests/golden/tiny.toml").read_text())
    (tmp_path / "s.toml").write_text(STUDY)
    with Launch(danaus, tmp_path, victim) as launch:
        while not launch.ended() and size_of(tmp_path / "t.db") <= 0:
            time.sleep(0.001)
        created = time.monotonic()
        assert launch.finish() == 0
        span_s = time.monotonic() - launch.start
        work_s = time.monotonic() - created
    exports = {form: danaus("explore", "export", "t.db", "--format", form, cwd=tmp_path)[0] for form in ("csv", "json")}
    all_rows = rows_of_copy(tmp_path, tmp_path / "copy")
    assert sorted(all_rows) == list(range(POINTS))

    dice = random.Random(seed)
    killed = in_the_middle = attempts = 0
    while killed < kills:
        for path in tmp_path.glob("t.db*"):
            path.unlink()
        before = {}
        for _ in range(dice.randint(1, 6)):
            attempts += 1
            with Launch(danaus, tmp_path, victim) as launch:
                wait_for_moment(launch, tmp_path, dice.choice(["any", "work", "work", "creation", "write"]), dice, span_s, work_s)
                launch.kill()
                code = launch.finish()
            there = rows_of_copy(tmp_path, tmp_path / "copy")
            assert before.items() <= there.items() <= all_rows.items()
            before = there
            in_the_middle += 0 < len(there) < POINTS
            print(code, len(there), f"of {POINTS} points")
            killed += code != 0
            if code == 0 or killed == kills:
                break
        _, log = danaus("explore", "s.toml", "-o", "t.db", "--resume", cwd=tmp_path)
        assert f"{POINTS} points in t.db: {POINTS - len(before)} computed, {len(before)} there before" in log
        assert rows_of_copy(tmp_path, tmp_path / "copy") == all_rows
        for form, text in exports.items():
            assert danaus("explore", "export", "t.db", "--format", form, cwd=tmp_path)[0] == text
        assert attempts < 10 * kills, "the study ends before it can be killed"
    assert in_the_middle > 0, "the kills miss the middle of the study"
