"""Small models of every family, written as files and computed by numpy from the definition of the family, must come out of the
compiled program: which tensor is which, its order, its halves and turns.

The forward passes are written from the papers and share nothing with danaus but the names of the tensors.
"""

import json
import math

import numpy
import pytest

import sys
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/golden"))
import safetensors_file  # noqa: E402

LAYERS, HIDDEN, FFN, HEADS, KV_HEADS, SIZE, VOCAB, CONTEXT = 2, 8, 12, 4, 2, 2, 5, 16
EPSILON = 1e-5  # bart has no key for it
TOKENS = 3


class Weights(dict):
    """name -> values, made at first use."""

    def __init__(self, seed):
        super().__init__()
        self.random = numpy.random.default_rng(seed)

    def make(self, name, *shape):
        values = self.random.standard_normal(shape) / math.sqrt(shape[-1])
        if len(shape) == 1:
            values = 1 + 0.3 * self.random.standard_normal(shape)
        self[name] = values.astype(numpy.float32)
        return self[name].astype(float)


def softmax(x):
    e = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x):
    return x * 0.5 * (1 + numpy.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return x * 0.5 * (1 + numpy.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + numpy.exp(-x))


def rms_norm(x, gain):
    return x / numpy.sqrt((x * x).mean(axis=-1, keepdims=True) + EPSILON) * gain


def layer_norm(x, gain, offset):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / numpy.sqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON) * gain + offset


def rotary(x, theta, adjacent):
    """x: tokens x heads x size, turned by position * theta^(-2 pair / size)."""
    tokens, _, size = x.shape
    angle = numpy.arange(tokens)[:, None] * theta ** (-2 * numpy.arange(size // 2) / size)
    turn = numpy.exp(1j * angle)[:, None, :]
    if adjacent:
        z = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return numpy.stack([z.real, z.imag], axis=-1).reshape(x.shape)
    z = (x[..., :size // 2] + 1j * x[..., size // 2:]) * turn
    return numpy.concatenate([z.real, z.imag], axis=-1)


def attention(q, k, v, kv_heads, causal):
    """q: tokens x (heads * SIZE), k, v: others x (kv_heads * SIZE)."""
    q = q.reshape(len(q), -1, SIZE)
    k, v = (numpy.repeat(x.reshape(len(x), kv_heads, SIZE), HEADS // kv_heads, axis=1) for x in (k, v))
    scores = numpy.einsum("qhs,khs->hqk", q, k) / math.sqrt(SIZE)
    if causal:
        scores += numpy.triu(numpy.full(scores.shape[1:], -numpy.inf), 1)
    return numpy.einsum("hqk,khs->qhs", softmax(scores), v).reshape(len(q), -1)


def heads_of(x):
    return x.reshape(len(x), -1, SIZE)


def gpt2(w, x, root=""):
    for layer in range(LAYERS):
        p = f"{root}h.{layer}."
        n = layer_norm(x, w.make(p + "ln_1.weight", HIDDEN), w.make(p + "ln_1.bias", HIDDEN))
        qkv = n @ w.make(p + "attn.c_attn.weight", HIDDEN, 3 * HIDDEN) + w.make(p + "attn.c_attn.bias", 3 * HIDDEN)
        q, k, v = numpy.split(qkv, 3, axis=1)
        a = attention(q, k, v, HEADS, causal=True)
        x = x + a @ w.make(p + "attn.c_proj.weight", HIDDEN, HIDDEN) + w.make(p + "attn.c_proj.bias", HIDDEN)
        n = layer_norm(x, w.make(p + "ln_2.weight", HIDDEN), w.make(p + "ln_2.bias", HIDDEN))
        h = gelu_tanh(n @ w.make(p + "mlp.c_fc.weight", HIDDEN, FFN) + w.make(p + "mlp.c_fc.bias", FFN))
        x = x + h @ w.make(p + "mlp.c_proj.weight", FFN, HIDDEN) + w.make(p + "mlp.c_proj.bias", HIDDEN)
    w.make(root + "wte.weight", VOCAB, HIDDEN), w.make(root + "wpe.weight", CONTEXT, HIDDEN)
    return layer_norm(x, w.make(root + "ln_f.weight", HIDDEN), w.make(root + "ln_f.bias", HIDDEN))


def llama(w, x, biased=False, fused=False, theta=10000.0):
    kv = KV_HEADS * SIZE
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        n = rms_norm(x, w.make(p + "input_layernorm.weight", HIDDEN))
        if fused:
            q, k, v = numpy.split(n @ w.make(p + "self_attn.qkv_proj.weight", HIDDEN + 2 * kv, HIDDEN).T,
                                  [HIDDEN, HIDDEN + kv], axis=1)
        else:
            q, k, v = (n @ w.make(f"{p}self_attn.{part}_proj.weight", out, HIDDEN).T +
                       (w.make(f"{p}self_attn.{part}_proj.bias", out) if biased else 0)
                       for part, out in (("q", HIDDEN), ("k", kv), ("v", kv)))
        q, k = (rotary(heads_of(part), theta, adjacent=False) for part in (q, k))
        a = attention(q, k, v, KV_HEADS, causal=True)
        x = x + a @ w.make(p + "self_attn.o_proj.weight", HIDDEN, HIDDEN).T
        n = rms_norm(x, w.make(p + "post_attention_layernorm.weight", HIDDEN))
        if fused:
            gate, up = numpy.split(n @ w.make(p + "mlp.gate_up_proj.weight", 2 * FFN, HIDDEN).T, 2, axis=1)
        else:
            gate, up = (n @ w.make(f"{p}mlp.{part}_proj.weight", FFN, HIDDEN).T for part in ("gate", "up"))
        x = x + (silu(gate) * up) @ w.make(p + "mlp.down_proj.weight", HIDDEN, FFN).T
    w.make("model.embed_tokens.weight", VOCAB, HIDDEN), w.make("lm_head.weight", VOCAB, HIDDEN)
    return rms_norm(x, w.make("model.norm.weight", HIDDEN))


def mixtral(w, x, experts=4, chosen=2):
    kv = KV_HEADS * SIZE
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        n = rms_norm(x, w.make(p + "input_layernorm.weight", HIDDEN))
        q, k, v = (n @ w.make(f"{p}self_attn.{part}_proj.weight", out, HIDDEN).T
                   for part, out in (("q", HIDDEN), ("k", kv), ("v", kv)))
        q, k = (rotary(heads_of(part), 10000.0, adjacent=False) for part in (q, k))
        x = x + attention(q, k, v, KV_HEADS, causal=True) @ w.make(p + "self_attn.o_proj.weight", HIDDEN, HIDDEN).T
        n = rms_norm(x, w.make(p + "post_attention_layernorm.weight", HIDDEN))
        probabilities = softmax(n @ w.make(p + "block_sparse_moe.gate.weight", experts, HIDDEN).T)
        gates = numpy.zeros_like(probabilities)
        for token, row in enumerate(probabilities):
            best = numpy.argsort(-row)[:chosen]
            gates[token, best] = row[best] / row[best].sum()
        for expert in range(experts):
            e = f"{p}block_sparse_moe.experts.{expert}."
            h = silu(n @ w.make(e + "w1.weight", FFN, HIDDEN).T) * (n @ w.make(e + "w3.weight", FFN, HIDDEN).T)
            x = x + gates[:, expert:expert + 1] * (h @ w.make(e + "w2.weight", HIDDEN, FFN).T)
    w.make("model.embed_tokens.weight", VOCAB, HIDDEN), w.make("lm_head.weight", VOCAB, HIDDEN)
    return rms_norm(x, w.make("model.norm.weight", HIDDEN))


def phi(w, x, turned=2):
    size = 4  # heads of 4 elements, the first 2 turned
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        n = norm_with(w, x, p + "input_layernorm")
        q, k, v = (biased(w, n, f"{p}self_attn.{part}_proj", HIDDEN).reshape(len(x), -1, size) for part in ("q", "k", "v"))
        q, k = (numpy.concatenate([rotary(part[..., :turned], 10000.0, adjacent=False), part[..., turned:]], axis=-1)
                for part in (q, k))
        scores = numpy.einsum("qhs,khs->hqk", q, k) / math.sqrt(size)
        scores += numpy.triu(numpy.full(scores.shape[1:], -numpy.inf), 1)
        a = numpy.einsum("hqk,khs->qhs", softmax(scores), v).reshape(len(x), -1)
        h = gelu_tanh(biased(w, n, p + "mlp.fc1", FFN))
        x = x + biased(w, a, p + "self_attn.dense", HIDDEN) + biased(w, h, p + "mlp.fc2", HIDDEN)
    w.make("model.embed_tokens.weight", VOCAB, HIDDEN)
    w.make("lm_head.weight", VOCAB, HIDDEN), w.make("lm_head.bias", VOCAB)
    return norm_with(w, x, "model.final_layernorm")


def falcon(w, x):
    for layer in range(LAYERS):
        p = f"transformer.h.{layer}."
        n = layer_norm(x, w.make(p + "input_layernorm.weight", HIDDEN), w.make(p + "input_layernorm.bias", HIDDEN))
        qkv = n @ w.make(p + "self_attention.query_key_value.weight", HIDDEN + 2 * SIZE, HIDDEN).T
        q, k, v = numpy.split(qkv, [HIDDEN, HIDDEN + SIZE], axis=1)
        q, k = (rotary(heads_of(part), 10000.0, adjacent=False) for part in (q, k))
        a = attention(q, k, v, 1, causal=True) @ w.make(p + "self_attention.dense.weight", HIDDEN, HIDDEN).T
        h = gelu(n @ w.make(p + "mlp.dense_h_to_4h.weight", FFN, HIDDEN).T)
        x = x + a + h @ w.make(p + "mlp.dense_4h_to_h.weight", HIDDEN, FFN).T
    w.make("transformer.word_embeddings.weight", VOCAB, HIDDEN)
    return layer_norm(x, w.make("transformer.ln_f.weight", HIDDEN), w.make("transformer.ln_f.bias", HIDDEN))


def biased(w, x, name, out):
    return x @ w.make(name + ".weight", out, x.shape[1]).T + w.make(name + ".bias", out)


def norm_with(w, x, name):
    return layer_norm(x, w.make(name + ".weight", HIDDEN), w.make(name + ".bias", HIDDEN))


def bert(w, x):
    for layer in range(LAYERS):
        p = f"encoder.layer.{layer}."
        q, k, v = (biased(w, x, f"{p}attention.self.{part}", HIDDEN) for part in ("query", "key", "value"))
        a = biased(w, attention(q, k, v, HEADS, causal=False), p + "attention.output.dense", HIDDEN)
        x = norm_with(w, x + a, p + "attention.output.LayerNorm")
        h = biased(w, gelu(biased(w, x, p + "intermediate.dense", FFN)), p + "output.dense", HIDDEN)
        x = norm_with(w, x + h, p + "output.LayerNorm")
    e = "embeddings."
    w.make(e + "word_embeddings.weight", VOCAB, HIDDEN), w.make(e + "position_embeddings.weight", CONTEXT, HIDDEN)
    w.make(e + "token_type_embeddings.weight", 2, HIDDEN), norm_with(w, x, e + "LayerNorm")
    return x


LLAMA_KEYS = dict(hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, vocab_size=VOCAB, max_position_embeddings=CONTEXT, rms_norm_eps=EPSILON)
GPT2_KEYS = dict(n_layer=LAYERS, n_embd=HIDDEN, n_inner=FFN, n_head=HEADS, n_positions=CONTEXT, vocab_size=VOCAB,
                 layer_norm_epsilon=EPSILON)
FALCON_KEYS = dict(hidden_size=HIDDEN, ffn_hidden_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                   vocab_size=VOCAB, max_position_embeddings=CONTEXT, layer_norm_epsilon=EPSILON)
BERT_KEYS = dict(hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                 vocab_size=VOCAB, max_position_embeddings=CONTEXT, layer_norm_eps=EPSILON)

PHI_KEYS = dict(hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=2, vocab_size=VOCAB,
                max_position_embeddings=CONTEXT, layer_norm_eps=EPSILON, partial_rotary_factor=0.5)

FAMILIES = {
    "gpt2": ("GPT2LMHeadModel", GPT2_KEYS, gpt2),
    "gpt2-prefixed": ("GPT2LMHeadModel", GPT2_KEYS, lambda w, x: gpt2(w, x, root="transformer.")),
    "llama": ("LlamaForCausalLM", dict(LLAMA_KEYS, rope_theta=500.0), lambda w, x: llama(w, x, theta=500.0)),
    "mistral": ("MistralForCausalLM", dict(LLAMA_KEYS, sliding_window=8), llama),
    "qwen2": ("Qwen2ForCausalLM", LLAMA_KEYS, lambda w, x: llama(w, x, biased=True)),
    "phi3": ("Phi3ForCausalLM", LLAMA_KEYS, lambda w, x: llama(w, x, fused=True)),
    "falcon": ("FalconForCausalLM", FALCON_KEYS, falcon),
    "mixtral": ("MixtralForCausalLM", dict(LLAMA_KEYS, num_local_experts=4, num_experts_per_tok=2), mixtral),
    "phi": ("PhiForCausalLM", PHI_KEYS, phi),
    "bert": ("BertModel", BERT_KEYS, bert),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_hugging_face(execute_model, tmp_path, family):
    architecture, keys, forward = FAMILIES[family]
    weights = Weights(len(family))
    x = numpy.random.default_rng(9).standard_normal((TOKENS, HIDDEN))
    expected = forward(weights, x)
    (tmp_path / "config.json").write_text(json.dumps(dict(keys, architectures=[architecture])))
    (tmp_path / "model.safetensors").write_bytes(safetensors_file.pack(weights))
    computed = execute_model(tmp_path, "encode" if family == "bert" else "prefill", {"x": x.tolist()})
    assert numpy.array(computed) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def bart_layer(w, x, p, causal, entries=None):
    q, k, v = (biased(w, x, f"{p}self_attn.{part}_proj", HIDDEN) for part in ("q", "k", "v"))
    a = biased(w, attention(q, k, v, HEADS, causal), p + "self_attn.out_proj", HIDDEN)
    x = norm_with(w, x + a, p + "self_attn_layer_norm")
    if entries:
        q = biased(w, x, p + "encoder_attn.q_proj", HIDDEN)
        a = biased(w, attention(q, *entries, HEADS, causal=False), p + "encoder_attn.out_proj", HIDDEN)
        x = norm_with(w, x + a, p + "encoder_attn_layer_norm")
    h = biased(w, gelu(biased(w, x, p + "fc1", FFN)), p + "fc2", HIDDEN)
    return norm_with(w, x + h, p + "final_layer_norm")


def test_bart_decoder(execute_model, tmp_path):
    """The decoder's program reads the keys and values that the encoder's program left; numpy computes both."""
    w = Weights(4)
    random = numpy.random.default_rng(9)
    x, tokens = random.standard_normal((5, HIDDEN)), random.standard_normal((TOKENS, HIDDEN))
    y = tokens
    for layer in range(LAYERS):
        x = bart_layer(w, x, f"model.encoder.layers.{layer}.", causal=False)
    prior = {}
    for layer in range(LAYERS):
        p = f"model.decoder.layers.{layer}."
        entries = [biased(w, x, f"{p}encoder_attn.{part}_proj", HIDDEN) for part in ("k", "v")]
        prior[p + "cross_attend"] = [part.tolist() for part in entries]
        y = bart_layer(w, y, p, causal=True, entries=entries)
    w.make("model.shared.weight", VOCAB, HIDDEN)
    for stack in ("encoder", "decoder"):
        w.make(f"model.{stack}.embed_positions.weight", CONTEXT + 2, HIDDEN)
        norm_with(w, x, f"model.{stack}.layernorm_embedding")
    (tmp_path / "config.json").write_text(json.dumps(dict(
        architectures=["BartForConditionalGeneration"], d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=FFN, decoder_ffn_dim=FFN,
        vocab_size=VOCAB, max_position_embeddings=CONTEXT)))
    (tmp_path / "model.safetensors").write_bytes(safetensors_file.pack(w))
    computed = execute_model(tmp_path, "prefill", {"y": tokens.tolist()}, prior)
    assert numpy.array(computed) == pytest.approx(y, rel=1e-9, abs=1e-9)
