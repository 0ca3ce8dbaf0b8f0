"""danaus tune as a user runs it: what it makes is what eval reads, and a killed training goes on to the same file."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DANAUS = pathlib.Path(os.environ.get("DANAUS", ROOT / "build/danaus")).resolve()
BERT = ROOT / "tests/data/nn/bert"
has_engine = pytest.mark.skipif(not (DANAUS.parent / "libdanaus_tune_torch.so").exists(), reason="built without LibTorch")


def run(*arguments, program=DANAUS, code=0):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def ids(tmp_path):
    numbers = random.Random(1)
    lists = [[numbers.randrange(3, 29) for _ in range(18)] for _ in range(60)]
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(lists))
    return path


def tune(ids, out, *more, steps=200, **options):
    return run("tune", BERT, "--text", ids, "--blocks", "4:2", "--steps", steps, "--batch", 64, "--lengths", "8,16",
               "-o", out, *more, **options)


@has_engine
def test_the_tuned_model_is_nearer_to_the_dense_one(tmp_path, ids):
    out, log = tmp_path / "tuned.safetensors", tmp_path / "log.jsonl"
    document = json.loads(tune(ids, out, "--json", "--log", log, "--log-steps", 20).stdout)
    assert document["schema"] == "danaus.tune/1"
    assert document["steps"] == 200 and document["tokens"] == 200 * 64
    assert document["last_loss"] < 0.7 * document["first_loss"]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(20, 201, 20))
    assert records[-1]["loss"] == document["last_loss"]

    def embeddings(*more):
        return json.loads(run("eval", BERT, "--ids", ids, "--json", *more).stdout)["embeddings"]

    def cosine(a, b):
        norm = lambda x: sum(v * v for v in x) ** 0.5
        return sum(x * y for x, y in zip(a, b)) / norm(a) / norm(b)

    dense, projected, tuned = embeddings(), embeddings("--blocks", "4:2"), embeddings("--factors", out)
    mean = lambda found: sum(map(cosine, dense, found)) / len(dense)
    assert 1 - mean(tuned) < 0.2 * (1 - mean(projected))


@has_engine
def test_tuning_goes_on_from_tuned_factors(tmp_path, ids):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    tune(ids, first, "--json")
    done = run("tune", BERT, "--text", ids, "--factors", first, "--steps", 20, "--batch", 64, "--lengths", "8,16", "--rate",
               "0.1", "-o", second, "--json")
    before = json.loads(tune(ids, tmp_path / "again.safetensors", "--json").stdout)
    assert json.loads(done.stdout)["first_loss"] < 0.8 * before["first_loss"]


@has_engine
def test_a_killed_training_goes_on_to_the_same_file(tmp_path, ids):
    whole, resumed, checkpoint = (tmp_path / name for name in ("whole.st", "resumed.st", "checkpoint.st"))
    tune(ids, whole, steps=3000)
    kept = ["--checkpoint", checkpoint, "--save-steps", "50", "--resume"]
    command = [DANAUS, "tune", BERT, "--text", ids, "--blocks", "4:2", "--steps", "3000", "--batch", "64", "--lengths", "8,16",
               "-o", resumed, *kept]
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not resumed.exists()
    document = json.loads(tune(ids, resumed, *kept, "--threads", "1", "--json", steps=3000).stdout)
    assert 0 < document["resumed_from"] < 3000
    assert resumed.read_bytes() == whole.read_bytes()
    refused = tune(ids, resumed, *kept, steps=2999, code=2)
    assert "error[tune.checkpoint]" in refused.stderr


KJV = ROOT / "data/tiny-kjv"
FROM_SCRATCH = ["tune", KJV / "tiny-kjv.gguf", "--from-scratch", "--text", KJV / "calibration.txt", "--batch", 512, "--lengths", 64]


@has_engine
def test_a_model_from_nothing(tmp_path):
    out, again = tmp_path / "out.gguf", tmp_path / "again.gguf"
    document = json.loads(run(*FROM_SCRATCH, "--steps", 60, "--log-steps", 10, "--json", "-o", out).stdout)
    assert document["first_loss"] > 5.5 and document["last_loss"] < document["first_loss"] - 0.5
    run(*FROM_SCRATCH, "--steps", 60, "--threads", 1, "-o", again)
    assert out.read_bytes() == again.read_bytes()
    assert out.stat().st_size == (KJV / "tiny-kjv.gguf").stat().st_size
    nll = json.loads(run("eval", out, "--text", KJV / "calibration.txt", "--json").stdout)["nll"]
    assert nll < document["last_loss"] + 0.3
    refused = run(*FROM_SCRATCH, "--factors", out, "-o", again, code=2)
    assert "--from-scratch" in refused.stderr or "--factors" in refused.stderr


def test_without_the_library(tmp_path, ids):
    alone = tmp_path / "danaus"
    shutil.copy(DANAUS, alone)
    done = tune(ids, tmp_path / "out", program=alone, code=4)
    assert "error[tune.no-engine]" in done.stderr and "make tune" in done.stderr
    (tmp_path / "libdanaus_tune_torch.so").write_text("no library")
    done = tune(ids, tmp_path / "out", program=alone, code=4)
    assert "error[tune.no-engine]" in done.stderr and "cannot be opened" in done.stderr
    assert not (tmp_path / "out").exists()


@has_engine
@pytest.mark.parametrize("name, more, code, error", [
    ("mixtral", [], 4, "tune.unsupported"),
    ("bert", ["--lengths", "4096"], 2, "tune.lengths"),
    ("bert", ["--batch", "100000"], 3, "tune.little-text"),
    ("bert", ["--loss-text", "1"], 4, "tune.unsupported"),
    ("bert", ["--from-scratch"], 4, "tune.unsupported"),
])
def test_errors(tmp_path, ids, name, more, code, error):
    text = ids if name == "bert" else tmp_path / "flat.json"
    if name != "bert":
        text.write_text(json.dumps(sum(json.loads(ids.read_text()), [])))
    blocks = [] if "--from-scratch" in more else ["--blocks", "4"]
    lengths = [] if "--lengths" in more else ["--lengths", "8"]
    batch = [] if "--batch" in more else ["--batch", "64"]
    done = run("tune", ROOT / "tests/data/nn" / name, "--text", text, *blocks, "--steps", "30", *lengths, *batch, *more,
               "-o", tmp_path / "out.safetensors", code=code)
    assert f"error[{error}]" in done.stderr
    assert not (tmp_path / "out.safetensors").exists()
