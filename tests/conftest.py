"""What the pytest folders share: the program under test and golden files.

pytest tests/golden tests/error --update     writes the golden files anew; read the difference before you commit it
"""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="write the golden files anew")


class Danaus:
    """The real program, run as a user would. Files are named relative to `cwd`, so messages hold no machine paths."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *arguments, cwd=ROOT, code=0, timeout=600, stdin=None, stdout=subprocess.PIPE):
        done = subprocess.run([self.path, *map(str, arguments)], cwd=cwd, input=stdin, stdout=stdout, stderr=subprocess.PIPE,
                              timeout=timeout)
        stderr = done.stderr.decode()
        assert done.returncode == code, f"exit code {done.returncode}, expected {code}\n{stderr}"
        return (done.stdout or b"").decode(), stderr

    def json(self, *arguments, **options):
        return json.loads(self(*arguments, "--json", **options)[0])


def mpirun(ranks):
    """The command and environment that start ranks here, however few cores there are and whoever we are.

    psec: PMIx asks a MUNGE daemon who we are, ten times and for two seconds, where MUNGE is installed and its daemon is down.
    """
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun")
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PMIX_MCA_psec": "native"}
    return ["mpirun", "--oversubscribe", "-n", str(ranks)], environment


@pytest.fixture(scope="session")
def danaus():
    path = pathlib.Path(os.environ.get("DANAUS", ROOT / "build/danaus")).resolve()
    if not path.is_file():
        pytest.exit(f"{path} is not built: make build, or set DANAUS", returncode=1)
    return Danaus(path)


@pytest.fixture(scope="session")
def execute_model(danaus):
    """execute_model(model, mode, inputs, prior): outputs of the compiled model in double precision, per token; tools/ says what
    the arguments are."""
    path = danaus.path.parent / "execute_model"
    if not path.is_file():
        pytest.skip("execute_model is built with the tests (DANAUS_DEVELOPER)")

    def execute(model, mode, inputs, prior=None):
        done = subprocess.run([path, model, mode], input=json.dumps({"inputs": inputs, "prior": prior or {}}).encode(),
                              capture_output=True, timeout=600)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)
    return execute


@pytest.fixture(scope="session")
def golden(request):
    """golden(path, text): the text must be what the file holds."""
    def compare(path, text):
        if request.config.getoption("--update"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"{path.relative_to(ROOT)} is missing: run pytest with --update"
        assert text == path.read_text()
    return compare
