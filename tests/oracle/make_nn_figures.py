"""Small random models of every family and what PyTorch's `transformers` computes with them: tests/data/nn.

usage: make_nn_figures.py [FOLDER]        (default tests/data/nn; needs Debian python3-torch, pip install transformers safetensors)

Each folder is a Hugging Face model of a few KB and figures.json: token ids of several texts and, for decoders, the logits of every
token (of one text also the mean of -ln p), for encoders the last hidden states. The models are far from trained ones: weights are
large, so that a wrong order of heads, pairs, biases or activations shows.
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file

HIDDEN, FFN, HEADS, KV_HEADS, VOCAB, CONTEXT = 16, 24, 4, 2, 29, 24
TEXTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4], [27], [28, 18, 28, 18, 2, 8]]

LLAMA = dict(hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=2, num_attention_heads=HEADS,
             num_key_value_heads=KV_HEADS, vocab_size=VOCAB, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5)
MODELS = {
    "llama": (transformers.LlamaConfig(**LLAMA, rope_theta=500.0), transformers.LlamaForCausalLM),
    "llama-tied": (transformers.LlamaConfig(**LLAMA, tie_word_embeddings=True), transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config(**LLAMA) if hasattr(transformers, "Qwen2Config") else None, "Qwen2ForCausalLM"),
    "mistral": (transformers.MistralConfig(**LLAMA, sliding_window=CONTEXT), transformers.MistralForCausalLM),
    "mixtral": (transformers.MixtralConfig(**LLAMA, num_local_experts=4, num_experts_per_tok=2),
                transformers.MixtralForCausalLM),
    "phi": (transformers.PhiConfig(hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=2, num_attention_heads=2,
                                   vocab_size=VOCAB, max_position_embeddings=CONTEXT, partial_rotary_factor=0.5),
            transformers.PhiForCausalLM),
    "falcon": (transformers.FalconConfig(hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=HEADS, vocab_size=VOCAB,
                                         max_position_embeddings=CONTEXT, bias=False), transformers.FalconForCausalLM),
    "gpt2": (transformers.GPT2Config(n_embd=HIDDEN, n_inner=FFN, n_layer=2, n_head=HEADS, vocab_size=VOCAB, n_positions=CONTEXT),
             transformers.GPT2LMHeadModel),
    "bert": (transformers.BertConfig(hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=2, num_attention_heads=HEADS,
                                     vocab_size=VOCAB, max_position_embeddings=CONTEXT), transformers.BertModel),
    "bart": (transformers.BartConfig(d_model=HIDDEN, encoder_layers=2, decoder_layers=2, encoder_attention_heads=HEADS,
                                     decoder_attention_heads=HEADS, encoder_ffn_dim=FFN, decoder_ffn_dim=FFN, vocab_size=VOCAB,
                                     max_position_embeddings=CONTEXT, scale_embedding=True),
             transformers.BartForConditionalGeneration),
}


def randomise(model, generator):
    """Matrices of unit gain, embeddings of unit size, gains around 1, biases and the rest around 0."""
    with torch.no_grad():
        for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
            if not tensor.is_floating_point() or "inv_freq" in name or "cached" in name:
                continue
            draw = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() >= 2 and "final_logits_bias" not in name:
                is_table = any(part in name for part in ("embed", "wte", "wpe", "shared"))
                values = draw * (0.7 if is_table else 1.3 / tensor.shape[-1] ** 0.5)
            elif name.endswith("bias"):
                values = 0.3 * draw
            else:
                values = 1 + 0.3 * draw
            tensor.copy_(values.to(torch.bfloat16).float())


def figures_of(model, name):
    results = []
    for n, text in enumerate(TEXTS):
        ids = torch.tensor([text])
        entry = {"ids": text}
        if name == "bert":
            entry["hidden"] = model(ids).last_hidden_state[0].tolist()
        elif name == "bart":
            entry["decoder_ids"] = TEXTS[(n + 1) % len(TEXTS)]
            entry["logits"] = model(ids, decoder_input_ids=torch.tensor([entry["decoder_ids"]])).logits[0].tolist()
        else:
            logits = model(ids, attention_mask=torch.ones_like(ids)).logits[0]
            entry["logits"] = logits.tolist()
            if len(text) > 1:
                entry["nll"] = torch.nn.functional.cross_entropy(logits[:-1].double(), ids[0, 1:]).item()
        results.append(entry)
    return results


def rounded(value):
    return float(f"{value:.7g}") if isinstance(value, float) else [rounded(v) for v in value] if isinstance(value, list) else value


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "data/nn")
    for number, (name, (config, kind)) in enumerate(MODELS.items()):
        if config is None:
            sys.exit(f"this version of transformers has no {kind}")
        model = (getattr(transformers, kind) if isinstance(kind, str) else kind)(config).eval()
        randomise(model, torch.Generator().manual_seed(number + 1))
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tied = {"lm_head.weight"} if getattr(config, "tie_word_embeddings", False) and name != "mixtral" else set()
        seen, tensors = set(), {}
        for key, tensor in model.state_dict().items():
            if key in tied and tensor.data_ptr() in seen or "embed_tokens" in key and name == "bart":
                continue
            seen.add(tensor.data_ptr())
            tensors[key] = (tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor).clone().contiguous()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        kept = config.to_dict()
        kept["architectures"] = [type(model).__name__]
        defaults = transformers.PretrainedConfig().to_dict()
        kept = {key: value for key, value in kept.items()
                if key in ("architectures", "tie_word_embeddings") or key not in defaults and key != "_name_or_path"}
        (folder / "config.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        with torch.no_grad():
            figures = [{key: rounded(value) for key, value in entry.items()} for entry in figures_of(model, name)]
        text = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in figures)
        (folder / "figures.json").write_text(f'{{"transformers":"{transformers.__version__}","torch":"{torch.__version__}",'
                                             f'"texts":[\n{text}\n]}}\n')


if __name__ == "__main__":
    main()
