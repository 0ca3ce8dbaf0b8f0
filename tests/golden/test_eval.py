"""danaus eval and danaus generate: against figures of PyTorch, and promises of the command line."""

import json
import math
import subprocess

import numpy
import pytest

import safetensors_file
from conftest import ROOT

MODELS = ROOT / "tests/data/nn"
TOKENIZERS = ROOT / "tests/data/tokenizers"
DECODERS = ["llama", "llama-tied", "gpt2", "qwen2", "mistral", "mixtral", "phi", "falcon"]
TEXT = "The quick brown fox jumps over the lazy dog. <|endoftext|>\n\nDON'T, 12 Stra\u00dfe \U0001f600\r\n"


def figures(name):
    return json.loads((MODELS / name / "figures.json").read_text())["texts"]


def ids_file(folder, ids):
    path = folder / "ids.json"
    path.write_text(json.dumps(ids))
    return path


def mean_nll(logits, ids):
    """Mean of -ln p over tokens 2 ... N, from the logits of every token."""
    logits = numpy.array(logits, dtype=numpy.float64)
    logs = logits - logits.max(axis=1, keepdims=True)
    logs -= numpy.log(numpy.exp(logs).sum(axis=1, keepdims=True))
    return -numpy.mean([logs[n, token] for n, token in enumerate(ids[1:])])


def cosine(a, b):
    return numpy.dot(a, b) / numpy.linalg.norm(a) / numpy.linalg.norm(b)


def valid_part(text):
    """Random models say bytes that are not UTF-8; how many U+FFFD stand for them is up to the reader."""
    return text.replace("\ufffd", "")


def without_provenance(text):
    document = json.loads(text)
    assert "tokens_per_s" in document.pop("provenance")
    return document


def with_tokenizer(folder, name, tokenizer, vocabulary, context):
    """A model of tests/data/nn with an embedding for a tokenizer's ids, and the tokenizer."""
    generator = numpy.random.default_rng(5)
    tensors = {}
    for key, values in safetensors_file.unpack((MODELS / name / "model.safetensors").read_bytes()).items():
        if "word_embeddings" in key or "embed_tokens" in key or "lm_head" in key:
            values = generator.standard_normal((vocabulary, values.shape[1]))
        if "position_embeddings" in key:
            values = generator.standard_normal((context, values.shape[1]))
        tensors[key] = values
    config = json.loads((MODELS / name / "config.json").read_text())
    config.update(vocab_size=vocabulary, max_position_embeddings=context)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors_file.pack(tensors))
    (folder / "tokenizer.json").write_text((TOKENIZERS / tokenizer).read_text())
    return folder


@pytest.fixture
def decoder(tmp_path):
    folder = tmp_path / "decoder"
    folder.mkdir()
    return with_tokenizer(folder, "llama", "gpt-2.json", 480, 256)


@pytest.fixture
def encoder(tmp_path):
    folder = tmp_path / "encoder"
    folder.mkdir()
    return with_tokenizer(folder, "bert", "bert.json", 420, 64)


def expected_ids(tokenizer, text):
    rows = json.loads((TOKENIZERS / "figures.json").read_text())["figures"][tokenizer]
    return next(row["ids"] for row in rows if row["text"] == text)


@pytest.mark.parametrize("name", DECODERS)
def test_perplexity_is_that_of_pytorch(danaus, tmp_path, name):
    for text in figures(name):
        document = danaus.json("eval", MODELS / name, "--ids", ids_file(tmp_path, text["ids"]))
        assert document["schema"] == "danaus.eval/1"
        assert document["tokens"] == text["ids"]
        if len(text["ids"]) < 2:
            assert document["nll"] is None and document["perplexity"] is None
            continue
        nll = mean_nll(text["logits"], text["ids"])
        assert document["nll"] == pytest.approx(nll, rel=1e-5)
        assert document["perplexity"] == pytest.approx(math.exp(nll), rel=1e-4)


def test_embeddings_are_those_of_pytorch(danaus, tmp_path):
    texts = figures("bert")
    document = danaus.json("eval", MODELS / "bert", "--ids", ids_file(tmp_path, [text["ids"] for text in texts]))
    assert document["tokens"] == [text["ids"] for text in texts]
    for text, embedding in zip(texts, document["embeddings"], strict=True):
        mean = numpy.mean(numpy.array(text["hidden"]), axis=0)
        assert numpy.allclose(embedding, mean / numpy.linalg.norm(mean), atol=1e-5)


def test_a_text_is_its_tokens(danaus, decoder, tmp_path):
    text = "The quick brown fox jumps over the lazy dog."
    (tmp_path / "t.txt").write_text(text)
    from_text = without_provenance(danaus("eval", decoder, "--text", tmp_path / "t.txt", "--json")[0])
    assert from_text["tokens"] == expected_ids("gpt-2.json", text)
    assert from_text == without_provenance(
        danaus("eval", decoder, "--ids", ids_file(tmp_path, from_text["tokens"]), "--json")[0])
    assert from_text == without_provenance(danaus("eval", decoder, "--text", "-", "--json", stdin=text.encode())[0])
    assert from_text == without_provenance(
        danaus("eval", decoder / "model.safetensors", "--text", "-", "--json", stdin=text.encode())[0])
    assert from_text["windows"] == {"number": 1, "length": 256, "stride": 128}
    assert from_text["scored"] == len(from_text["tokens"]) - 1


def test_every_byte_counts(danaus, decoder):
    def tokens(content):
        return danaus.json("eval", decoder, "--text", "-", stdin=content)["tokens"]
    whole = TEXT.encode()
    assert tokens(whole) != tokens(whole[:-1]) != tokens(whole.replace(b"\r\n", b"\n"))
    assert tokens(b"\xef\xbb\xbfa") != tokens(b"a") != tokens(b"a\xff")
    # Special tokens in a text are text: none of their ids appears.
    assert not {0, 1} & set(tokens(b"<|endoftext|><|im_start|>"))


def test_one_token_has_no_likelihood(danaus, decoder):
    document = danaus.json("eval", decoder, "--text", "-", stdin=b"a")
    assert len(document["tokens"]) == 1
    assert document["nll"] is None and document["perplexity"] is None and document["scored"] == 0
    assert "no token to predict" in danaus("eval", decoder, "--text", "-", stdin=b"a")[0]


def test_windows(danaus, tmp_path):
    """A text longer than the context: every token but the first is scored once, with at least half a window before it."""
    ids = [n * n % 29 for n in range(60)]
    long = danaus.json("eval", MODELS / "llama", "--ids", ids_file(tmp_path, ids))
    assert long["windows"] == {"number": 4, "length": 24, "stride": 12}
    assert long["scored"] == 59
    parts, before = [], 1  # by single windows: sums over all tokens and over those that were scored before
    for first in range(0, 48, 12):
        window = ids[first:first + 24]
        whole = danaus.json("eval", MODELS / "llama", "--ids", ids_file(tmp_path, window))["nll"] * (len(window) - 1)
        seen = 0 if first == 0 else danaus.json("eval", MODELS / "llama", "--ids", ids_file(tmp_path, window[:12]))["nll"] * 11
        parts.append(whole - seen)
    assert long["nll"] == pytest.approx(sum(parts) / 59, rel=1e-9)
    assert danaus.json("eval", MODELS / "llama", "--ids", ids_file(tmp_path, ids), "--window", 10, "--stride", 10)["scored"] == 54


def test_same_result_for_any_thread_count(danaus, decoder, encoder, tmp_path):
    (tmp_path / "t.txt").write_text(TEXT)
    for arguments in (("eval", decoder, "--text", tmp_path / "t.txt"),
                      ("eval", decoder, "--text", tmp_path / "t.txt", "--blocks", "4"),
                      ("eval", encoder, "--text", tmp_path / "t.txt"),
                      ("generate", decoder, "The", "--tokens", 20, "--temperature", 1)):
        one, two = (without_provenance(danaus(*arguments, "--json", "--threads", threads)[0]) for threads in (1, 2))
        assert one == two


def test_factors_in_memory_and_from_a_file(danaus, decoder, tmp_path):
    (tmp_path / "t.txt").write_text(TEXT)
    evaluate = ("eval", decoder, "--text", tmp_path / "t.txt", "--json")
    factors = tmp_path / "f.safetensors"
    projection = danaus.json("project", decoder, "--blocks", "4", "-o", factors)["total"]
    inside = without_provenance(danaus(*evaluate, "--blocks", "4")[0])
    outside = without_provenance(danaus(*evaluate, "--factors", factors)[0])
    dense = without_provenance(danaus(*evaluate)[0])
    assert inside["linear"]["structure"] == "monarch" and inside["linear"]["blocks"] == "4x4:1"
    assert inside["linear"]["parameters"] == outside["linear"]["parameters"] == projection["parameters"]
    assert inside["linear"]["relative_error"] == pytest.approx(projection["relative_error"], rel=1e-12)
    assert outside["linear"]["relative_error"] == pytest.approx(projection["relative_error"], rel=1e-5)
    assert outside["nll"] == inside["nll"] != dense["nll"]
    assert dense["linear"]["relative_error"] is None
    # The nearest matrix of full rank is the matrix itself.
    full = without_provenance(danaus(*evaluate, "--structure", "lowrank", "--blocks", "1:16")[0])
    assert full["linear"]["relative_error"] < 1e-6
    assert full["nll"] == pytest.approx(dense["nll"], rel=1e-5)
    # A file with some of the operators: the others stay dense.
    danaus("project", decoder, "--only", "*down*", "--blocks", "4", "-o", factors, "-q")
    some = without_provenance(danaus(*evaluate, "--factors", factors)[0])
    assert 0 < some["linear"]["relative_error"] < inside["linear"]["relative_error"]
    assert some["linear"]["structure"] == "mixed"
    assert any("stay dense" in note for note in some["linear"]["notes"])


def test_gathered_operators(danaus, decoder, tmp_path):
    (tmp_path / "t.txt").write_text(TEXT)
    evaluate = ("eval", decoder, "--text", tmp_path / "t.txt", "--json")
    dense = without_provenance(danaus(*evaluate)[0])
    # All inputs in one group: the same products.
    whole = without_provenance(danaus(*evaluate, "--structure", "gather", "--compression", "1", "--group", "4096")[0])
    assert whole["linear"]["structure"] == "gather" and whole["linear"]["relative_error"] == 0
    assert whole["nll"] == dense["nll"]
    grouped = without_provenance(danaus(*evaluate, "--structure", "gather", "--compression", "1", "--group", "3")[0])
    assert grouped["linear"]["blocks"] == "group 3"
    assert grouped["nll"] == pytest.approx(dense["nll"], rel=1e-6)
    # Half of them, in memory and from a file.
    half = ("--structure", "gather", "--compression", "2", "--group", "8")
    factors = tmp_path / "f.safetensors"
    projection = danaus.json("project", decoder, *half, "-o", factors)
    assert projection["total"]["parameters"] * 2 == projection["total"]["dense_parameters"]
    assert all(layer["group"] == 8 and layer["inputs"] * 2 == layer["in"] for layer in projection["layers"])
    inside = without_provenance(danaus(*evaluate, *half)[0])
    outside = without_provenance(danaus(*evaluate, "--factors", factors)[0])
    assert outside["nll"] == inside["nll"] != dense["nll"]
    assert inside["linear"]["relative_error"] == pytest.approx(projection["total"]["relative_error"], rel=1e-12)


def test_lines_are_sentences(danaus, encoder):
    document = danaus.json("eval", encoder, "--text", "-", stdin="the fox\r\n\nthe fox\nquick \u00dcber".encode())
    assert len(document["embeddings"]) == 4
    assert document["tokens"][0] == document["tokens"][2]
    assert document["embeddings"][0] == document["embeddings"][2]
    assert document["tokens"][1] == document["tokens"][0][:1] + document["tokens"][0][-1:]  # only what stands around
    assert all(numpy.linalg.norm(embedding) == pytest.approx(1, abs=1e-6) for embedding in document["embeddings"])
    table, _ = danaus("eval", encoder, "--text", "-", stdin=b"the fox\nthe dog\n")
    embeddings = danaus.json("eval", encoder, "--text", "-", stdin=b"the fox\nthe dog\n")["embeddings"]
    assert f"{cosine(*embeddings):.4f}" in table and "the dog" in table


def test_generate(danaus, decoder):
    document = danaus.json("generate", decoder, "The quick", "--tokens", 12)
    assert document["schema"] == "danaus.generate/1"
    assert len(document["ids"]) == 12 and document["end"] == "length"
    # The streamed text is the document's, and a newline; greedy text does not depend on the seed.
    done = subprocess.run([danaus.path, "generate", decoder, "The quick", "--tokens", "12", "--seed", "9"], capture_output=True, check=True)
    assert valid_part(done.stdout.decode(errors="replace")) == valid_part(document["text"]) + "\n" and done.stderr == b""
    drawn = [danaus.json("generate", decoder, "The quick", "--tokens", 12, "--temperature", 2, "--seed", seed)["ids"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert danaus.json("generate", decoder, "The quick", "--tokens", 12, "--temperature", 2, "--top-k", 1)["ids"] == document["ids"]


def test_generate_goes_on_greedily(danaus, tmp_path, decoder):
    """The next token is the one with the smallest -ln p of all 480, as eval says."""
    document = danaus.json("generate", decoder, "The", "--tokens", 1)
    prompt = document["prompt"]

    def last_nll(ids):
        whole = danaus.json("eval", decoder, "--ids", ids_file(tmp_path, ids))["nll"] * (len(ids) - 1)
        return whole - (danaus.json("eval", decoder, "--ids", ids_file(tmp_path, ids[:-1]))["nll"] or 0) * (len(ids) - 2)
    chosen = last_nll(prompt + document["ids"])
    assert all(last_nll(prompt + [other]) >= chosen - 1e-9 for other in range(0, 480, 40))


def test_generate_stops(danaus, decoder):
    config = json.loads((decoder / "config.json").read_text())
    first = danaus.json("generate", decoder, "The", "--tokens", 3)["ids"]
    (decoder / "config.json").write_text(json.dumps({**config, "eos_token_id": first[2]}))
    document = danaus.json("generate", decoder, "The", "--tokens", 30)
    assert document["ids"] == first[:first.index(first[2])] and document["end"] == "token"
    (decoder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8}))
    document = danaus.json("generate", decoder, "The", "--tokens", 30)
    assert document["end"] == "context" and len(document["prompt"]) + len(document["ids"]) <= 9
    # Into a closed pipe or a full device: an error, not silence.
    with open("/dev/full", "wb") as full:
        _, stderr = danaus("generate", decoder, "The", "--tokens", 3, code=6, stdout=full)
    assert "error[cli.stdout]" in stderr
