"""What PyTorch's `transformers` computes with the real models of models/: writes tests/data/nn/real_models.json.

usage: make_nn_model_figures.py        (after `make models`; needs Debian python3-torch, pip install transformers safetensors gguf tokenizers)

SmolLM2's weights are dequantised to F32 by the package `gguf`, so quantisation is no part of the comparison. Sums of -ln p are taken in
double precision. Embeddings of MiniLM: mean over all tokens, then length 1, as its modules.json says.
"""

import json
import pathlib

import gguf
import numpy
import tokenizers
import torch
import transformers

ROOT = pathlib.Path(__file__).parents[2]
# Lewis Carroll, Alice's Adventures in Wonderland (1865), public domain.
TEXT = """Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or twice she had \
peeped into the book her sister was reading, but it had no pictures or conversations in it, "and what is the use of a book," thought \
Alice "without pictures or conversations?"

So she was considering in her own mind (as well as she could, for the hot day made her feel very sleepy and stupid), whether the \
pleasure of making a daisy-chain would be worth the trouble of getting up and picking the daisies, when suddenly a White Rabbit with \
pink eyes ran close by her.

There was nothing so very remarkable in that; nor did Alice think it so very much out of the way to hear the Rabbit say to itself, \
"Oh dear! Oh dear! I shall be late!"
"""
SENTENCES = ["A rabbit with pink eyes ran close by.", "The white hare hurried past her.", "Converters dominate the energy of an analog array."]


def read_llama(path):
    """The model of a GGUF file; rows of q and k go back from adjacent pairs to halves."""
    reader = gguf.GGUFReader(path)
    key = lambda name: reader.fields["llama." + name].contents()
    heads, kv_heads = key("attention.head_count"), key("attention.head_count_kv")
    config = transformers.LlamaConfig(
        hidden_size=key("embedding_length"), intermediate_size=key("feed_forward_length"), num_hidden_layers=key("block_count"),
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=key("context_length"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"), rope_theta=key("rope.freq_base"),
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].contents()), tie_word_embeddings=True)
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
             "ffn_norm": "post_attention_layernorm"}
    state = {}
    for tensor in reader.tensors:
        values = numpy.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=numpy.float32)
        part = tensor.name.removesuffix(".weight")
        if part.startswith("blk."):
            _, layer, part = part.split(".")
            if part in ("attn_q", "attn_k"):
                count = heads if part == "attn_q" else kv_heads
                values = values.reshape(count, -1, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
            name = f"model.layers.{layer}.{names[part]}"
        else:
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[part]
        state[name + ".weight"] = torch.from_numpy(values.copy())
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(state)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return model.eval(), tokenizer.encode(TEXT).ids


def scores(logits, targets):
    return torch.nn.functional.cross_entropy(logits.double(), targets, reduction="none")


def windowed(model, ids, length, stride):
    """Mean of -ln p; a window scores what no window before it held, without its own first token."""
    total, count, end = 0.0, 0, 0
    for first in range(0, len(ids), stride):
        window = torch.tensor([ids[first:first + length]])
        scored_from = max(end, first + 1) - first
        values = scores(model(window).logits[0, :-1], window[0, 1:])[scored_from - 1:]
        total, count, end = total + values.sum().item(), count + len(values), first + window.shape[1]
        if end == len(ids):
            break
    return {"length": length, "stride": stride, "scored": count, "nll": total / count}


def llama_figures():
    model, ids = read_llama(ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    logits = model(torch.tensor([ids])).logits[0]
    each = scores(logits[:-1], torch.tensor(ids[1:]))
    best = logits[-1].topk(8)
    chosen = list(range(0, logits.shape[1], 6007))
    return {"text": TEXT, "ids": ids, "nll": each.mean().item(), "nll_of_tokens": each.tolist(),
            "best": {"ids": best.indices.tolist(), "logits": best.values.tolist()},
            "first": {"ids": chosen, "logits": logits[0, chosen].tolist()}, "last": {"ids": chosen, "logits": logits[-1, chosen].tolist()},
            "windows": [windowed(model, ids, 64, 64), windowed(model, ids, 50, 20)],
            "greedy": model.generate(torch.tensor([ids[:40]]), do_sample=False, max_new_tokens=12, eos_token_id=2,
                                     pad_token_id=2)[0, 40:].tolist()}


def bert_figures():
    folder = ROOT / "models/all-MiniLM-L6-v2"
    model = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    encoded = [tokenizer.encode(sentence).ids for sentence in SENTENCES]
    pooled = [torch.nn.functional.normalize(model(torch.tensor([ids])).last_hidden_state[0].mean(0), dim=0) for ids in encoded]
    return {"texts": SENTENCES, "ids": encoded, "embedding": pooled[0].tolist(),
            "cosines": [[torch.dot(a, b).item() for b in pooled] for a in pooled]}


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list) else float(f"{value:.7g}") if isinstance(value, float) else value


def main():
    with torch.no_grad():
        figures = {"transformers": transformers.__version__, "torch": torch.__version__, "smollm2": llama_figures(), "minilm": bert_figures()}
    (ROOT / "tests/data/nn/real_models.json").write_text(json.dumps(rounded(figures), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
