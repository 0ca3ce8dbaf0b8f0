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

from conftest import ROOT, mpirun

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
LAUNCHER_PATIENCE_S = 10


def processes_of(session):
    """Those of a session that are alive: the launcher has started them, wherever they hang in the tree."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX" and int(fields[3]) == session:
                    found.append(int(entry.name))
    return found


def describe(process):
    """What it is, what state it is in, and where in the kernel it waits."""
    folder = pathlib.Path(f"/proc/{process}")
    with contextlib.suppress(OSError):
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        return f"{process} {state} {(folder / 'wchan').read_text()} {command}"
    return f"{process} has ended"


class Launch:
    """danaus explore --resume in a session of its own: alone, or as three ranks of which one is the victim.

    When a rank is killed, mpirun lets the others go on for `grace_s` seconds, then sends SIGTERM, and as much later SIGKILL.
    """

    def __init__(self, danaus, folder, victim, grace_s=1):
        launcher, environment = ([], None) if victim is None else mpirun(3)
        if environment is not None:
            environment["OMPI_MCA_odls_base_sigkill_timeout"] = str(grace_s)
        threads = ["--threads", "1"] if victim is None else []
        self.log = open(folder / "log.txt", "w+")
        self.process = subprocess.Popen([*launcher, danaus.path, "explore", "s.toml", "-o", "t.db", "--resume", *threads],
                                        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log, start_new_session=True)
        self.victim = victim
        self.handle = None  # of the victim
        self.killed = False
        self.launcher_hung = False
        self.deadline = time.monotonic() + PATIENCE_S

    def __enter__(self):
        try:
            self.find_victim()
        except BaseException:
            self.__exit__()
            raise
        self.start = time.monotonic()
        return self

    def find_victim(self):
        if self.victim is None:
            self.handle = os.pidfd_open(self.process.pid)
        while self.handle is None and not self.ended():
            for process in processes_of(self.process.pid):
                with contextlib.suppress(OSError):
                    handle = os.pidfd_open(process)
                    if f"OMPI_COMM_WORLD_RANK={self.victim}".encode() in pathlib.Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                        self.handle = handle
                        break
                    os.close(handle)
            time.sleep(0.005)

    def __exit__(self, *exception):
        for process in processes_of(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        if self.handle is not None:
            os.close(self.handle)

    def ended(self):
        if self.process.poll() is not None:
            return True
        assert time.monotonic() < self.deadline, self.left("it does not end")
        return False

    def left(self, what):
        return "\n".join([what, *map(describe, processes_of(self.process.pid))])

    def kill(self):
        self.killed = True
        if self.handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def finish(self):
        """The exit code. Nobody is left behind, without our help; except that we end a launcher that hangs.

        mpirun of Open MPI 4.1.4 with PMIx 4.2.2 (Debian 12) now and then waits for ever if a rank is killed while it connects
        to mpirun, in MPI_Init: it says "PMIX ERROR: UNREACHABLE in file [..]ptl_base_connection_hdlr.c", ends the other
        ranks, and then waits in PMIx_server_finalize for a lock that no thread of it will ever release. No rank is alive then.
        A rank that is alive is never excused, nor a run of which nobody was killed.
        """
        self.deadline = time.monotonic() + PATIENCE_S
        alone_since = None
        while not self.ended():
            only_launcher = self.killed and self.victim is not None and processes_of(self.process.pid) == [self.process.pid]
            alone_since = (alone_since or time.monotonic()) if only_launcher else None
            if only_launcher and time.monotonic() > alone_since + LAUNCHER_PATIENCE_S:
                self.launcher_hung = True
                self.process.kill()
            time.sleep(0.01)
        code = self.process.wait()
        while processes_of(self.process.pid):
            assert time.monotonic() < self.deadline, self.left("left behind")
            time.sleep(0.01)
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
    killed = in_the_middle = attempts = hangs_of_launcher = 0
    while killed < kills:
        for path in tmp_path.glob("t.db*"):
            path.unlink()
        before = {}
        for _ in range(dice.randint(1, 6)):
            attempts += 1
            with Launch(danaus, tmp_path, victim, grace_s=dice.choice([0, 0, 1])) as launch:
                wait_for_moment(launch, tmp_path, dice.choice(["any", "work", "work", "creation", "write"]), dice, span_s, work_s)
                launch.kill()
                code = launch.finish()
            there = rows_of_copy(tmp_path, tmp_path / "copy")
            assert before.items() <= there.items() <= all_rows.items()
            before = there
            in_the_middle += 0 < len(there) < POINTS
            hangs_of_launcher += launch.launcher_hung
            print(code, len(there), f"of {POINTS} points", "(mpirun hung)" if launch.launcher_hung else "")
            killed += code != 0
            if code == 0 or killed == kills:
                break
        _, log = danaus("explore", "s.toml", "-o", "t.db", "--resume", cwd=tmp_path)
        assert f"{POINTS} points in t.db: {POINTS - len(before)} computed, {len(before)} there before" in log
        assert rows_of_copy(tmp_path, tmp_path / "copy") == all_rows
        form = dice.choice(sorted(exports))
        assert danaus("explore", "export", "t.db", "--format", form, cwd=tmp_path)[0] == exports[form]
        assert attempts < 10 * kills, "the study ends before it can be killed"
    print(f"{killed} kills, {in_the_middle} in the middle, mpirun hung {hangs_of_launcher} times")
    assert in_the_middle > 0, "the kills miss the middle of the study"
