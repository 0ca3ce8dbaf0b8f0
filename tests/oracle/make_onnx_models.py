"""Makes the small ONNX models of tests/data/onnx and the figures beside them; needs PyPI onnx (made with 1.23).

    python make_onnx_models.py FOLDER            writes the models (but torch-*.onnx) and all figures
    python make_onnx_models.py --check FOLDER    makes them anew and says what differs

A figure file NAME.txt has, by hand in this script: the kinds of the nodes that danaus should find, and which of its
inputs and outputs are which values of the file; and, by the reference evaluator of the onnx package in binary32, what
those values are for random inputs of one sequence. types.txt has every tensor of types.onnx as onnx.numpy_helper reads
it. torch-*.onnx come from make_onnx_exports.py.
"""

import pathlib
import re
import sys
import tempfile

import numpy
import onnx
import onnx.numpy_helper
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

TOKENS = 4


class Builder:
    """A graph, node by node; constants are random unless given."""

    def __init__(self, opset=17, seed=1):
        self.nodes, self.tensors, self.opset = [], [], opset
        self.random = numpy.random.default_rng(seed)

    def constant(self, name, *shape, value=None, gain=False):
        if value is None:
            value = (1.0 if gain else 0.0) + 0.4 * self.random.standard_normal(shape)
        value = numpy.asarray(value)
        if value.dtype == numpy.float64:
            value = value.astype(numpy.float32)
        self.tensors.append(onnx.numpy_helper.from_array(value, name))
        return name

    def node(self, operation, inputs, output, name=None, domain="", **attributes):
        outputs = output if isinstance(output, list) else [output]
        self.nodes.append(helper.make_node(operation, inputs, outputs, name=name or outputs[0], domain=domain, **attributes))
        return outputs[0]

    def model(self, inputs, outputs):
        def values(entries):
            return [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in entries]

        graph = helper.make_graph(self.nodes, "g", values(inputs), values(outputs), self.tensors)
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.example", 1),
                   helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


FLOAT = TensorProto.FLOAT


def mlp():
    """Gemm in every spelling: turned or not, scaled, bias as vector, row or number; relu; rank 2."""
    b = Builder()
    b.node("Gemm", ["x", b.constant("fc1.weight", 6, 5), b.constant("fc1.bias", 6)], "a", transB=1)
    b.node("Relu", ["a"], "r")
    b.node("Gemm", ["r", b.constant("fc2.weight", 6, 7), b.constant("fc2.bias", 1, 7)], "c", alpha=0.5, beta=2.0)
    b.node("Max", ["c", b.constant("zero", value=numpy.float32(0))], "d")
    b.node("Gemm", ["d", b.constant("fc3.weight", 7, 3), b.constant("number", value=numpy.float32(0.25))], "e")
    b.node("Dropout", ["e"], "f")
    b.node("Transpose", [b.constant("fc4.weight", 4, 3)], "turned", perm=[1, 0])
    b.node("MatMul", ["f", "turned"], "g")
    b.node("Add", ["g", b.constant("fc4.bias", 4)], "y")
    return (b.model([("x", FLOAT, ["n", 5])], [("y", FLOAT, ["n", 4])]),
            "input linear bias relu linear bias relu linear bias linear bias", {"x": "x"}, {"fc4.bias": "y"})


def functions():
    """Norms and activations, as operators and taken apart, in several spellings."""
    b = Builder(18)
    one, half, two = (b.constant(name, value=numpy.float32(value)) for name, value in
                      (("one", 1.0), ("half", 0.5), ("two", 2.0)))
    b.node("LayerNormalization", ["x", b.constant("n0.weight", 8, gain=True), b.constant("n0.bias", 8)], "n0", epsilon=0.02)
    b.node("LayerNormalization", ["n0", b.constant("n1.weight", 8, gain=True)], "n1", axis=2)
    last = b.constant("last", value=numpy.array([-1]))
    b.node("ReduceMean", ["n1", last], "m2")
    b.node("Sub", ["n1", "m2"], "c2")
    b.node("Mul", ["c2", "c2"], "s2")
    b.node("ReduceMean", ["s2", last], "v2")
    b.node("Add", [b.constant("eps2", value=numpy.float32(1e-3)), "v2"], "e2")
    b.node("Sqrt", ["e2"], "d2")
    b.node("Reciprocal", ["d2"], "i2")
    b.node("Mul", ["c2", "i2"], "q2")
    b.node("Mul", [b.constant("n2.weight", 8, gain=True), "q2"], "g2")
    b.node("Add", ["g2", b.constant("n2.bias", 8)], "n2")
    b.node("Mul", ["n2", "n2"], "s3")
    b.node("ReduceMean", ["s3", last], "v3")
    b.node("Add", ["v3", b.constant("eps3", value=numpy.float32(0.01))], "e3")
    b.node("Pow", ["e3", b.constant("power", value=numpy.float32(-0.5))], "i3")
    b.node("Mul", ["n2", "i3"], "q3")
    b.node("Mul", ["q3", b.constant("n3.weight", 1, 1, 8, gain=True)], "n3")
    b.node("MatMul", ["n3", b.constant("w.weight", 8, 8)], "w")
    b.node("Div", ["w", b.constant("root", value=numpy.float32(2 ** 0.5))], "g1")
    b.node("Erf", ["g1"], "g2e")
    b.node("Add", ["g2e", one], "g3")
    b.node("Mul", [half, "g3"], "g4")
    b.node("Mul", ["w", "g4"], "gelu")
    b.node("Sigmoid", ["gelu"], "sig")
    b.node("Mul", ["sig", "gelu"], "silu")
    b.node("Add", ["silu", "w"], "sum")
    b.node("Mul", ["sum", "n3"], "product")
    b.node("Sub", ["product", b.constant("nothing", value=numpy.float32(0))], "same")
    b.node("Cast", ["same"], "y", to=FLOAT)
    return (b.model([("x", FLOAT, ["batch", "n", 8])], [("y", FLOAT, ["batch", "n", 8])]),
            "input norm bias norm norm bias norm linear gelu silu add mul", {"x": "x"}, {"product": "y"})


def digital():
    """What is not understood in the middle of what is: a custom operation, a softmax of a vector, a scale, a pooler."""
    b = Builder()
    b.node("MatMul", ["x", b.constant("up.weight", 6, 8)], "u")
    b.node("Tanh", ["u"], "t", name="squash")
    b.node("MatMul", ["t", b.constant("down.weight", 8, 6)], "v")
    b.node("Add", ["v", "x"], "r")
    b.node("Softmax", ["r"], "s", name="gate", axis=-1)
    b.node("Mul", ["r", "s"], "m")
    b.node("Mul", ["m", b.constant("third", value=numpy.float32(1 / 3))], "k", name="scaling")
    b.node("MatMul", ["k", b.constant("out.weight", 6, 5)], "y")
    b.node("ReduceMean", ["y"], "p", name="pooling", axes=[1], keepdims=0)
    b.node("Gemm", ["p", b.constant("pooler.weight", 5, 5)], "z", name="pooler")
    return (b.model([("x", FLOAT, ["batch", "n", 6])], [("y", FLOAT, ["batch", "n", 5]), ("z", FLOAT, ["batch", 5])]),
            "input linear input linear add input mul input linear", {"x": "x", "t": "t", "s": "s", "k": "k"},
            {"up": "u", "r": "r", "m": "m", "out": "y"})


def attention(kind):
    """One attention of 2 heads of 4: the scale on the query, in three places, or wrong; masks added or chosen."""
    b = Builder(14)
    dims = b.constant("dims", value=numpy.array([0, 0, 2, 4]))
    for part in "qkv":
        b.node("MatMul", ["x", b.constant(part + ".weight", 6, 8)], part)
    b.node("Mul", ["q", b.constant("scale", value=numpy.float32(0.5 if kind != "unscaled" else 1.0))], "qs", name="scale_q")
    for part, source in (("q", "qs"), ("k", "k"), ("v", "v")):
        b.node("Reshape", [source, dims], part + "r")
        b.node("Transpose", [part + "r"], part + "t", perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3])
    b.node("MatMul", ["qt", "kt"], "s", name="scores")
    if kind == "causal":
        b.node("Shape", ["x"], "shape")
        b.node("Gather", ["shape", b.constant("at1", value=numpy.array(1))], "n")
        b.node("Range", [b.constant("at0", value=numpy.array(0)), "n", b.constant("step", value=numpy.array(1))], "range")
        b.node("Unsqueeze", ["range", b.constant("ax1", value=numpy.array([1]))], "rows")
        b.node("LessOrEqual", ["range", "rows"], "allowed")
        b.node("Where", ["allowed", "s", b.constant("low", value=numpy.float32(-1e9))], "m")
    elif kind == "biased":
        b.node("Add", ["s", b.constant("alibi", value=-numpy.abs(numpy.subtract.outer(
            numpy.arange(4), numpy.arange(4))).astype(numpy.float32))], "m", name="alibi_add")
    else:
        b.node("Identity", ["s"], "m")
    b.node("Softmax", ["m"], "p", name="softmax", axis=3)
    b.node("MatMul", ["p", "vt"], "c", name="context")
    b.node("Transpose", ["c"], "ct", perm=[0, 2, 1, 3])
    b.node("Reshape", ["ct", b.constant("flat", value=numpy.array([0, 0, 8]))], "cr")
    b.node("MatMul", ["cr", b.constant("o.weight", 8, 6)], "y")
    tokens = 4 if kind == "biased" else "n"
    model = b.model([("x", FLOAT, ["batch", tokens, 6])], [("y", FLOAT, ["batch", tokens, 6])])
    if kind == "causal":
        return model, "input linear linear linear attend linear", {"x": "x"}, {"o": "y"}
    return model, "input linear linear linear input linear", {"x": "x", "cr": "cr"}, {"q": "q", "k": "k", "v": "v", "o": "y"}


def types():
    """A matrix of every type that weights can have; small tensors of the others in every form that ONNX stores."""
    b = Builder()
    source = "x"
    kinds = [("float", FLOAT), ("float16", TensorProto.FLOAT16), ("bfloat16", TensorProto.BFLOAT16),
             ("double", TensorProto.DOUBLE)]
    for name, kind in kinds:
        for form in ("raw", "typed"):
            values = b.random.standard_normal((3, 3)).astype(numpy.float32)
            values = onnx.numpy_helper.to_array(onnx.numpy_helper.from_array(
                values.astype(helper.tensor_dtype_to_np_dtype(kind))))
            tensor = onnx.numpy_helper.from_array(values, f"{name}_{form}.weight")
            if form == "typed":
                tensor = helper.make_tensor(f"{name}_typed.weight", kind, (3, 3), values.flatten())
            b.tensors.append(tensor)
            source = b.node("MatMul", [source, tensor.name], f"{name}_{form}")
    for kind, values in ((TensorProto.INT8, [-128, 127]), (TensorProto.UINT8, [0, 255]), (TensorProto.INT16, [-32768, 5]),
                         (TensorProto.UINT16, [65535, 1]), (TensorProto.INT32, [-2**31, 7]), (TensorProto.BOOL, [True, False]),
                         (TensorProto.UINT32, [2**32 - 1, 2]), (TensorProto.INT64, [-2**40, 3]), (TensorProto.UINT64, [2**40, 4])):
        name = TensorProto.DataType.Name(kind).lower()
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        b.tensors.append(onnx.numpy_helper.from_array(numpy.array(values, dtype), name + "_raw"))
        b.tensors.append(helper.make_tensor(name + "_typed", kind, (2,), values))
    return b.model([("x", FLOAT, ["n", 3])], [(source, FLOAT, ["n", 3])])


def external(folder):
    """Weights in two other files, at offsets."""
    b = Builder()
    b.node("MatMul", ["x", b.constant("first.weight", 4, 6)], "a")
    b.node("Relu", ["a"], "r")
    b.node("MatMul", ["r", b.constant("second.weight", 6, 4)], "c")
    b.node("Add", ["c", b.constant("second.bias", 4)], "y")
    model = b.model([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    data = {"external.data": b"\0" * 64, "parts/external.data": b""}
    for tensor, place in zip(model.graph.initializer, ("external.data", "parts/external.data", "external.data")):
        onnx.external_data_helper.set_external_data(tensor, place, offset=len(data[place]), length=len(tensor.raw_data))
        data[place] += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
    (folder / "parts").mkdir(exist_ok=True)
    for place, content in data.items():
        (folder / place).write_bytes(content)
    return model, "input linear relu linear bias", {"x": "x"}, {"second.bias": "y"}


LAYER = "linear linear linear bias bias bias attend linear bias add norm bias linear bias gelu linear bias add norm bias"
EXPORTS = {
    "torch-encoder": ("input norm bias " + LAYER, {"Add_output_0": "/Add_output_0"}, {"layer.layers.0.norm2.bias": "last_hidden_state"}),
    "torch-bert": ("input " + LAYER, {"hidden": "hidden"}, {"norm2.bias": "last_hidden_state"}),
    "torch-gpt2": ("input norm bias linear linear linear bias bias bias attend linear bias add norm bias linear bias gelu_tanh "
                   "linear bias add norm bias", {"Add_output_0": "/Add_output_0"}, {"norm_f.bias": None}),
    "torch-llama": ("input norm linear linear linear rope rope attend linear add norm linear linear silu mul linear add norm",
                    {"embed/Gather_output_0": "/embed/Gather_output_0"}, {"norm": None}),
}


def feeds(model):
    random = numpy.random.default_rng(7)
    result = {}
    for value in model.graph.input:
        sizes = [d.dim_value if d.HasField("dim_value") else 0 if d.dim_param.startswith("past") else
                 1 if "batch" in d.dim_param else TOKENS for d in value.type.tensor_type.shape.dim]
        if "mask" in value.name:
            result[value.name] = numpy.ones(sizes, numpy.int64)
        elif "position" in value.name:
            result[value.name] = numpy.arange(TOKENS)[None]
        elif value.type.tensor_type.elem_type == TensorProto.INT64:
            result[value.name] = random.integers(0, 19, sizes)
        else:
            result[value.name] = random.standard_normal(sizes).astype(numpy.float32)
    return result


def text_of(values):
    return " ".join(f"{float(value):.9g}" for value in numpy.asarray(values, dtype=numpy.float64).flatten())


def figures(path, kinds, inputs, outputs):
    model = onnx.load(str(path))
    onnx.checker.check_model(str(path))
    given = feeds(model)
    values = dict(given)
    values.update(ReferenceEvaluator(model).run(None, given, intermediate=True))
    lines = [f"tokens {TOKENS}", f"kinds {len(kinds.split())} {kinds}"]
    for what, names in (("input", inputs), ("output", outputs)):
        for node, name in names.items():
            if name is None:  # what the head reads: the operand of the node that makes the logits
                head = [n for n in model.graph.node if n.output[0] == "logits"][0]
                name = head.input[0]
            rows = values[name].reshape(TOKENS, -1)
            lines.append(f"{what} {node} {rows.shape[1]} {text_of(rows)}")
    return "\n".join(lines) + "\n"


def make(folder, exports):
    made = {"mlp": mlp(), "functions": functions(), "digital": digital(), "external": external(folder)}
    for kind in ("causal", "biased", "unscaled"):
        made["attention-" + kind] = attention(kind)
    for name, (model, *facts) in made.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        (folder / f"{name}.txt").write_text(figures(folder / f"{name}.onnx", *facts))
    for name, facts in EXPORTS.items():
        (folder / f"{name}.txt").write_text(figures(exports / f"{name}.onnx", *facts))
    model = types()
    (folder / "types.onnx").write_bytes(model.SerializeToString(deterministic=True))
    lines = [f"{tensor.name} {tensor.dims[0] * (tensor.dims[1] if len(tensor.dims) > 1 else 1)} "
             f"{text_of(onnx.numpy_helper.to_array(tensor))}" for tensor in model.graph.initializer]
    (folder / "types.txt").write_text("\n".join(lines) + "\n")


def numbers_close(a, b):
    """The same words; numbers up to what another version of a library may round differently."""
    def split(text):
        return re.split(r"\s+", text.strip())

    return len(split(a)) == len(split(b)) and all(
        x == y or (re.fullmatch(r"[-+.e\d]+", x) and abs(float(x) - float(y)) <= 1e-5 * (1 + abs(float(y))))
        for x, y in zip(split(a), split(b)))


def main(arguments):
    if arguments[0] != "--check":
        make(pathlib.Path(arguments[0]), pathlib.Path(arguments[0]))
        return 0
    committed = pathlib.Path(arguments[1])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(folder, committed)
        different = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            other = committed / path.relative_to(folder)
            same = (numbers_close(path.read_text(), other.read_text()) if path.suffix == ".txt"
                    else path.read_bytes() == other.read_bytes())
            if not same:
                different.append(str(path.relative_to(folder)))
        print("different: " + ", ".join(different) if different else "all files are the same")
        return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
