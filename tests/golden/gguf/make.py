#!/usr/bin/env python3
"""Writes the GGUF files of this folder with the PyPI package gguf, and <name>.json beside each:
what that package's GGUFReader finds in it. See README.md."""

import json
import pathlib
import struct

import numpy as np
from gguf import GGUFEndian, GGUFReader, GGUFWriter, quants
from gguf.constants import GGMLQuantizationType, GGUFValueType as V

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(20240815)

# Q1_0 is not known to Bantam yet. Of Q8_1 the package says that a block has 40 bytes, as it had
# in 2023; llama.cpp and Bantam have 36. No file holds it: it is for activations.
LEFT_OUT = {"Q1_0", "Q8_1"}

SCALARS = {
    V.UINT8: [0, 200, 255],
    V.INT8: [-128, -1, 127],
    V.UINT16: [0, 65535],
    V.INT16: [-32768, 32767],
    V.UINT32: [0, 4294967295],
    V.INT32: [-2147483648, 2147483647],
    V.FLOAT32: [0.0, -1.5, 1.1754943508222875e-38, 3.4028234663852886e38],
    V.BOOL: [True, False, True],
    V.STRING: ["gpt2", "größe 日本語 👩‍👩‍👧", "two\nlines\tand \x1b[0m", ""],
    V.UINT64: [0, 18446744073709551615],
    V.INT64: [-9223372036854775808, 9223372036854775807],
    V.FLOAT64: [1e-300, -2.5, 1.7976931348623157e308],
}


def add_metadata(w):
    for t, values in SCALARS.items():
        name = t.name.lower()
        w.add_key_value(f"scalar.{name}", values[-1] if t != V.STRING else values[1], t)
        w.add_key_value(f"array.{name}", values, V.ARRAY, sub_type=t)
        w.add_key_value(f"array.one.{name}", values[:1], V.ARRAY, sub_type=t)
    # bytes give an array of uint8; lists of lists nest.
    w.add_key_value("array.bytes", b"\x00\x7f\xff", V.ARRAY)
    w.add_key_value("array.nested", [[1, 2, 3], [4]], V.ARRAY)
    w.add_key_value("array.nested.strings", [["a", "bc"], [""], ["d"]], V.ARRAY)
    w.add_key_value("array.nested.deep", [[[1.5], [2.5, 3.5]], [[4.5]]], V.ARRAY)


def block_bytes(t):
    return quants.GGML_QUANT_SIZES[t]


def add_tensor_of_type(w, t, name=None):
    block, size = block_bytes(t)
    rows = 3
    raw = rng.integers(0, 256, (rows, size * (2 if block < 256 else 1)), dtype=np.uint8)
    w.add_tensor(name or f"{t.name}.weight", raw, raw_dtype=t)


def value(field):
    """The field's values in order, arrays of arrays flattened as GGUFReader does."""
    kind = [t.name.lower() for t in field.types]
    out = []
    for index in field.data:
        part = field.parts[index]
        out.append(bytes(part).decode("utf-8") if kind[-1] == "string" else part.tolist()[0])
    return {"types": kind, "values": out}


def describe(path):
    r = GGUFReader(path)
    fields = {k: value(f) for k, f in r.fields.items() if not k.startswith("GGUF.")}
    tensors = [
        {
            "name": t.name,
            "type": t.tensor_type.name,
            "shape": [int(d) for d in t.shape],
            "offset": int(t.data_offset),
            "data": r.data[t.data_offset : t.data_offset + t.n_bytes].tobytes().hex(),
        }
        for t in r.tensors
    ]
    version = int(r.fields["GGUF.version"].parts[0][0])
    result = {"version": version, "alignment": int(r.alignment), "fields": fields, "tensors": tensors}
    path.with_suffix(".json").write_text(json.dumps(result, ensure_ascii=False, indent=0) + "\n")


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    for old in [*HERE.glob("*.gguf"), *HERE.glob("*.json")]:
        old.unlink()

    w = GGUFWriter(HERE / "metadata.gguf", "llama")
    add_metadata(w)
    finish(w)

    w = GGUFWriter(HERE / "types.gguf", "llama")
    for t in GGMLQuantizationType:
        if t.name not in LEFT_OUT:
            add_tensor_of_type(w, t)
    finish(w)

    # Sizes that need padding, every number of dimensions, an alignment of its own.
    w = GGUFWriter(HERE / "aligned.gguf", "llama")
    w.add_custom_alignment(128)
    w.add_name("aligned")
    for shape in [(), (1,), (33,), (5, 7), (2, 3, 5), (2, 1, 3, 2)]:
        n = "x".join(map(str, shape)) or "scalar"
        w.add_tensor(f"f32.{n}", np.asarray(rng.standard_normal(shape), dtype=np.float32))
    w.add_tensor("i8.33", rng.integers(-128, 128, 33, dtype=np.int8))
    w.add_tensor("f16.3", rng.standard_normal(3).astype(np.float16))
    finish(w)

    # Version 2 has the layout of 3.
    data = bytearray((HERE / "aligned.gguf").read_bytes())
    data[4:8] = struct.pack("<I", 2)
    (HERE / "version2.gguf").write_bytes(data)

    w = GGUFWriter(HERE / "big_endian.gguf", "llama", endianess=GGUFEndian.BIG)
    w.add_uint32("llama.block_count", 2)
    w.add_tensor("a", np.arange(4, dtype=np.float32))
    finish(w)

    w = GGUFWriter(HERE / "split.gguf", "llama", split_max_tensors=2)
    w.add_uint32("llama.block_count", 5)
    for i in range(5):
        w.add_tensor(f"blk.{i}.weight", np.full((2, 3 + i), i, dtype=np.float32))
    finish(w)

    # Small files: seeds for the fuzzer.
    w = GGUFWriter(HERE / "empty.gguf", "")
    finish(w)
    w = GGUFWriter(HERE / "small.gguf", "a")
    w.add_key_value("n", [[1], [2]], V.ARRAY)
    w.add_tensor("t", np.ones((2, 2), dtype=np.float32))
    w.add_tensor("u", np.ones(1, dtype=np.int8))
    finish(w)

    for path in sorted(HERE.glob("*.gguf")):
        if path.name != "big_endian.gguf":
            describe(path)


main()
