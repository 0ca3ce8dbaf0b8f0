"""Promises of the command line: same input, same result; files that round-trip; streams; interrupts."""

import json
import os
import pathlib
import pty
import signal
import subprocess

import numpy
import pytest

import safetensors_file

HERE = pathlib.Path(__file__).parent
SMALL = ("--blocks", "4", "--chip", "unit", "--set", "array.rows=16", "--set", "array.cols=16", "--set", "adc.per_array=4")

LONG = ("bert-large", "--mode", "encode", "--map", "linear", "--tokens", "4096")  # minutes, never run to its end


def without_provenance(text):
    document = json.loads(text)
    assert set(document.pop("provenance")) == {"version", "command", "seed", "threads", "host", "time", "wall_s"}
    return document


@pytest.fixture
def program(danaus, tmp_path):
    path = tmp_path / "tiny.dnx"
    danaus("compile", HERE / "tiny.toml", "--map", "dense", *SMALL, "-o", path)
    return path


@pytest.mark.parametrize("arguments", [
    ("run", "bert-large", "--blocks", "32", "--map", "linear,dense"),
    ("run", "smollm2-135m", "--mode", "prefill", "--tokens", "4"),
    ("run", "smollm2-135m", "--mode", "prefill", "--tokens", "4", "--chips", "2", "--set", "chip.arrays=600", "--reload"),
    ("project", "llama-7b"),
])
def test_same_result_for_any_thread_count(danaus, arguments):
    one, two = (without_provenance(danaus(*arguments, "--json", "--threads", threads)[0]) for threads in (1, 2))
    assert one == two


def test_binary_and_text_round_trip(danaus, program, tmp_path):
    danaus("disasm", program, "-o", tmp_path / "tiny.txt")
    danaus("asm", tmp_path / "tiny.txt", "-o", tmp_path / "again.dnx")
    assert (tmp_path / "again.dnx").read_bytes() == program.read_bytes()
    assert danaus("disasm", program)[0] == (tmp_path / "tiny.txt").read_text()


def test_placement_leaves_and_enters(danaus, program, tmp_path):
    arguments = ("compile", HERE / "tiny.toml", "--map", "dense", *SMALL)
    danaus(*arguments, "--placement", tmp_path / "placement.json", "-o", tmp_path / "a.dnx")
    danaus(*arguments, "--from-placement", tmp_path / "placement.json", "-o", tmp_path / "b.dnx")
    assert (tmp_path / "a.dnx").read_bytes() == (tmp_path / "b.dnx").read_bytes() == program.read_bytes()


def test_verify(danaus, program):
    stdout, stderr = danaus("verify", program, "--full", "--model", HERE / "tiny.toml")
    assert "verified" in stdout and stderr == ""
    assert danaus.json("verify", program)["verified"] is True


def test_verify_against_another_model(danaus, program, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text((HERE / "tiny.toml").read_text().replace("ffn = 32", "ffn = 48"))
    stdout, stderr = danaus("verify", program, "--model", other, code=1)
    assert stdout == "" and "error[verify.model]" in stderr
    stdout, stderr = danaus("verify", program, "--model", other, "--json", code=1)
    document = json.loads(stdout)
    assert stderr == "" and document["verified"] is False and document["errors"][0]["id"] == "verify.model"
    assert "another file" in document["notes"][0]


def test_a_changed_command_fails_the_proof(danaus, program, tmp_path):
    text = danaus("disasm", program)[0].splitlines()
    at = max(n for n, line in enumerate(text) if line.startswith("mvm "))
    text[at] = text[at].replace(" set ", " add ") if " set " in text[at] else text[at].replace(" add ", " set ")
    (tmp_path / "changed.txt").write_text("\n".join(text) + "\n")
    stdout, stderr = danaus("verify", tmp_path / "changed.txt", code=1)
    assert stdout == "" and "error[verify." in stderr
    stdout, stderr = danaus("simulate", tmp_path / "changed.txt", code=1)
    assert stdout == "", "no latency for a program that computes something else"


def test_simulate_agrees_with_run(danaus, program):
    ran, = danaus.json("run", HERE / "tiny.toml", "--map", "dense", *SMALL)["results"]
    simulated = danaus.json("simulate", program)
    for key in ("latency_ns", "linear_latency_ns", "energy_nj", "breakdown_ns", "breakdown_nj", "counts"):
        assert simulated[key] == ran[key], key
    assert simulated["program"]["digest"] == ran["program"]["digest"]


def test_simulate_on_another_chip(danaus, program):
    slow = danaus.json("simulate", program, "--set", "array.settle_ns=20")
    assert slow["linear_latency_ns"] > danaus.json("simulate", program)["linear_latency_ns"]


def test_underscores_are_dashes(danaus):
    danaus("run", HERE / "tiny.toml", *SMALL, "--share_inputs", "off")


def test_talk_goes_to_stderr_and_quiet_silences_it(danaus, tmp_path):
    arguments = ("compile", HERE / "tiny.toml", *SMALL, "-o", tmp_path / "tiny.dnx")
    stdout, stderr = danaus(*arguments)
    assert stdout == "" and "wrote" in stderr
    assert danaus(*arguments, "-q") == ("", "")


def test_progress_events(danaus):
    stdout, stderr = danaus("run", HERE / "tiny.toml", *SMALL, "--json", "--progress", "json")
    json.loads(stdout)
    events = [json.loads(line) for line in stderr.splitlines()]
    assert {event["event"] for event in events} == {"begin", "end"}
    assert [event["step"] for event in events if event["event"] == "begin"][:2] == ["linear: compile", "linear: prove and time"]


def test_no_progress_when_stderr_is_no_terminal(danaus):
    assert danaus("run", "bert-large")[1] == ""


def test_result_that_cannot_be_written(danaus):
    with open("/dev/full", "w") as full:
        _, stderr = danaus("show", "models", code=6, stdout=full)
    assert "error[cli.stdout]" in stderr


def test_closed_stdout(danaus):
    done = subprocess.run(f"'{danaus.path}' show models >&-", shell=True, stderr=subprocess.PIPE)
    assert done.returncode == 6 and b"error[cli.stdout]" in done.stderr


def test_closed_streams_do_not_become_output_files(danaus, program, tmp_path):
    subprocess.run(f"'{danaus.path}' disasm '{program}' -o '{tmp_path}/a.txt' --progress json <&- >&- 2>&-", shell=True, check=True)
    assert (tmp_path / "a.txt").read_text() == danaus("disasm", program)[0]


def test_output_replaces_what_a_link_leads_to(danaus, program, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.txt").symlink_to("folder/file.txt")
    for _ in range(2):  # the first time the link leads nowhere
        danaus("disasm", program, "-o", tmp_path / "link.txt")
        assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "folder/file.txt").is_file()
    assert os.listdir(tmp_path / "folder") == ["file.txt"]


def test_output_does_not_replace_a_pipe(danaus, program, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        assert "error[file.not-regular]" in danaus("disasm", program, "-o", tmp_path / name, code=6)[1]
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


def interrupt_at_first_step(process):
    """Sends Ctrl-C when the first progress event says that the work has begun."""
    first = process.stderr.readline()
    assert json.loads(first)["event"] == "begin"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in stderr


def test_interrupt(danaus):
    interrupt_at_first_step(subprocess.Popen([danaus.path, "run", *LONG, "--progress", "json"], stderr=subprocess.PIPE))


def test_interrupt_of_another_map_than_auto(danaus):
    """Only while auto chooses an interrupt asks for the best so far."""
    maps = [word if word != "linear" else "linear,auto" for word in LONG]
    interrupt_at_first_step(subprocess.Popen([danaus.path, "run", *maps, "--progress", "json"], stderr=subprocess.PIPE))


def test_interrupt_leaves_no_half_written_file(danaus, tmp_path):
    weights = numpy.random.default_rng(1).standard_normal((1024, 1024))
    (tmp_path / "m.safetensors").write_bytes(safetensors_file.pack({f"w{n}": weights for n in range(4)}))
    interrupt_at_first_step(subprocess.Popen([danaus.path, "project", "m.safetensors", "-o", "f.safetensors", "--progress", "json"],
                                             cwd=tmp_path, stderr=subprocess.PIPE))
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_progress_bar_on_a_terminal(danaus):
    """A step of more than two seconds shows itself."""
    outside, inside = pty.openpty()
    process = subprocess.Popen([danaus.path, "run", *LONG], stdout=subprocess.DEVNULL, stderr=inside)
    os.close(inside)
    seen = b""
    while b"linear: prove and time  #" not in seen and len(seen) < 100_000:
        seen += os.read(outside, 4096)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    os.close(outside)
    assert b"\rlinear: prove and time  #" in seen and b"eta" in seen


def notes(stderr):
    return [line for line in stderr.splitlines() if line.startswith("note: ")]


@pytest.mark.parametrize("command", [("run", "tiny.toml", "--map", "linear"), ("compile", "tiny.toml", "--map", "linear", "-o", "{}/t.dnx")],
                         ids=["run", "compile"])
def test_too_few_arrays_for_copies_are_said_to_be(danaus, tmp_path, command):
    replicate = [word.format(tmp_path) for word in command] + [*SMALL, "--mode", "prefill", "--tokens", "4", "--replicate"]
    _, stderr = danaus(*replicate, "1", cwd=HERE)
    assert len(notes(stderr)) == 1 and notes(stderr)[0].startswith("note: linear: no copies: --replicate would have to be at least "), stderr
    least = int(notes(stderr)[0].split()[-1])
    assert notes(danaus(*replicate, least, cwd=HERE)[1]) == []
    assert notes(danaus(*replicate, least - 1, cwd=HERE)[1]) == notes(stderr)
    _, stderr = danaus(*replicate, least, "--set", "chip.arrays=40", cwd=HERE)
    assert notes(stderr) == [] or notes(stderr)[0].endswith("arrays are left over")


def test_a_length_beyond_the_context_is_noted(danaus, tmp_path):
    def stderr_of(command, *options):
        return danaus(command, "gpt2", "--map", "dense", *options, *(["-o", tmp_path / "p.dnx"] if command == "compile" else []))[1]
    wanted = "note: 1025 tokens are beyond the context of 'gpt2', 1024: the cost is that of a model that takes them"
    for command in ("run", "compile"):
        assert notes(stderr_of(command, "--kv", "1025")) == [wanted]
        assert notes(stderr_of(command, "--kv", "1024")) == []


def test_blocked_wiring_does_not_drive_rows_for_nothing(danaus, tmp_path):
    """An array of SparseMap reads blocks of other rows at once: what is cut for the wiring must not drive all of them. Refused by the proof otherwise."""
    shape = (HERE / "tiny.toml").read_text().replace("hidden = 16", "hidden = 1024").replace("ffn = 32", "ffn = 4096")
    (tmp_path / "m.toml").write_text(shape)
    options = ["--map", "sparse", "--blocks", "32", "--chip", "unit", "--set", "adc.per_array=8", "--set", "adc.wiring=blocked"]
    results = danaus.json("run", "m.toml", *options, cwd=tmp_path)["results"]
    assert results[0]["conversions"] > 0
