#!/usr/bin/env python3
"""Makes tests/data/tokenizers: small tokenizers, and texts with the ids that independent programs give them.

usage: make_tokenizer_figures.py            (pip install tokenizers==0.23.3 sentencepiece==0.2.1 gguf)

Oracles: `tokenizers` for byte-level BPE and WordPiece, `sentencepiece` for SentencePiece. The small vocabularies are
trained here, on the texts below; each is written as tokenizer.json and as GGUF. The figures of SmolLM2-135M-Instruct
(GGUF) and all-MiniLM-L6-v2 (tokenizer.json) are made when these files are in models/.
Special tokens in texts are text (encode_special_tokens); there is no truncation and no padding.
"""

import io
import json
import pathlib

import gguf
import sentencepiece
import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/data/tokenizers"
SMOLLM = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = ROOT / "models/all-MiniLM-L6-v2/tokenizer.json"

TEXTS = [
    "", " ", "  ", "\n", "\t", "a", " a", "a ", "\u0000", "a\u0000b\u0000\u0000c", "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure it's what they'll say; we've, you're, he'd, DON'T, CAN'T, I'LL, we'Ve.",
    "1 12 123 1234 12345 3.14159 1,000,000 0x1F 2nd 1st", "\u0661\u0662\u0663 \u00bd \u2167 \u00b2x\u00b3",
    "def f(x):\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "   leading and trailing   ", "many      spaces\t\ttabs \n \n newlines\r\n\r\nend\n\n", "a \n b", "x\u00a0y\u2003z\u3000w\u0085v\u200bu",
    "Stra\u00dfe, na\u00efve caf\u00e9, cafe\u0301, \u0130stanbul, \u00c5ngstr\u00f6m, \u1e9e, \ufb01sh", "\u010ce\u0161tina p\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148",
    "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03ba\u03cc\u03c3\u03bc\u03b5", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0401\u043b\u043a\u0430 \u0439\u043e\u0434",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6c49\u5b57\u6d4b\u8bd5123", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3001\u30ab\u30bf\u30ab\u30ca", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\U00020000\u3400\uf900 \u9fff",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641 \u0627\u0644\u062d\u0627\u0644\u061f", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0967\u0968\u0969", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "Xin ch\u00e0o th\u1ebf gi\u1edbi, \u0111\u01b0\u1eddng",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e9\U0001f1ea end", "\u201cquotes\u201d \u2014 dash\u2026 \u00abguillemets\u00bb \u20ac5 \u00a33 $2 +1 <b> ^ ` ~ |x|",
    "<|endoftext|> <|im_start|>user [CLS] [SEP] [MASK] <s> </s> <unk> <0x41>", "\ufeffBOM \ufffd replacement \ue000 private \u00ad soft",
    "a" * 300, "ab" * 150, " " * 100 + "x", "!?" * 80, "\u00e9" * 60, "na\u0308" * 40, "https://example.org/a?b=c&d=%20#e", "e-mail: someone@example.org",
    "snake_case camelCase SCREAMING_CASE kebab-case", "ii\u0307 \u0131 \u017f 'S '\u017f k\u212a", "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", "a\u0300\u0301\u0302 \u1100\u1161\u11a8",
]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def isolated(*patterns):
    return [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]


def byte_level(*before):
    return pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# What llama.cpp (src/llama-vocab.cpp) means by each value of tokenizer.ggml.pre.
PRE_TOKENIZERS = {
    "default": byte_level(*isolated(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama-bpe": byte_level(*isolated(LLAMA3)),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                       pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "qwen2": byte_level(*isolated(QWEN2)),
}


def figures(encode):
    return [{"text": text, "ids": encode(text)} for text in TEXTS]


def ids_of(tokenizer, add_special=False):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=add_special).ids


def write_gguf(name, kind, tokens, types, pre=None, merges=None, scores=None, special=(), flags=()):
    writer = gguf.GGUFWriter(FOLDER / f"{name}.gguf", "llama")
    writer.add_tokenizer_model(kind)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges:
        writer.add_token_merges(merges)
    if scores:
        writer.add_token_scores(scores)
    for key, value in special:
        writer.add_uint32(f"tokenizer.ggml.{key}", value)
    for key, value in flags:
        writer.add_bool(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def small_byte_level(result):
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=["<|endoftext|>", "<|im_start|>"], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    base.train_from_iterator(TEXTS, trainer)
    document = json.loads(base.to_str())
    vocabulary = document["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    merges = [" ".join(pair) for pair in document["model"]["merges"]]
    for name, pre in PRE_TOKENIZERS.items():
        whole_words = name == "llama-bpe"
        one = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges],
                                   ignore_merges=whole_words))
        one.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
        one.pre_tokenizer = pre
        special, flags = [("bos_token_id", 0), ("eos_token_id", 1)], []
        if name == "llama-bpe":
            flags = [("add_bos_token", True)]
            one.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A",
                                                              special_tokens=[("<|endoftext|>", 0)])
        write_gguf(name, "gpt2", tokens, [3, 3] + [1] * (len(tokens) - 2), name, merges, special=special, flags=flags)
        result[f"{name}.gguf"] = figures(ids_of(one, add_special=True))
        if name == "qwen2":
            one.normalizer = normalizers.NFC()
        text = json.loads(one.to_str())
        if name in ("gpt-2", "smollm"):  # older files write a merge as one string
            text["model"]["merges"] = merges
        (FOLDER / f"{name}.json").write_text(json.dumps(text, ensure_ascii=False, indent=0) + "\n")
        result[f"{name}.json"] = figures(ids_of(one, add_special=True))


def small_word_piece(result):
    one = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    one.normalizer = normalizers.BertNormalizer()
    one.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    one.train_from_iterator(TEXTS[:30], trainers.WordPieceTrainer(vocab_size=420, special_tokens=special,
                                                                  show_progress=False))
    vocabulary = one.get_vocab()
    one.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")])
    (FOLDER / "bert.json").write_text(json.dumps(json.loads(one.to_str()), ensure_ascii=False, indent=0) + "\n")
    result["bert.json"] = result["bert.gguf"] = figures(ids_of(one, add_special=True))
    tokens = sorted(vocabulary, key=vocabulary.get)
    converted = [token if token in special else token[2:] if token.startswith("##") else "\u2581" + token
                 for token in tokens]
    write_gguf("bert", "bert", converted, [3, 2, 3, 3, 3] + [1] * (len(tokens) - 5),
               special=[("unknown_token_id", 1), ("cls_token_id", 2), ("seperator_token_id", 3)])


def small_sentence_piece(result):
    for name, fallback in (("llama", True), ("llama-no-bytes", False)):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text for text in TEXTS[:22] if text.strip() and "\0" not in text]), model_writer=model,
            model_type="bpe", vocab_size=480 if fallback else 220, byte_fallback=fallback,
            normalization_rule_name="identity", character_coverage=0.98, hard_vocab_limit=False,
            remove_extra_whitespaces=False, add_dummy_prefix=True, user_defined_symbols=["<br>"],
            allow_whitespace_only_pieces=True, minloglevel=2)
        one = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        ids = range(one.get_piece_size())
        user = {"<br>"}
        types = [2 if one.is_unknown(id) else 3 if one.is_control(id) else 6 if one.is_byte(id) else 5
                 if one.is_unused(id) else 4 if one.id_to_piece(id) in user else 1 for id in ids]
        write_gguf(name, "llama", [one.id_to_piece(id) for id in ids], types, scores=[one.get_score(id) for id in ids],
                   special=[("bos_token_id", 1), ("eos_token_id", 2), ("unknown_token_id", 0)],
                   flags=[("add_bos_token", True), ("add_eos_token", False)])
        texts = TEXTS + ["one<br>two  three<br><br>", "<br>first"]
        result[f"{name}.gguf"] = [{"text": text, "ids": [1] + one.encode(text)} for text in texts if "\0" not in text]


def real_models(result):
    if SMOLLM.exists():
        fields = gguf.GGUFReader(SMOLLM).fields
        tokens = fields["tokenizer.ggml.tokens"].contents()
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
        one = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
        one.pre_tokenizer = PRE_TOKENIZERS["smollm"]
        result[SMOLLM.relative_to(ROOT).as_posix()] = figures(ids_of(one))
    if MINILM.exists():
        result[MINILM.relative_to(ROOT).as_posix()] = figures(ids_of(Tokenizer.from_file(str(MINILM)), True))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = {}
    small_byte_level(result)
    small_word_piece(result)
    small_sentence_piece(result)
    real_models(result)
    versions = {"tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__}
    (FOLDER / "figures.json").write_text(json.dumps({"oracles": versions, "figures": result}, indent=None,
                                                    separators=(",", ":")).replace("]},{", "]},\n{") + "\n")
    for name, rows in result.items():
        print(f"{name}: {len(rows)} texts, {sum(len(row['ids']) for row in rows)} ids")


if __name__ == "__main__":
    main()
