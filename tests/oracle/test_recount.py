"""The re-count and the field evaluation against figures known by hand, and danaus against both.

DANAUS names the program (default build/danaus; what needs it is skipped when it is not built),
DANAUS_ORACLE_CASES the number of random cases (default 40), DANAUS_ORACLE_SEED their seed (default 1).
"""
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import evaluate  # noqa: E402
import recount  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DANAUS = Path(os.environ.get("DANAUS", ROOT / "build" / "danaus"))
CASES = int(os.environ.get("DANAUS_ORACLE_CASES", "40"))
SEED = int(os.environ.get("DANAUS_ORACLE_SEED", "1"))
MOST_CELLS_EVALUATED = 8000

needs_danaus = pytest.mark.skipif(not DANAUS.is_file(), reason=f"{DANAUS} is not built")


def count(text):
    return recount.recount(recount.parse(text))


def agree(text, seed=1):
    return evaluate.evaluate(recount.parse(text), seed)


# ------------------------------------------------------------------------------------------------- golden example


@pytest.fixture(scope="module")
def example():
    return (ROOT / "tests" / "data" / "example-dense.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("loop, ends", [
    ("rep 1 b1+176%352 b2+8", [119]),
    ("rep 2 serial b1+176%352 b2+8", [119, 238]),
    ("rep 2 b1+176%352 b2+8", [122, 171]),  # two slots
    ("rep 2 b2+8", [119, 225]),             # one slot
])
def test_example_latency(example, loop, ends):
    figures = count(example.replace("rep 2 b1+176%352 b2+8", loop))
    assert figures["token_ends_ns"] == ends
    assert figures["unit_latency_ns"] == ends[-1]
    assert figures["barrier_latency_ns"] == 119  # 13 + 22 + 11 + 12 + 12 + 26 + 11 + 12
    assert figures["latency_bound_ns"] <= ends[-1]


def test_example_counts(example):
    figures = count(example)
    assert figures["tokens"] == 2
    assert figures["activations"] == 2 * 22
    assert (figures["arrays"], figures["array_bound"]) == (4, 4)
    assert figures["cells"] == figures["parameters"] == 232
    assert figures["weights_read"] == 2 * 232
    assert figures["utilisation"] == 232 / (4 * 64)


def test_example_schedule(example):
    starts = {}
    for token, array, start in count(example)["activation_starts_ns"]:
        starts.setdefault((token, array), []).append(start)
    for first, second in ((0, 2), (1, 3)):  # the two tiles do the same
        for token in (0, 1):
            assert starts[token, first] == starts[token, second]
    assert starts[0, 0] == [0, 13, 38, 49, 61]
    assert starts[0, 1] == [13, 24, 73, 86, 99, 110]
    assert starts[1, 0] == [25, 73, 85, 96, 108]
    assert starts[1, 1] == [38, 49, 122, 135, 148, 159]


@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("seed", [1, 2])
def test_example_computes_its_graph(example, start, seed):
    assert agree(example.replace("capacity 2 start 0", f"capacity 9 start {start}"), seed) == 16


@pytest.mark.parametrize("right, wrong", [
    ("mvm a0 r0+4 c0+6 6@1", "mvm a0 r1+4 c0+6 6@1"),                    # one row too high
    ("mvm a0 r0+4 c0+6 6@1", "mvm a0 r0+4 c1+6 6@1"),                    # ends in a column of a foreign operator
    ("14*2@1 set", "14@1 set"),                                          # the transposition forgotten
    ("mvm a3 r0+6 c0+2 146@1 -> 153*2@1 set k0\n", ""),                  # an activation left out
    ("mvm a2 r4+2 c4+4 64@1", "mvm a2 r4+2 c4+4 63@1"),                  # source off by one
    ("move t1 46+4@1 -> t0 46@1", "move t1 46+4@1 -> t1 46@1"),          # wrong tile
    ("move t1 46+4@1 -> t0 46@1", "move t1 45+4@1 -> t0 46@1"),          # off by one
    ("attend kv0 append 50@1 38@1", "attend kv0 append 38@1 50@1"),      # key and value exchanged
    ("attend kv0 append 50@1 38@1\n", ""),                               # only earlier entries
    ("vec t0 rope n4 34@1 -> 50@1 k2", "vec t0 add n4 34@1 42@1 -> 50@1 k0"),
    ("vec t1 silu n6 110@1", "vec t1 gelu n6 110@1"),
    ("vec t0 add n2 0@1 2@1 -> 0@1 k0\n", ""),                           # half of a norm's sums
    ("norm n4 372@2 4@1 356", "norm n4 372@2 4@1 364"),                  # another gain
    ("vec t1 add n4 372@2 70@1", "vec t1 add n4 10@1 70@1"),             # residual from the normed vector
    ("372@2 -> 2@1", "372 -> 2@1"),                                      # a stream without its register
    ("152*2@1 set", "152*2@1 add"),
    ("a3 6,0 2x2 v.L in 2 out 2", "a3 6,0 2x2 v.L in 0 out 0"),          # image of another block
    ("a3 6,0 2x2 v.L", "a3 5,0 2x2 v.L"),                                # patch on another patch
])
def test_damaged_example_is_found(example, right, wrong):
    damaged = example.replace("start 0\n", "start 7\n").replace(right, wrong)
    assert right in example
    with pytest.raises(evaluate.EvaluationError):
        agree(damaged)


# ---------------------------------------------------------------------------------------------- programs by hand

# Inputs 0 to 3 of the operator in one array, 4 and 5 in another: partial sums, one `add`.
PARTIAL_SUMS = """danaus program 1
chip rows 4 cols 4 adcs 2 arrays 2 tile 2 buffer 32
cfg 0 mvm dac 8 adc 8 lossless
input x 6
node w linear x 4x6 dense
output w
at x 0+6 t0 0
at w 0+4 t0 8
patch a0 0,0 4x4 w.W in 0 out 0
patch a1 0,0 2x4 w.W in 4 out 0
code
mvm a0 r0+4 c0+4 0 -> 8 set k0
mvm a1 r0+2 c0+4 4 -> 8 add k0
halt
"""


def test_partial_sums_do_not_wait_for_each_other():
    figures = count(PARTIAL_SUMS)
    assert figures["parameters"] == figures["cells"] == figures["weights_read"] == 24
    assert (figures["arrays"], figures["activations"], figures["conversions"]) == (2, 2, 8)
    assert figures["adc_rounds_total"] == 4  # two columns per ADC, twice
    assert figures["token_ends_ns"] == [12]
    assert figures["utilisation"] == 24 / 32
    assert agree(PARTIAL_SUMS) == 4
    with pytest.raises(evaluate.EvaluationError):
        agree(PARTIAL_SUMS.replace("8 add", "8 set"))


# The second half of h is ready after 12, the first after 14: the `add` starts first and commits second.
LATE_SET = """danaus program 1
chip rows 4 cols 4 adcs 1 arrays 5 tile 5 buffer 32
cfg 0 mvm dac 8 adc 8 lossless
input x 4
node h linear x 8x4 dense
node y linear h 4x8 dense
output y
at x 0+4 t0 0
at y 0+4 t0 16
patch a0 0,0 4x4 h.W in 0 out 0
patch a1 0,0 4x4 y.W in 0 out 0
patch a2 0,0 4x4 y.W in 4 out 0
patch a3 0,0 4x2 h.W in 0 out 4
patch a4 0,0 4x2 h.W in 0 out 6
code
mvm a0 r0+4 c0+4 0 -> 8 set k0
mvm a3 r0+4 c0+2 0 -> 12 set k0
mvm a4 r0+4 c0+2 0 -> 14 set k0
mvm a1 r0+4 c0+4 8 -> 16 set k0
mvm a2 r0+4 c0+4 12 -> 16 add k0
halt
"""


def test_add_starts_early_and_commits_in_program_order():
    figures = count(LATE_SET)
    assert figures["activation_starts_ns"] == [[0, 0, 0], [0, 3, 0], [0, 4, 0], [0, 1, 14], [0, 2, 12]]
    assert figures["token_ends_ns"] == [28]
    assert figures["latency_bound_ns"] == figures["barrier_latency_ns"] == 28
    assert agree(LATE_SET) == 4


# 3x5 in 2x2 blocks of 2x2 and 2x3: one input and one output of padding. The L blocks share one activation whose
# rows 6, 7, 0, 1 wrap around the array; R reads two runs and writes them interleaved.
PADDED = """danaus program 1
chip rows 8 cols 8 adcs 2 arrays 1 tile 1 buffer 32
cfg 0 mvm dac 8 adc 8 lossless
input x 5
node w linear x 3x5 blocks 2x2:1
output w
at x 0+5 t0 0
at w 0+3 t0 20
const zero 0+1 t0 5
sink t0 23+1
patch a0 0,0 3x2 w.R in 0 out 0*2
patch a0 0,6 2x2 w.L in 2 out 2
patch a0 3,2 3x2 w.R in 3 out 1*2
patch a0 6,4 2x2 w.L in 0 out 0
code
mvm a0 r0+6 c0+2x2^2 0 -> 16*2^1 set k0
mvm a0 r6+4 c4+4 16 -> 20 set k0
halt
"""


def test_padding_and_wrapping_rows():
    figures = count(PADDED)
    assert figures["parameters"] == figures["cells"] == figures["weights_read"] == 2 * 2 * (2 + 3)
    assert (figures["arrays"], figures["activations"], figures["conversions"]) == (1, 2, 8)
    assert figures["token_ends_ns"] == [24]
    assert agree(PADDED) == 3
    with pytest.raises(evaluate.EvaluationError):  # L takes the intermediate vector in another order
        agree(PADDED.replace("16*2^1", "16^2"))


@pytest.mark.parametrize("window, adcs, rounds", [
    ("c3+2", 2, 1),      # columns 3 and 0
    ("c3+2", 3, 2),      # both on ADC 0
    ("c0+4", 3, 2),
    ("c0+1x2^2", 2, 2),  # columns 0 and 2
    ("c0+1x2^2", 4, 1),
    ("c2+2x2^2", 4, 1),  # columns 2, 3, 0, 1
])
def test_adc_rounds(window, adcs, rounds):
    assert recount.adc_rounds(recount.parse_window(window, "c"), 4, adcs) == rounds


# LayerNorm with bias, the rows of one operator on two tiles: a dealt move, one reads columns in two wrapped parts.
GROUPS = """danaus program 1
chip rows 4 cols 4 adcs 4 arrays 3 tile 1 buffer 64
cfg 0 norm layer n 4 eps 1e-5
cfg 1 mvm dac 8 adc 8 lossless
group 0 t1+2
input x 4
node n norm x g cfg 0
node b bias n c
node w linear b 4x4 dense cfg 1
node y relu w
output y
at x 0+4 t0 0@2
at y 0+4 t0 4@2
const c 0+4 t0 56
const g 0+4 t0 52
patch a1 0,0 2x4 w.W in 0 out 0
patch a2 0,0 2x1 w.W in 2 out 3
patch a2 0,1 2x3 w.W in 2 out 0
code
rep 3 b2+8
vec t0 moments n4 0@2 -> 32
vec t0 stat n2 32 -> 34 k0
vec t0 norm n4 0@2 34 52 -> 36 k0
vec t0 add n4 36 56 -> 36 k0
move t0 36+2x2^2 -> g0 8 deal
mvm a1 r0+2 c0+4 8 -> 12 set k1
mvm a2 r0+2 c1+4 8 -> 12 set k1
move t1 12+4 -> t0 40
move t2 12+4 -> t0 44
vec t0 add n4 40 44 -> 40 k0
vec t0 relu n4 40 -> 4@2 k0
end
halt
"""


def test_groups_and_norm():
    figures = count(GROUPS)
    assert (figures["tokens"], figures["arrays"], figures["parameters"]) == (3, 2, 16)
    assert figures["token_ends_ns"] == [11, 22, 33]
    assert agree(GROUPS) == 12
    for damaged in (GROUPS.replace("36 56 ->", "36 52 ->"), GROUPS.replace(" deal", ""),
                    GROUPS.replace("c1+4", "c0+4"), GROUPS.replace("36+2x2^2", "36+2x2^1")):
        with pytest.raises(evaluate.EvaluationError):
            agree(damaged)


def test_multicast():
    text = GROUPS.replace("move t0 36+2x2^2 -> g0 8 deal", "move t0 36+4 -> g0 8")
    text = text.replace("mvm a2 r0+2 c1+4 8", "mvm a2 r0+2 c1+4 10")
    assert agree(text) == 12


# Two loops: every token appends, then every token reads the entries of all.
ENCODER = """danaus program 1
chip rows 4 cols 4 adcs 1 arrays 1 tile 1 buffer 64
cfg 0 mvm dac 8 adc 8 lossless
kv 0 tile 0 queries 2 size 2 capacity 3 start 0
input x 4
node k linear x 2x4 dense
node c attend x k k kv 0 all
output c
at x 0+4 t0 0@2
at c 0+4 t0 4@2
patch a0 0,0 4x2 k.W in 0 out 0
code
rep 3 b1+2%4 b2+8
mvm a0 r0+4 c0+2 0@2 -> 32@1 set k0
attend kv0 append 32@1 32@1
end
rep 3 b2+8
attend kv0 context 0@2 -> 4@2
end
halt
"""


def test_attention_over_all_tokens():
    figures = count(ENCODER)
    assert figures["activations"] == 3
    assert figures["token_ends_ns"] == [36, 36, 36]  # every context waits for the last entry
    assert agree(ENCODER) == 12
    causal = ENCODER.replace(" all\n", "\n")
    with pytest.raises(evaluate.EvaluationError):
        agree(causal)
    one_loop = causal.replace("end\nrep 3 b2+8\n", "")
    assert agree(one_loop) == 12
    assert count(one_loop)["token_ends_ns"] == [12, 24, 36]


def test_trimmed_parameters():
    shape = recount.Structure(outputs=3, inputs=5, k=4, l=2, r=1)
    assert (shape.p, shape.s, shape.parameters) == (2, 2, 4 * 2 * (2 + 2))
    trimmed = recount.Structure(outputs=3, inputs=5, k=3, l=2, r=1, trimmed=True)  # k = 4 with its dead block gone
    assert trimmed.parameters == 5 * 2 + 3 * 3  # R: five inputs to two blocks, L: three outputs of three blocks
    square = recount.Structure(outputs=1024, inputs=4096, k=64, l=64, r=1, in_block=64, out_block=64)
    assert square.parameters == 2 * 64 * 4096


@pytest.mark.parametrize("line, replacement", [
    ("halt\n", ""),
    ("mvm a0 r0+4 c0+4", "mvm a0 x0+4 c0+4"),
    ("8 add", "8 subtract"),
    ("4x6 dense", "4x6 circulant"),
    ("halt\n", "halt\nhalt\n"),
    ("code\n", "code\nrep 2 b1+4 b1+4\nend\n"),
    ("code\n", "code\nrep 2\nrep 2\nend\nend\n"),
    ("code\n", "code\nvec t0 stat n4 0 -> 8\n"),
    ("a0 0,0 4x4", "a0 4x4"),
])
def test_bad_text_is_refused(line, replacement):
    with pytest.raises(recount.ProgramTextError):
        recount.parse(PARTIAL_SUMS.replace(line, replacement))


# -------------------------------------------------------------------------------------------- danaus against both


def danaus(*arguments):
    done = subprocess.run([str(DANAUS), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"danaus {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}"
    return done.stdout


def run_and_recount(folder, model, options):
    """(result of `run`, program text, its re-count) for one model and one mapping."""
    result, = json.loads(danaus("run", model, *options, "--json", "-q"))["results"]
    program = folder / "program.dnx"
    danaus("compile", model, *options, "-q", "-o", program)
    text = danaus("disasm", program)
    return result, text, count(text)


def compare(result, figures):
    tokens = figures["tokens"]
    assert result["arrays"] == figures["arrays"]
    assert result["parameters"] == figures["parameters"]
    assert result["activations"] * tokens == figures["activations"]
    assert result["conversions"] * tokens == figures["conversions"]
    assert result["utilisation"] == pytest.approx(figures["utilisation"], rel=1e-12)
    assert result["linear_latency_ns"] == figures["unit_latency_ns"]
    # Rounds along the critical path: what remains of the latency is settling time. Per token, so only where all are alike.
    ends = figures["token_ends_ns"]
    if all(end == (number + 1) * ends[0] for number, end in enumerate(ends)):
        settling = result["linear_latency_ns"] - tokens * recount.ROUND_NS * result["adc_rounds"]
        assert settling >= 0 and settling % recount.SETTLE_NS == 0
    # Every weight is read once per token.
    assert figures["weights_read"] == tokens * figures["cells"]
    assert figures["latency_bound_ns"] <= figures["unit_latency_ns"]


def random_model(generator):
    heads, head_size = generator.choice([(2, 12), (4, 6), (4, 10), (10, 4), (7, 8), (4, 14), (6, 10), (10, 6), (3, 8)])
    family = generator.choice(["llama", "bert"])
    lines = {
        "name": '"oracle"', "family": f'"{family}"', "layers": generator.choice([1, 1, 2]), "hidden": heads * head_size,
        "ffn": generator.choice([7, 23, 31, 53, 64, 97, 113]), "heads": heads, "vocab": 50, "context": 16,
    }
    if family == "llama":
        lines["activation"] = '"silu"'
        divisors = [number for number in range(1, heads + 1) if heads % number == 0]
        lines["kv_heads"] = generator.choice(divisors)
    else:
        lines["activation"] = generator.choice(['"gelu"', '"relu"'])
    if generator.random() < 0.3:
        lines["gated"] = generator.choice(["true", "false"])
    return "".join(f"{key} = {value}\n" for key, value in lines.items())


def random_chip(generator):
    rows = generator.randint(8, 64)
    columns = rows if generator.random() < 0.7 else generator.randint(8, 64)
    return (f'name = "oracle"\nbase = "unit"\n[array]\nrows = {rows}\ncols = {columns}\n'
            f"[adc]\nper_array = {generator.randint(1, min(columns, 16))}\n"
            f"[network]\narrays_per_tile = {generator.randint(1, 6)}\n" +
            generator.choice(["", f"[chip]\nchips = {generator.randint(1, 5)}\narrays = {generator.choice([0, 3, 8, 20])}\n"]))


def random_options(generator, model):
    mapping = generator.choice(["linear", "sparse", "dense", "dense", "striped"])
    options = ["--map", mapping, "--share-inputs", generator.choice(["on", "off"]), "--reload"]
    if mapping != "linear":
        kind = generator.random()
        if kind < 0.15:
            options += ["--pad", "square"]
        elif kind < 0.4:
            options += ["--structure", "gather", "--group", generator.randint(1, 20),
                        "--compression", generator.choice([1, 1.5, 2, 4, 100])]
        else:
            k, l = generator.randint(1, 9), generator.randint(1, 9)
            options += ["--blocks", f"{k}x{l}:{generator.choice([1, 1, 1, 2, 3])}"]
            if kind > 0.75:
                options += ["--trim"]
    if generator.random() < 0.6:
        options += ["--mode", "decode"]
    elif 'family = "bert"' in model:
        options += ["--mode", "encode", "--tokens", generator.randint(1, 4)]
    else:
        options += ["--mode", "prefill", "--tokens", generator.randint(1, 4)]
    return options


@needs_danaus
@pytest.mark.parametrize("case", range(CASES))
def test_random_models(case, tmp_path):
    generator = random.Random(f"{SEED} {case}")
    model, chip = random_model(generator), random_chip(generator)
    (tmp_path / "model.toml").write_text(model, encoding="utf-8")
    (tmp_path / "chip.toml").write_text(chip, encoding="utf-8")
    options = ["--chip", tmp_path / "chip.toml", *random_options(generator, model)]
    print(model, chip, *options, sep="\n")
    result, text, figures = run_and_recount(tmp_path, tmp_path / "model.toml", options)
    compare(result, figures)
    if figures["cells"] <= MOST_CELLS_EVALUATED:
        assert agree(text, seed=case) > 0


@needs_danaus
@pytest.mark.parametrize("mapping, arrays, latency, parameters", [
    (["--map", "linear"], 4608, 1728, 24 * 12 * 1024 * 1024),
    (["--map", "sparse", "--blocks", "32"], 1728, 3312, 24 * (4 * 2 * 32**3 + 2 * (32**3 + 4 * 32**3))),
])
def test_bert_large_on_unit(mapping, arrays, latency, parameters, tmp_path):
    options = ["--chip", "unit", "--mode", "decode", "--share-inputs", "off", *mapping]
    result, _, figures = run_and_recount(tmp_path, "bert-large", options)
    assert (figures["arrays"], figures["token_ends_ns"][0], figures["parameters"]) == (arrays, latency, parameters)
    compare(result, figures)
