"""Exports small transformers from torch, as people do, into tests/data/onnx/torch-*.onnx.

Needs torch (made with 1.13, the Debian package python3-torch) and nothing else:
    python3 make_onnx_exports.py FOLDER
The modules are written as the libraries write them, because their habits are what the importer has to understand:
torch's own encoder layer, GPT-2 with its one-dimensional convolutions and stored triangular mask, llama with rotary
tables computed from positions, grouped queries, a mask made of comparisons and a cache. make_onnx_models.py adds the
figures that tests compare with.
"""

import math
import pathlib
import sys

import torch
from torch import nn


def randomise(module):
    """No zero biases and no gains of one: a test has to see them."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "norm" in name and name.endswith("weight") else 0.4 * noise)
    return module.train(False)


class Bert(nn.Module):
    """Post-norm encoder: torch's own layer, behind embeddings and their norm; a pooler at the end."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(19, 8)
        self.position = nn.Embedding(12, 8)
        self.norm = nn.LayerNorm(8, eps=1e-12)
        self.layer = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True), 1, enable_nested_tensor=False)
        self.pooler = nn.Linear(8, 8)

    def forward(self, input_ids):
        positions = torch.arange(input_ids.shape[1]).unsqueeze(0)
        hidden = self.layer(self.norm(self.embedding(input_ids) + self.position(positions)))
        return hidden, torch.tanh(self.pooler(hidden[:, 0]))


class HuggingFaceBert(nn.Module):
    """The encoder layer of the transformers library: separate projections, a padding mask, heads by view and permute."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.output, self.norm = nn.Linear(8, 8), nn.LayerNorm(8, eps=1e-12)
        self.intermediate, self.down, self.norm2 = nn.Linear(8, 12), nn.Linear(12, 8), nn.LayerNorm(8, eps=1e-12)

    def heads(self, x):
        return x.view(x.size()[:-1] + (2, 4)).permute(0, 2, 1, 3)

    def forward(self, hidden, attention_mask):
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
        query, key, value = self.heads(self.query(hidden)), self.heads(self.key(hidden)), self.heads(self.value(hidden))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(4) + mask
        context = torch.matmul(nn.functional.softmax(scores, dim=-1), value).permute(0, 2, 1, 3).contiguous()
        context = self.output(context.view(context.size()[:-2] + (8,)))
        hidden = self.norm(context + hidden)
        return self.norm2(self.down(nn.functional.gelu(self.intermediate(hidden))) + hidden)


class Conv1D(nn.Module):
    def __init__(self, out, size):
        super().__init__()
        self.weight, self.bias, self.out = nn.Parameter(torch.empty(size, out)), nn.Parameter(torch.empty(out)), out

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(x.size()[:-1] + (self.out,))


class Gpt2(nn.Module):
    """Pre-norm decoder of the transformers library: fused query, key and value, Conv1D, tanh gelu, tied head."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(19, 8), nn.Embedding(12, 8)
        self.norm_1, self.norm_2, self.norm_f = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.c_attn, self.c_proj, self.c_fc, self.c_down = Conv1D(24, 8), Conv1D(8, 8), Conv1D(16, 8), Conv1D(8, 16)
        self.register_buffer("bias", torch.tril(torch.ones((12, 12), dtype=torch.uint8)).view(1, 1, 12, 12).bool())

    def split_heads(self, x):
        return x.view(x.size()[:-1] + (2, 4)).permute(0, 2, 1, 3)

    def forward(self, input_ids):
        positions = torch.arange(0, input_ids.size(-1)).unsqueeze(0)
        hidden = self.wte(input_ids) + self.wpe(positions)
        query, key, value = self.c_attn(self.norm_1(hidden)).split(8, dim=2)
        query, key, value = self.split_heads(query), self.split_heads(key), self.split_heads(value)
        scores = torch.matmul(query, key.transpose(-1, -2)) / (value.size(-1) ** 0.5)
        length, total = query.size(-2), key.size(-2)
        causal = self.bias[:, :, total - length: total, :total]
        scores = torch.where(causal, scores, torch.tensor(torch.finfo(scores.dtype).min))
        context = torch.matmul(nn.functional.softmax(scores, dim=-1), value)
        context = context.permute(0, 2, 1, 3).contiguous().view(hidden.size())
        hidden = hidden + self.c_proj(context)
        x = self.c_fc(self.norm_2(hidden))
        x = 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))
        hidden = self.norm_f(hidden + self.c_down(x))
        return torch.matmul(hidden, self.wte.weight.t())


class RmsNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + 1e-5)).to(torch.float32)


class Llama(nn.Module):
    """Pre-norm decoder of the transformers library: rotary embedding, 4 query heads on 2 key heads, gated, cached."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(19, 16)
        self.norm_in, self.norm_post, self.norm = RmsNorm(16), RmsNorm(16), RmsNorm(16)
        self.q_proj, self.o_proj = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.k_proj, self.v_proj = nn.Linear(16, 8, bias=False), nn.Linear(16, 8, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(16, 20, bias=False), nn.Linear(16, 20, bias=False)
        self.down_proj, self.lm_head = nn.Linear(20, 16, bias=False), nn.Linear(16, 19, bias=False)
        self.register_buffer("inv_freq", 1.0 / (5000 ** (torch.arange(0, 4, 2).float() / 4)))

    @staticmethod
    def rotate_half(x):
        return torch.cat((-x[..., x.shape[-1] // 2:], x[..., : x.shape[-1] // 2]), dim=-1)

    @staticmethod
    def repeat(x):
        batch, heads, length, size = x.shape
        return x[:, :, None, :, :].expand(batch, heads, 2, length, size).reshape(batch, heads * 2, length, size)

    def forward(self, input_ids, position_ids, past_key, past_value):
        hidden = self.embed(input_ids)
        batch, length = input_ids.shape
        angles = (self.inv_freq[None, :, None].expand(batch, -1, 1) @ position_ids[:, None, :].float()).transpose(1, 2)
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)
        x = self.norm_in(hidden)
        query = self.q_proj(x).view(batch, length, 4, 4).transpose(1, 2)
        key = self.k_proj(x).view(batch, length, 2, 4).transpose(1, 2)
        value = self.v_proj(x).view(batch, length, 2, 4).transpose(1, 2)
        query, key = query * cos + self.rotate_half(query) * sin, key * cos + self.rotate_half(key) * sin
        key, value = torch.cat((past_key, key), dim=2), torch.cat((past_value, value), dim=2)
        total = key.shape[2]
        mask = torch.full((length, total), torch.finfo(torch.float32).min)
        mask = mask * (torch.arange(total) > torch.arange(total - length, total).reshape(-1, 1))
        scores = torch.matmul(query, self.repeat(key).transpose(2, 3)) / math.sqrt(4) + mask[None, None]
        scores = nn.functional.softmax(scores, dim=-1, dtype=torch.float32)
        context = torch.matmul(scores, self.repeat(value)).transpose(1, 2).contiguous().reshape(batch, length, 16)
        hidden = hidden + self.o_proj(context)
        x = self.norm_post(hidden)
        hidden = hidden + self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return self.lm_head(self.norm(hidden)), key, value


def main(folder):
    folder = pathlib.Path(folder)
    ids = torch.tensor([[3, 1, 4, 15]])
    names = {0: "batch_size", 1: "sequence_length"}

    def export(module, arguments, name, inputs, outputs, axes, opset):
        torch.manual_seed(0)
        torch.onnx.export(randomise(module), arguments, str(folder / name), input_names=inputs, output_names=outputs,
                          dynamic_axes=axes, opset_version=opset)

    export(Bert(), (ids,), "torch-encoder.onnx", ["input_ids"], ["last_hidden_state", "pooler_output"],
           {"input_ids": names, "last_hidden_state": names, "pooler_output": {0: "batch_size"}}, 14)
    export(HuggingFaceBert(), (torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.int64)), "torch-bert.onnx",
           ["hidden", "attention_mask"], ["last_hidden_state"],
           {"hidden": names, "attention_mask": names, "last_hidden_state": names}, 11)
    export(Gpt2(), (ids,), "torch-gpt2.onnx", ["input_ids"], ["logits"], {"input_ids": names, "logits": names}, 13)
    past = {0: "batch_size", 2: "past_sequence_length"}
    present = {0: "batch_size", 2: "past_sequence_length + sequence_length"}
    export(Llama(), (ids, torch.arange(4)[None], torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)), "torch-llama.onnx",
           ["input_ids", "position_ids", "past_key_values.0.key", "past_key_values.0.value"],
           ["logits", "present.0.key", "present.0.value"],
           {"input_ids": names, "position_ids": names, "past_key_values.0.key": past, "past_key_values.0.value": past,
            "logits": names, "present.0.key": present, "present.0.value": present}, 16)


if __name__ == "__main__":
    main(*sys.argv[1:])
