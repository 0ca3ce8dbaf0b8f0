"""Prints tests/data/ibm_3dcim_random.json: drawn models and accelerators, run by IBM's 3D-CiM-LLM-Inference-Simulator.

    git clone https://github.com/IBM/3D-CiM-LLM-Inference-Simulator
    pip install torch==1.13.1 "numpy<2" tqdm
    python make_ibm_3dcim_figures.py 3D-CiM-LLM-Inference-Simulator > ../data/ibm_3dcim_random.json

The simulator's sources are not changed. Its plots are replaced by nothing, and unpacking of a traced pair, which PyTorch 1.13 cannot
do on Python 3.11, is done here. Cases that it refuses itself (assertions) are left out.
"""

import contextlib
import io
import json
import math
import pathlib
import random
import sys
import types

import torch
import torch.fx

CASES = 60


def draw(generator):
    """A model, an accelerator that holds it, and what to do, in the names of danaus."""
    one_of = generator.choice
    decoder = generator.random() < 0.45
    hidden = one_of([64, 96, 128, 192, 256])
    shape = {"family": "gpt2" if decoder else "bert", "layers": generator.randint(1, 4), "hidden": hidden,
             "ffn": one_of([hidden, 2 * hidden, 3 * hidden, 4 * hidden, hidden + 40]), "activation": one_of(["relu", "gelu"]),
             "vocab": one_of([100, 300, 700]), "context": 64}
    rows, cols = one_of([32, 64, 100, 128, 256, 512]), one_of([32, 64, 100, 128, 256])
    if decoder and generator.random() < 0.6:
        rows = 512  # below, it refuses a token that its rows do not divide

    def tiers_of(inputs, outputs):
        return math.ceil(inputs / rows) * math.ceil(outputs / cols)

    total = shape["layers"] * (4 * tiers_of(hidden, hidden) + tiers_of(hidden, shape["ffn"]) + tiers_of(shape["ffn"], hidden))
    if decoder:
        total += tiers_of(shape["vocab"], hidden) + tiers_of(64, hidden) + tiers_of(hidden, shape["vocab"])
    tiers = one_of([1, 2, 3, 8, 64])
    prompt = generator.randint(1, 3)
    return {"shape": shape, "rows": rows, "cols": cols, "tiers": tiers, "arrays": math.ceil(total / tiers),
            "digital_units": one_of([1, 2, 3, 5, 17, 100]), "attention_units": generator.randint(1, 3),
            "mvm_ns": one_of([1, 10, 13, 60, 100]), "one_tier_at_a_time": generator.random() < 0.7,
            "communication": generator.random() < 0.8, "sequences": generator.randint(1, 4),
            "prompt": prompt, "tokens": prompt + generator.randint(1, 4), "kv_cache": decoder and generator.random() < 0.5}


def simulate(case):
    from threedsim.accelerator import Accelerator, AcceleratorConfig
    from threedsim.inference import fast_trace_decoder, schedule_execution, trace_model
    from threedsim.mapping import Mapper, MapStrategy, Strategy
    from threedsim.models import DecoderOnlyTransformer, EncoderOnlyTransformer
    from threedsim.modules import TransformerDecoderLayer, TransformerEncoderLayer
    from threedsim.modules.base import assign_acc, fill_name_fields, make_traceable, make_use_linear

    shape = case["shape"]
    decoder = shape["family"] == "gpt2"
    accelerator = Accelerator(
        AcceleratorConfig(tiles=case["arrays"], tiers=case["tiers"], tier_shape=(case["rows"], case["cols"]),
                          num_digital_units=case["digital_units"], num_mha_units=case["attention_units"],
                          mvm_latency=case["mvm_ns"], model_ott=case["one_tier_at_a_time"], kv_caching=case["kv_cache"]),
        device="meta")
    layer = {"d_model": shape["hidden"], "nhead": max(1, shape["hidden"] // 64), "dim_feedforward": shape["ffn"],
             "activation": shape["activation"]}
    embedding = {"vocab_size": shape["vocab"], "embedding_dim": shape["hidden"], "max_seq_length": shape["context"]}
    if decoder:
        model = DecoderOnlyTransformer(TransformerDecoderLayer, num_layers=shape["layers"], decoder_layer_kwargs=layer,
                                       embedding_layer_kwargs=embedding, device="meta")
    else:
        model = EncoderOnlyTransformer(TransformerEncoderLayer, num_layers=shape["layers"], encoder_layer_kwargs=layer,
                                       embedding_layer_kwargs=embedding, device="meta")
    assign_acc(model, accelerator)
    Mapper(accelerator=accelerator, model=model,
           map_strategy=MapStrategy(strategy=Strategy.GREEDY_IN_ORDER, split_ffn=True, stack_embedding=True)).map_network()
    fill_name_fields(model)
    make_traceable(model, is_traceable=True)
    if decoder:
        make_use_linear(model, use_linear=True)
        traced = fast_trace_decoder(model, start_len=case["prompt"], target_len=case["tokens"], bsz=case["sequences"])
    else:
        traced = trace_model(model, case["sequences"], concrete_args={"context_len": case["tokens"]})
    time, _, peak, energy, operations, _, _ = schedule_execution(
        traced.graph, accelerator=accelerator, copy_and_cleanup_graph=not decoder, communication=case["communication"])
    return {"latency_ns": time, "energy_nj": energy, "peak_buffer_bytes": peak, "flops": round(operations)}


def main():
    sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "src"))
    plots = types.ModuleType("threedsim.plotting")
    plots.plot_event_pipeline = plots.plot_memory_trace = lambda *arguments, **options: None
    sys.modules["threedsim.plotting"] = plots
    torch.fx.Proxy.__iter__ = lambda self: iter((self[0], self[1]))
    generator = random.Random(1)
    lines = []
    while len(lines) < CASES:
        case = draw(generator)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                case |= simulate(case)
        except AssertionError:
            continue
        lines.append(json.dumps(case))
        print(f"{len(lines)} of {CASES}", file=sys.stderr)
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
