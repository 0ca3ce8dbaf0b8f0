"""danaus explore as a user runs it: the same export however it was computed; resume, shards, ranks, merge, interrupt."""

import contextlib
import csv
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import pytest

from conftest import ROOT, mpirun

TINY = (ROOT / "tests/golden/tiny.toml").read_text()
STUDY = """[study]
name = "t"
model = "m.toml"
chip = "unit"
objective = ["min latency_ns", "min area_mm2"]
constraint = ["latency_ns <= 1500"]

[sweep]
map = ["linear", "sparse", "dense"]
blocks = [2, 4]
"array.rows" = [16, 32]
"array.cols" = [16]
"adc.per_array" = {from = 1, to = 32, factor = 2}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m.toml").write_text(TINY)
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path


def export(danaus, folder, database="t.db", *options):
    return danaus("explore", "export", database, *options, cwd=folder)[0]


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def run_ranks(danaus, folder, ranks, *arguments, code=0):
    command, environment = mpirun(ranks)
    done = subprocess.run([*command, danaus.path, "explore", *arguments], cwd=folder, env=environment, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


def test_points_are_the_product_and_figures_those_of_run(danaus, folder):
    danaus("explore", "s.toml", "-q", cwd=folder)
    table = rows(export(danaus, folder))
    keys = ["map", "blocks", "array.rows", "array.cols", "adc.per_array"]
    product = itertools.product(["linear", "sparse", "dense"], ["2", "4"], ["16", "32"], ["16"], ["1", "2", "4", "8", "16", "32"])
    assert [tuple(row[key] for key in keys) for row in table] == list(product)
    for row in table[::7]:
        if row["adc.per_array"] == "32":  # more converters than columns: such a chip cannot be
            assert row["error"] == "chip.range" and row["latency_ns"] == "" and row["feasible"] == "false"
            continue
        settings = [word for key in keys[2:] for word in ("--set", f"{key}={row[key]}")]
        result = danaus.json("run", "m.toml", "--chip", "unit", "--map", row["map"], "--blocks", row["blocks"], *settings, cwd=folder)["results"][0]
        for metric in ("latency_ns", "linear_latency_ns", "energy_nj", "area_mm2", "utilisation", "throughput_tokens_per_s"):
            assert float(row[metric]) == result[metric], metric
        for metric in ("arrays", "parameters", "macs", "activations", "conversions", "adc_rounds"):
            assert row[metric] == str(result[metric])
        assert row["feasible"] == ("true" if result["latency_ns"] <= 1500 else "false")


def test_the_front_is_of_feasible_points_that_none_beats(danaus, folder):
    danaus("explore", "s.toml", "-q", cwd=folder)
    table = rows(export(danaus, folder))
    assert {row["feasible"] for row in table} == {"true", "false"}
    feasible = [row for row in table if row["feasible"] == "true"]
    figures = {row["point"]: (float(row["latency_ns"]), float(row["area_mm2"])) for row in feasible}
    front = {p for p, (l, a) in figures.items()
             if not any(x <= l and y <= a and (x < l or y < a) for x, y in figures.values())}
    assert {row["point"] for row in table if row["pareto"] == "true"} == front
    assert {row["point"] for row in rows(export(danaus, folder, "t.db", "--pareto"))} == front
    document = danaus.json("explore", "pareto", "t.db", cwd=folder)
    assert {str(point["point"]) for point in document["points"]} == front


def test_threads_shards_ranks_and_resume_give_the_same_bytes(danaus, folder):
    danaus("explore", "s.toml", "-o", "one.db", "--threads", "1", "-q", cwd=folder)
    exports = {form: export(danaus, folder, "one.db", "--format", form) for form in ("csv", "json")}
    danaus("explore", "s.toml", "-o", "two.db", "--threads", "2", "-q", cwd=folder)
    for number in (3, 1, 2):
        danaus("explore", "s.toml", "-o", f"shard{number}.db", "--shard", f"{number}/3", "-q", cwd=folder)
    danaus("explore", "merge", "shard2.db", "shard1.db", "-o", "part.db", "-q", cwd=folder)
    assert len(rows(export(danaus, folder, "part.db"))) == 48
    danaus("explore", "merge", "part.db", "shard3.db", "shard1.db", "-o", "merged.db", "-q", cwd=folder)
    danaus("explore", "s.toml", "-o", "part.db", "--resume", "-q", cwd=folder)
    for database in ("two.db", "merged.db", "part.db"):
        for form, text in exports.items():
            assert export(danaus, folder, database, "--format", form) == text, (database, form)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_give_the_same_bytes(danaus, folder, ranks):
    danaus("explore", "s.toml", "-o", "one.db", "-q", cwd=folder)
    done = run_ranks(danaus, folder, ranks, "s.toml", "-o", "ranks.db", "-v")
    assert done.stdout.count("on the front") == 1
    assert export(danaus, folder, "ranks.db") == export(danaus, folder, "one.db")


def test_an_error_is_said_once_by_rank_0(danaus, folder):
    (folder / "s.toml").write_text(STUDY.replace("linear", "linaer"))
    done = run_ranks(danaus, folder, 3, "s.toml", code=3)
    assert done.stderr.count("error[explore.value]") == 1
    (folder / "s.toml").write_text(STUDY)
    (folder / "t.db").write_text("no database")
    done = run_ranks(danaus, folder, 2, "s.toml", code=3)
    assert done.stderr.count("error[explore.database]") == 1


def test_a_rank_that_sees_another_study_is_found(danaus, folder):
    command, environment = mpirun(2)
    for rank in (0, 1):
        (folder / f"{rank}.toml").write_text(STUDY + f"kv = [{rank + 1}]\n")
    done = subprocess.run([*command, "sh", "-c", f'exec "{danaus.path}" explore $OMPI_COMM_WORLD_RANK.toml'], cwd=folder,
                          env=environment, capture_output=True, text=True, timeout=300)
    assert "error[explore.mpi]: rank 1 sees another study" in done.stderr
    assert not (folder / "t.db").exists()


def test_without_the_mpi_library_of_the_launcher_ranks_are_refused(danaus, folder):
    """There is none, or it is one that takes each rank for a process alone."""
    if subprocess.run(["sh", "-c", "ldconfig -p | grep -q libmpich.so.12"]).returncode == 0:
        pytest.skip("there is an MPICH, which waits for its launcher")
    environment = {**os.environ, "PMI_SIZE": "2", "PMI_RANK": "0", "PMIX_MCA_psec": "native", "LD_LIBRARY_PATH": ""}
    done = subprocess.run([danaus.path, "explore", "s.toml"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 4 and "error[explore.mpi]" in done.stderr


@pytest.mark.parametrize("variables, code", [
    ({"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}, 2),
    ({"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "3", "SLURM_PROCID": "0"}, 2),
    ({"SLURM_NTASKS": "1", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}, 0),
    ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, 0),  # a batch script, a shell of salloc
    ({"SLURM_NTASKS": "8", "SLURM_STEP_ID": "batch"}, 0),
    ({"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "OMPI_COMM_WORLD_SIZE": "1"}, 0)])
def test_tasks_of_srun_that_do_not_know_each_other_are_refused(danaus, folder, variables, code):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "PMI", "OMPI"))}
    command = [danaus.path, "explore", "s.toml", "-q"]
    done = subprocess.run(command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True)
    assert done.returncode == code and ("error[explore.mpi]: srun has started 2 tasks" in done.stderr) == (code != 0)
    assert (folder / "t.db").exists() == (code == 0)
    command += ["--shard", "2/2", "-o", "2.db"]
    done = subprocess.run(command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_paths_start_at_the_folder_of_the_study(danaus, folder):
    """Not at the working directory, whatever is there."""
    place = folder / "deep/studies"
    place.mkdir(parents=True)
    shutil.copytree(ROOT / "tests/data/nn/llama", folder / "deep/llama")
    shutil.copytree(ROOT / "tests/data/nn/llama", place / "twin")
    (place / "ids.json").write_text("[1, 2, 3, 4]")
    (place / "p.toml").write_text('[[layer]]\nmatch = "*"\nstructure = "dense"\n')
    (place / "c.toml").write_text((ROOT / "chips/unit.toml").read_text().replace('"unit"', '"mine"'))
    (folder / "c.toml").write_text("not a chip")
    (place / "s.toml").write_text("""[study]
name = "t"
chip = "c.toml"
policy = "p.toml"
"adc.rule" = "fixed"
[sweep]
model = ["../llama", "twin"]
[accuracy]
ids = "ids.json"
calibrate = "ids.json"
""")
    danaus("explore", "deep/studies/s.toml", "-q", cwd=folder)
    table = rows(export(danaus, folder))
    assert [row["model"] for row in table] == ["../llama", "twin"] and {row["error"] for row in table} == {""}
    assert table[0]["perplexity"] == table[1]["perplexity"] != ""
    danaus("explore", "s.toml", "-q", cwd=place)
    assert export(danaus, place) == export(danaus, folder)
    for name, code in (("ids.json", 6), ("p.toml", 6), ("c.toml", 6), ("../llama", 6)):
        (place / name).rename(place / "away")
        _, stderr = danaus("explore", "deep/studies/s.toml", "-o", "x.db", cwd=folder, code=code)
        assert f"deep/studies/{name}" in stderr and "named by deep/studies/s.toml:" in stderr
        (place / "away").rename(place / name)


def test_an_empty_shard_or_name_is_no_default(danaus, folder):
    for option in ("--shard", "-o"):
        _, stderr = danaus("explore", "s.toml", option, "", cwd=folder, code=2)
        assert "error[cli.arguments]" in stderr and option in stderr and "an empty text names nothing" in stderr
    assert not (folder / "t.db").exists()


def test_a_database_is_no_study(danaus, folder):
    danaus("explore", "s.toml", "-q", cwd=folder)
    _, stderr = danaus("explore", "t.db", cwd=folder, code=3)
    assert "error[explore.syntax]: this is a database, not a study" in stderr and "danaus explore pareto t.db" in stderr


def test_results_know_the_sources_of_their_build(danaus, folder):
    danaus("explore", "s.toml", "-q", cwd=folder)
    build = json.loads(export(danaus, folder, "t.db", "--format", "json"))["study"]["version"]
    assert re.fullmatch(r"0\.1\.0\+[0-9a-f]{16}", build) and danaus("--version")[0] == "danaus 0.1.0\n"


def test_a_larger_budget_goes_on(danaus, folder):
    for budget in (10, 25):
        (folder / "s.toml").write_text(STUDY.replace("[study]", f"[study]\nbudget = {budget}"))
        danaus("explore", "s.toml", "--resume", "-q", cwd=folder)
        assert len(rows(export(danaus, folder))) == budget
    (folder / "s.toml").write_text(STUDY)
    _, stderr = danaus("explore", "s.toml", "--resume", cwd=folder)
    assert "72 points in t.db: 47 computed, 25 there before" in stderr
    assert len(rows(export(danaus, folder))) == 72


def test_a_smaller_budget_is_refused(danaus, folder):
    for budget, code in ((25, 0), (10, 3)):
        (folder / "s.toml").write_text(STUDY.replace("[study]", f"[study]\nbudget = {budget}"))
        _, stderr = danaus("explore", "s.toml", "--resume", "-q", cwd=folder, code=code)
    assert "error[explore.other-study]" in stderr and "25 points" in stderr and "10 now" in stderr
    assert len(rows(export(danaus, folder))) == 25


@pytest.mark.parametrize("change", [
    "UPDATE points SET number = 1000 WHERE number = 3",
    "UPDATE points SET id = (SELECT '0' || substr(id, 2, 30) || '0' FROM points WHERE number = 4) WHERE number = 3",
    "UPDATE points SET map = 'dense' WHERE number = 3",
    "UPDATE points SET error = 'place.capacity', message = 'm', latency_ns = NULL WHERE number = 3",
    "ALTER TABLE points RENAME COLUMN latency_ns TO latency"])
def test_a_damaged_database_is_not_resumed(danaus, folder, change):
    (folder / "s.toml").write_text(STUDY.replace("[study]", "[study]\nbudget = 25"))
    danaus("explore", "s.toml", "-q", cwd=folder)
    with sqlite3.connect(folder / "t.db") as connection:
        connection.execute(change)
    (folder / "s.toml").write_text(STUDY)
    _, stderr = danaus("explore", "s.toml", "--resume", "-q", cwd=folder, code=3)
    assert "error[explore.database]" in stderr


def unprivileged(command):
    """As someone to whom permissions mean something."""
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv")
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]


@pytest.mark.parametrize("mode, file_mode", [(0o555, 0o444), (0o755, 0o444), (0o555, 0o644)])
def test_a_database_that_cannot_be_written_can_be_read(danaus, folder, mode, file_mode):
    if subprocess.run(unprivileged([danaus.path, "--version"]), capture_output=True).returncode != 0:
        pytest.skip("the program lies where others than root cannot run it")
    danaus("explore", "s.toml", "-q", cwd=folder)
    expected = {words: danaus("explore", *words, cwd=folder)[0] for words in (("export", "t.db"), ("pareto", "t.db"))}
    with tempfile.TemporaryDirectory() as name:
        frozen = pathlib.Path(name)
        shutil.copy(folder / "t.db", frozen)
        if os.geteuid() == 0:
            os.chown(frozen, 65534, 65534)
            os.chown(frozen / "t.db", 65534, 65534)
        (frozen / "t.db").chmod(file_mode)
        frozen.chmod(mode)
        for words, text in expected.items():
            done = subprocess.run(unprivileged([danaus.path, "explore", *words]), cwd=frozen, capture_output=True, text=True)
            assert (done.returncode, done.stderr, done.stdout) == (0, "", text)
        assert [path.name for path in frozen.iterdir()] == ["t.db"]
        frozen.chmod(0o755)


def test_points_without_a_figure_are_not_feasible_and_say_why(danaus, folder):
    """List scheduling has no area and no converters; a decoder encodes nothing."""
    (folder / "s.toml").write_text("""[study]
name = "t"
model = "gpt2"
map = "linear"
objective = ["min latency_ns", "min area_mm2"]
constraint = "conversions <= 1e300"
[sweep]
chip = ["ibm-3dcim", "unit"]
mode = ["decode", "encode"]
""")
    stdout, _ = danaus("explore", "s.toml", cwd=folder)
    assert "1 x there is no area_mm2; there is no conversions, such as point 0\n" in stdout
    assert "1 x pipeline.list-mode, such as point 1: this model is a decoder\n" in stdout
    table = rows(export(danaus, folder))
    absent = ("area_mm2", "conversions", "adc_rounds", "buffer_bytes", "programming_time_us", "programming_energy_uj")
    assert [[row[name] == "" for name in absent] for row in table] == [[True] * 6] * 2 + [[False] * 6] + [[True] * 6]
    assert [row["feasible"] for row in table] == ["false", "false", "true", "false"]
    assert table[0]["message"] == "there is no area_mm2; there is no conversions" and table[0]["error"] == ""
    assert table[0]["latency_ns"] != "" and table[0]["arrays"] != ""
    document = json.loads(export(danaus, folder, "t.db", "--format", "json"))
    assert document["points"][0]["infeasible_because"] == table[0]["message"]
    assert document["points"][0]["metrics"]["area_mm2"] is None


def test_bounds_are_metrics_where_a_study_asks_for_them(danaus, folder):
    """With `bounds = true`, or an objective or a constraint on one, and then as `danaus run --json` has them; busy times and counts always."""
    study = """[study]
name = "t"
model = "bert-base"
mode = "decode"
kv = 16
map = "striped"
blocks = 32
{more}
[sweep]
"adc.per_array" = [4, 8]
"""
    text, _ = danaus("run", "bert-base", "--map", "striped", "--blocks", "32", "--kv", "16", "--set", "adc.per_array=8", "--json", cwd=folder)
    expected = json.loads(text)["results"][0]
    bound, counts = expected["bound"], expected["counts"]
    figures = {
        "bound_arrays": bound["arrays"],
        "bound_linear_latency_ns": bound["linear_latency_ns"],
        "bound_stage_by_stage_ns": bound["stage_by_stage_ns"],
        "bound_fewest_arrays_linear_latency_ns": bound["on_fewest_arrays"]["linear_latency_ns"],
        "bound_fewest_arrays_stage_by_stage_ns": bound["on_fewest_arrays"]["stage_by_stage_ns"],
        "bound_latency_ns": bound["latency_ns"],
        "bound_throughput_tokens_per_s": bound["throughput_tokens_per_s"],
        "bound_energy_nj": bound["energy_nj"],
    }
    always = {"driven_rows": counts["driven_rows"], "active_cells": counts["active_cells"], "energy_cells_nj": expected["breakdown_nj"]["cells"]}
    for n, (more, asked) in enumerate([("", False), ("bounds = true", True), ('objective = "max bound_throughput_tokens_per_s"', True), ('constraint = "bound_arrays <= 1e6"', True)]):
        (folder / "s.toml").write_text(study.format(more=more))
        danaus("explore", "s.toml", "-o", f"{n}.db", cwd=folder)
        row = rows(export(danaus, folder, f"{n}.db"))[1]
        assert {name: row[name] and float(row[name]) for name in figures} == {name: figure if asked else "" for name, figure in figures.items()}
        assert {name: float(row[name]) for name in always} == always
        assert 0 < float(row["busiest_array_ns"]) <= float(row["latency_ns"])


def test_auto_is_a_map_and_keeps_to_its_limits(danaus, folder):
    (folder / "a.toml").write_text(
        '[study]\nname = "a"\nmodel = "m.toml"\nchip = "unit"\nblocks = 4\nobjective = ["min latency_ns"]\n"array.rows" = 16\n"array.cols" = 16\n"adc.per_array" = 4\n'
        '[sweep]\nmap = ["linear", "dense", "striped", "linear-striped", "auto"]\nmax_arrays = [4, 1000]\n'
    )
    danaus("explore", "a.toml", "-q", cwd=folder)
    table = rows(export(danaus, folder, "a.db"))
    for most in ("4", "1000"):
        of_map = {row["map"]: row for row in table if row["max_arrays"] == most}
        auto = of_map.pop("auto")
        allowed = [row for row in of_map.values() if int(row["arrays"]) <= int(most)]
        if not allowed:
            assert auto["error"] in ("", "auto.infeasible")
            continue
        assert int(auto["arrays"]) <= int(most)
        assert float(auto["latency_ns"]) <= min(float(row["latency_ns"]) for row in allowed)


def test_errors_of_points_are_told_by_id(danaus, folder):
    (folder / "s.toml").write_text(STUDY.replace("{from = 1, to = 32, factor = 2}", "[16, 32]"))
    stdout, _ = danaus("explore", "s.toml", cwd=folder)
    message = rows(export(danaus, folder))[1]["message"]
    assert f"\n12 x chip.range, such as point 1: {message}\n" in stdout
    (folder / "s.toml").write_text(STUDY.replace("{from = 1, to = 32, factor = 2}", "[32, 64]"))
    stdout, stderr = danaus("explore", "s.toml", "-o", "none.db", cwd=folder, code=1)
    assert stdout.endswith("\nno point has figures\n") and "24 x chip.range" in stdout and "24 with an error" in stderr
    assert "error[explore.no-point]: no point of the study is usable: 24 with an error\n" in stderr
    danaus("explore", "s.toml", "-o", "shard.db", "--shard", "1/2", cwd=folder)  # others may have some
    (folder / "s.toml").write_text(STUDY.replace("latency_ns <= 1500", "latency_ns <= 0.001"))
    stdout, stderr = danaus("explore", "s.toml", "-o", "outside.db", cwd=folder, code=1)
    assert "no point keeps all constraints" in stdout and " outside the constraints\n" in stderr.split("error[explore.no-point]")[1]


def test_where_no_point_has_figures_the_hint_of_the_first_error_is_there(danaus, folder):
    text = '[study]\nmodel = "gpt2"\nchip = "ibm-3dcim"\nkv = 8\n[sweep]\nmap = ["dense", "sparse"]\n'
    (folder / "s.toml").write_text(text)
    hint = danaus("run", "gpt2", "--chip", "ibm-3dcim", "--map", "dense", "--kv", "8", code=4)[1].split("hint: ")[1].replace("--map", "map")
    stdout, stderr = danaus("explore", "s.toml", cwd=folder, code=1)
    assert stdout.endswith("\nno point has figures\n") and f"\nhint for point 0: {hint}" in stderr
    _, stderr = danaus("explore", "s.toml", "--resume", cwd=folder, code=1)
    assert f"\nhint for point 0: {hint}" in stderr
    (folder / "s.toml").write_text(text.replace('"dense"', '"linear"'))
    _, stderr = danaus("explore", "s.toml", "-o", "some.db", cwd=folder)
    assert "1 with an error" in stderr and "hint" not in stderr


def test_the_map_by_default_is_that_of_run(danaus, folder):
    (folder / "s.toml").write_text('[study]\nname = "t"\nmodel = "gpt2"\nmode = "prefill"\ntokens = 8\n'
                                   'objective = "latency_ns"\n[sweep]\nchip = ["ibm-3dcim", "unit"]\n')
    danaus("explore", "s.toml", "-q", cwd=folder)
    for row, options in zip(rows(export(danaus, folder)), ([], ["--map", "dense"])):
        results = danaus.json("run", "gpt2", "--mode", "prefill", "--tokens", "8", "--chip", row["chip"], *options)["results"]
        assert [float(row["latency_ns"])] == [result["latency_ns"] for result in results]


def test_slivers_are_those_of_run(danaus, folder):
    (folder / "s.toml").write_text(STUDY[:STUDY.index("[sweep]")] + '[sweep]\nmap = ["linear-striped"]\nsliver = ["auto", "whole", 2, 8]\n')
    danaus("explore", "s.toml", "-q", cwd=folder)
    table = rows(export(danaus, folder))
    assert [row["sliver"] for row in table] == ["auto", "whole", "2", "8"]
    for row in table:
        result = danaus.json("run", "m.toml", "--chip", "unit", "--map", "linear-striped", "--sliver", row["sliver"], cwd=folder)["results"][0]
        assert float(row["latency_ns"]) == result["latency_ns"]
    assert len({row["latency_ns"] for row in table}) > 1


# A chip on which everything takes time, energy and area, and on which a tiny model needs several tiles.
SMALL = """model = "m.toml"
chip = "pcm-14nm"
"array.rows" = 16
"array.cols" = 16
"adc.per_array" = 4
"network.arrays_per_tile" = 1
"""
# Key, two values, keys with which it does nothing, keys with which it acts: a sweep says which it is, and the figures, too.
CONDITIONS = [
    ("adc.bits", "[5, 7]", ['"adc.rule" = "rows"', '"adc.rule" = "lossless"'], ['"adc.rule" = "fixed"']),
    ("adc.second_bits", "[5, 7]", ['"adc.rule" = "rows"'], ['"adc.rule" = "fixed"\nmap = "dense"']),
    ("adc.step_ns", "[2, 3]", ['"adc.kind" = "ramp"', '"adc.kind" = "fixed"'], ['"adc.kind" = "sar"']),
    ("adc.lsb_ns", "[2, 3]", ['"adc.kind" = "sar"'], ['"adc.kind" = "ramp"']),
    ("adc.time_ns", "[2, 3]", ['"adc.kind" = "sar"'], ['"adc.kind" = "flash"', '"adc.kind" = "fixed"']),
    ("adc.node_nm", "[14, 28]", ['"adc.energy" = 1\n"adc.area" = 1'],
     [f'{keys}\n"adc.kind" = "sar"' for keys in
      ('"adc.energy" = 1\n"adc.area" = "regression"', '"adc.energy" = "regression"\n"adc.area" = 1')]),
    ("adc.allow_extrapolation", "[false, true]", ['"adc.energy" = 1\n"adc.area" = 1'],
     ['"adc.energy" = "regression"\n"adc.rule" = "fixed"\n"adc.bits" = 3\n"adc.kind" = "sar"']),
    ("input.clock_ns", "[2, 3]", ['"input.kind" = "voltage"', '"input.kind" = "bit-serial"'], ['"input.kind" = "pwm"']),
    ("input.bit_ns", "[2, 3]", ['"input.kind" = "pwm"'], ['"input.kind" = "bit-serial"']),
    ("input.time_ns", "[2, 3]", ['"input.kind" = "pwm"'], ['"input.kind" = "voltage"', '"input.kind" = "fixed"']),
    *[(f"network.{key}", values, ['"network.topology" = "ideal"', '"network.topology" = "flat"'],
       ['"network.topology" = "mesh"\nmap = "linear-striped"'])
      for key, values in (("contention", '["port", "links"]'), ("switching", '["circuit", "wormhole"]'), ("link_bits", "[4, 8]"))],
    ("network.clock_ns", "[2, 3]", ['"network.topology" = "ideal"', '"network.topology" = "flat"'],
     ['"network.topology" = "mesh"']),
    *[(f"network.{key}", "[2, 3]", ['"network.topology" = "ideal"'],
       [f'"network.topology" = "{topology}"' for topology in ("flat", "mesh")])
      for key in ("hop_ns", "energy_pj_per_bit_hop", "router_area_um2")],
    ("chip.one_tier_at_a_time", "[true, false]", ['"chip.tiers" = 1'],
     ['chip = "ibm-3dcim"\nmodel = "gpt2"\nmode = "prefill"\ntokens = 8\n"chip.tiers" = 64']),
    *[(f"chip.{key}", "[2, 3]", ["chips = 1"], ["chips = 2"]) for key in
      ("link_gbps", "link_latency_ns", "link_energy_pj_per_bit", "link_area_um2")],
]


@pytest.mark.parametrize("key, values, idle, acting", CONDITIONS, ids=[condition[0] for condition in CONDITIONS])
def test_a_swept_key_that_changes_no_figure_is_noted(danaus, folder, key, values, idle, acting):
    for number, (more, acts) in enumerate([(more, False) for more in idle] + [(more, True) for more in acting]):
        base = "" if "model" in more else SMALL
        (folder / "s.toml").write_text(f'[study]\n{base}{more}\n[sweep]\n"{key}" = {values}\n')
        _, stderr = danaus("explore", "s.toml", "-o", f"{number}.db", cwd=folder)
        first, second = rows(export(danaus, folder, f"{number}.db"))
        same = all(first[name] == second[name] for name in first if name not in ("point", "id", "pareto", key))
        assert same != acts, more
        assert (f"note: {key} changes no figure: it needs " in stderr) != acts, more


def test_the_example_of_the_docs_has_no_key_that_does_nothing(danaus, folder):
    text = (ROOT / "docs/explore.md").read_text()
    (folder / "converters.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    _, stderr = danaus("explore", "converters.toml", cwd=folder)
    assert "64 points in converters.db" in stderr and "note" not in stderr and "error" not in stderr
    table = rows(export(danaus, folder, "converters.db"))
    keys = ("point", "id", "map", "adc.per_array", "adc.bits", "array.settle_ns")
    assert len({tuple(value for key, value in row.items() if key not in keys) for row in table}) == 64
    assert {row["feasible"] for row in table} == {"true", "false"}


def test_a_point_is_not_points(danaus, folder):
    (folder / "s.toml").write_text(STUDY[:STUDY.index("[sweep]")])
    stdout, stderr = danaus("explore", "s.toml", cwd=folder)
    assert "1 point in t.db: 1 computed" in stderr and stdout.startswith("t: 1 of 1 point,")


def test_what_completes_a_database_names_it(danaus, folder):
    for number in (1, 2):
        danaus("explore", "s.toml", "-o", f"{number}.db", "--shard", f"{number}/3", "-q", cwd=folder)
    for name, output in (("part.db", " -o part.db"), ("t.db", ""), ("./t.db", "")):
        if not (folder / name).exists():
            danaus("explore", "merge", "1.db", "2.db", "-o", name, "-q", cwd=folder)
        for verb in ("export", "pareto"):
            _, stderr = danaus("explore", verb, name, cwd=folder)
            assert f"note: 48 of 72 points are there; danaus explore s.toml{output} --resume computes the rest" in stderr
    danaus("explore", "s.toml", "-o", "part.db", "--resume", "-q", cwd=folder)
    assert len(rows(export(danaus, folder, "part.db"))) == 72


def test_an_incomplete_merge_says_what_is_missing(danaus, folder):
    for number in (1, 2):
        danaus("explore", "s.toml", "-o", f"{number}.db", "--shard", f"{number}/3", "-q", cwd=folder)
    _, stderr = danaus("explore", "merge", "1.db", "2.db", "-o", "part.db", cwd=folder)
    assert "48 points in part.db" in stderr
    assert "note: 24 of 72 points are missing, of shard 3/3 there is no database" in stderr
    assert len(rows(export(danaus, folder, "part.db"))) == 48


def test_the_database_can_be_queried(danaus, folder):
    danaus("explore", "s.toml", "-q", cwd=folder)
    with sqlite3.connect(folder / "t.db") as connection:
        assert connection.execute('SELECT count(*) FROM points WHERE map = \'dense\' AND "adc.per_array" > 4').fetchone() == (12,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT value FROM meta WHERE key = 'study'").fetchone() == (STUDY,)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_everything_in_one_file(danaus, folder, number):
    (folder / "s.toml").write_text(STUDY.replace('"m.toml"', '"bert-base"').replace("[2, 4]", "{from = 2, to = 64, step = 1}"))
    process = subprocess.Popen([danaus.path, "explore", "s.toml"], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if (folder / "t.db").exists():
            try:
                with contextlib.closing(sqlite3.connect(folder / "t.db")) as connection:
                    if connection.execute("SELECT count(*) FROM points").fetchone()[0] > 2:
                        break
            except sqlite3.OperationalError:
                continue
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stdout == ""
    assert sorted(path.name for path in folder.glob("t.db*")) == ["t.db"]  # no log stays
    assert "points are in t.db; the same command with --resume goes on" in stderr
    done = rows(export(danaus, folder))
    assert 2 < len(done) < 2268 and f"{len(done)} of 2268" in stderr
    assert {row["error"] for row in done} <= {"", "chip.range"}


def test_parquet_needs_pyarrow(danaus, folder):
    danaus("explore", "s.toml", "-q", cwd=folder)
    python = folder / "bin/python3"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexec /usr/bin/env -i /usr/bin/python3 -S -I \"$@\"\n")
    python.chmod(0o755)
    done = subprocess.run([danaus.path, "explore", "export", "t.db", "--format", "parquet"], cwd=folder, capture_output=True,
                          env={**os.environ, "PATH": str(python.parent)})
    assert done.returncode == 4 and done.stdout == b"" and b"error[explore.parquet]" in done.stderr
    assert b"pip install pyarrow" in done.stderr


def test_parquet_has_the_rows_of_csv(danaus, folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    danaus("explore", "s.toml", "-q", cwd=folder)
    danaus("explore", "export", "t.db", "--format", "parquet", "-o", "t.parquet", cwd=folder)
    table = parquet.read_table(folder / "t.parquet").to_pylist()
    assert [(row["id"], row["latency_ns"]) for row in table] == [
        (row["id"], float(row["latency_ns"]) if row["latency_ns"] else None) for row in rows(export(danaus, folder))]


def test_accuracy_points_beside_cost_points(danaus, folder):
    shutil.copytree(ROOT / "tests/data/nn/llama", folder / "llama")
    (folder / "ids.json").write_text(json.dumps([n * n % 29 for n in range(20)]))
    (folder / "s.toml").write_text("""[study]
name = "t"
model = ["m.toml", "llama"]
chip = "unit"
objective = ["min perplexity", "min latency_ns"]
"adc.rule" = "fixed"
[sweep]
map = ["linear", "sparse"]
"array.settle_ns" = [10, 30.5]
"adc.bits" = [3, 8]
[accuracy]
ids = "ids.json"
tokens = 16
""")
    _, stderr = danaus("explore", "s.toml", "--threads", "2", cwd=folder)
    assert "model m.toml has no weights: its points are cost points" in stderr
    table = rows(export(danaus, folder))
    assert len(table) == 16 and {row["error"] for row in table} == {""}
    (folder / "16.json").write_text(json.dumps([n * n % 29 for n in range(16)]))
    for row in table:
        assert (row["perplexity"] != "") == (row["model"] == "llama")
        if row["model"] != "llama":
            continue
        blocks = ["--compression", "8"] if row["map"] == "sparse" else []
        alone = danaus.json("eval", "llama", "--ids", "16.json", "--analog", "--map", row["map"], *blocks, "--chip", "unit",
                            "--set", "adc.rule=fixed", "--set", f"adc.bits={row['adc.bits']}",
                            "--set", f"array.settle_ns={row['array.settle_ns']}", cwd=folder)
        assert float(row["perplexity"]) == alone["perplexity"]


def test_encoders_have_a_similarity(danaus, folder):
    shutil.copytree(ROOT / "tests/data/nn/bert", folder / "bert")
    (folder / "ids.json").write_text(json.dumps([[n * n % 29 for n in range(9)], [3, 4, 5]]))
    (folder / "s.toml").write_text("""[study]
name = "t"
model = "bert"
chip = "unit"
mode = "encode"
tokens = 8
objective = ["max similarity"]
"adc.rule" = "fixed"
[sweep]
"adc.bits" = [2, 4, 12]
map = ["linear"]
[accuracy]
ids = "ids.json"
""")
    danaus("explore", "s.toml", "-q", cwd=folder)
    similarity = [float(row["similarity"]) for row in rows(export(danaus, folder))]
    assert similarity == sorted(similarity) and similarity[-1] > 0.99 > similarity[0]
