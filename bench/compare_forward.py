#!/usr/bin/env python3
"""The float forward pass against llama.cpp on the same model, tokens and threads, in turns.

bench_forward multiplies with weights dequantised to F32. llama.cpp (PyPI llama-cpp-python) gets the same weights as an F32 file, which
this script writes with PyPI gguf, and the file itself with its quantised kernels. A prompt is computed with the logits of every token,
as perplexity needs them; then tokens one by one.

usage: compare_forward.py BENCH_FORWARD [--model GGUF] [--tokens N] [--decoded N] [--threads N] [--turns N]
"""
import argparse
import json
import os
import subprocess
import tempfile
import time

import gguf
import llama_cpp


def write_f32(source, destination):
    """The same file with every tensor as F32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(destination, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, field.contents(), kind, sub_type=field.types[-1])
        else:
            writer.add_key_value(name, field.contents(), kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_seconds(path, arguments):
    """Seconds of a prompt with all logits and of one token behind it."""
    model = llama_cpp.Llama(model_path=path, n_ctx=arguments.tokens + arguments.decoded, n_batch=arguments.tokens,
                            n_ubatch=arguments.tokens, n_threads=arguments.threads, n_threads_batch=arguments.threads, logits_all=True,
                            verbose=False)
    ids = [n * 7919 % model.n_vocab() for n in range(arguments.tokens + arguments.decoded)]
    started = time.perf_counter()
    model.eval(ids[:arguments.tokens])
    prompt = time.perf_counter() - started
    started = time.perf_counter()
    for token in ids[arguments.tokens:]:
        model.eval([token])
    single = (time.perf_counter() - started) / arguments.decoded
    model.close()
    return prompt, single


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench_forward")
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--decoded", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        f32 = os.path.join(folder, "f32.gguf")
        write_f32(arguments.model, f32)
        times = {"danaus F32": [], "llama.cpp F32": [], "llama.cpp as is": []}
        for _ in range(arguments.turns):
            output = subprocess.run([arguments.bench_forward, arguments.model, str(arguments.tokens), str(arguments.decoded),
                                     str(arguments.threads), "1"], check=True, capture_output=True, text=True).stdout
            ours = json.loads(output)
            times["danaus F32"].append((ours["prompt_s"] + ours["scores_s"], ours["token_s"]))
            times["llama.cpp F32"].append(llama_cpp_seconds(f32, arguments))
            times["llama.cpp as is"].append(llama_cpp_seconds(arguments.model, arguments))
    print(f"{arguments.model}: prompt of {arguments.tokens} tokens with logits, {arguments.threads} threads, best of {arguments.turns}")
    print(f"llama-cpp-python {llama_cpp.__version__}; ours: {ours['blas']}")
    for name, turns in times.items():
        prompt, single = (min(turn[n] for turn in turns) for n in (0, 1))
        ratios = [min(turn[n] for turn in times["danaus F32"]) / value for n, value in ((0, prompt), (1, single))]
        print(f"{name:16} prompt {arguments.tokens / prompt:8.1f} tokens/s, single {1 / single:7.1f} tokens/s; "
              f"danaus reaches {1 / ratios[0]:.2f} and {1 / ratios[1]:.2f} of it")


if __name__ == "__main__":
    main()
