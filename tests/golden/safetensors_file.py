"""Just enough safetensors (F32; BF16 is read too) for the tests."""

import json
import struct

import numpy


def pack(tensors):
    header, data = {}, b""
    for name, values in tensors.items():
        raw = numpy.ascontiguousarray(values, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def unpack(content):
    length, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        raw = content[first:last]
        if entry["dtype"] == "BF16":  # the upper half of a float
            values = (numpy.frombuffer(raw, dtype="<u2").astype("<u4") << 16).view("<f4")
        else:
            values = numpy.frombuffer(raw, dtype="<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors
