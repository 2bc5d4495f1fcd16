#!/usr/bin/env python3
"""Writes the golden data of the tensor types beside this file with the PyPI package gguf.

Usage: make.py [--ggml LIBRARY]

LIBRARY is a libggml-base.so. When given, its C decoders are run on the same blocks and every type
whose bits differ from the package's is printed. See README.md for the files.
"""

import argparse
import ctypes
import pathlib
import zlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

HERE = pathlib.Path(__file__).parent
DIGEST_BLOCKS = 1024

# Plain types: how numpy reads them.
PLAIN = {T.F32: "<f4", T.F16: "<f2", T.F64: "<f8", T.I8: "<i1", T.I16: "<i2", T.I32: "<i4",
         T.I64: "<i8"}
# Byte offsets of the 16-bit scales of each block type.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q8_1: [0, 2],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0], T.IQ1_S: [0],
    T.IQ4_NL: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64],
}
OTHERS = [T.BF16, T.Q8_K, T.IQ1_M, T.MXFP4, T.NVFP4]
# Negative zero, the least subnormal, the greatest number, infinity, NaN.
EXTREME_HALVES = [0x8000, 0x0001, 0x7BFF, 0x7C00, 0x7E00]
EXTREME_FLOATS = [0x80000000, 0x00000001, 0x7F7FFFFF, 0xFF800000, 0x7FC00000]
ENCODERS = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.TQ1_0, T.TQ2_0, T.MXFP4]
GRIDS = [T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ3_S, T.IQ1_S]


def sizes(t):
    # The package still counts the 40 bytes that Q8_1 had when its scales were f32.
    return (32, 36) if t == T.Q8_1 else gguf.GGML_QUANT_SIZES[t]


def split_mix(seed, count):
    """`count` bytes of the SplitMix64 generator, least significant byte first."""
    with np.errstate(over="ignore"):
        i = np.arange(1, -(-count // 8) + 1, dtype=np.uint64)
        z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z.astype("<u8").view(np.uint8)[:count].copy()


def decode(t, data):
    """f32 values of an array of bytes."""
    with np.errstate(all="ignore"):
        if t in PLAIN:
            return data.view(PLAIN[t]).astype(np.float32)
        if t == T.Q8_1:
            rows = data.reshape(-1, 36)
            d = rows[:, :2].copy().view("<f2").astype(np.float64)
            return (d * rows[:, 4:].view(np.int8)).astype(np.float32).ravel()
        if t == T.Q8_K:
            rows = data.reshape(-1, 292)
            d = rows[:, :4].copy().view("<f4").astype(np.float64)
            return (d * rows[:, 4:260].view(np.int8)).astype(np.float32).ravel()
        return gguf.quants.dequantize(data.reshape(-1, sizes(t)[1]), t).ravel()


def small_vectors(t):
    """Two blocks of ordinary scales, then one per extreme scale; 16 values of plain types."""
    rng = np.random.default_rng(int(t))
    if t in PLAIN or t == T.BF16:
        dtype = np.dtype(PLAIN.get(t, "<u2"))
        bits = rng.integers(0, 256, (16, dtype.itemsize), dtype=np.uint8)
        values = bits.view(dtype).ravel()
        if t == T.F32:
            values.view("<u4")[:5] = EXTREME_FLOATS
        elif t == T.F16:
            values.view("<u2")[:5] = EXTREME_HALVES
        elif t == T.BF16:
            values[:5] = [x >> 16 for x in EXTREME_FLOATS]
        elif t == T.F64:
            # Beyond f32, halfway between two f32, below the least f32, an f32 subnormal, NaN.
            values[:6] = [1e300, 1 + 2.0**-24, 1e-50, 1e-40, np.nan, -0.0]
            values[6:] = rng.standard_normal(10)
        else:
            info = np.iinfo(dtype)
            values[:3] = [info.min, info.max, 0]
            if dtype.itemsize >= 4:
                values[3:6] = [2**24 + 1, 2**24 + 3, -(2**24) - 1]  # ties
        return values.view(np.uint8)
    blocks = rng.integers(0, 256, (7, sizes(t)[1]), dtype=np.uint8)
    for at in HALVES.get(t, []):
        blocks[:2, at:at + 2] = (rng.standard_normal((2, 1)) * 0.02).astype("<f2").view(np.uint8)
        blocks[2:, at:at + 2] = np.array(EXTREME_HALVES, "<u2").reshape(-1, 1).view(np.uint8)
    if t == T.Q8_K:
        blocks[:2, :4] = (rng.standard_normal((2, 1)) * 0.02).astype("<f4").view(np.uint8)
        blocks[2:, :4] = np.array(EXTREME_FLOATS, "<u4").reshape(-1, 1).view(np.uint8)
    if t == T.IQ1_M:
        halves = [0x2345, 0x9C0F] + EXTREME_HALVES
        for block, half in zip(blocks, halves):
            for k in range(4):
                nibble = (half >> 4 * k) & 15
                block[48 + 2 * k + 1] = (block[48 + 2 * k + 1] & 0x0F) | nibble << 4
    if t == T.MXFP4:
        blocks[:, 0] = [120, 130, 0, 1, 2, 254, 255]
    if t == T.NVFP4:
        blocks[2:, :4] = [[0, 1, 7, 8], [9, 0x77, 0x78, 0x7E], [0x7F, 0x80, 0x81, 0xFE],
                          [0xFF, 0x40, 0xC0, 0x10], [0x0F, 0x11, 0x38, 0x39]]
    return blocks.ravel()


def encoder_row():
    """Three super-blocks: normal values, large ones with an offset, and small ones among zeros."""
    rng = np.random.default_rng(0)
    row = rng.standard_normal((3, 256))
    row[1] = 40 * row[1] + 100
    row[2] = np.where(rng.random(256) < 0.5, 0, 1e-3 * row[2])
    row[2, :32] = 0
    return row.astype("<f4").ravel()


def digest(values):
    """CRC-32 of the bits of the values, every NaN as the same one."""
    bits = values.astype("<f4").view("<u4").copy()
    bits[np.isnan(values)] = 0x7FC00000
    return zlib.crc32(bits.tobytes())


def same_bits(a, b):
    return np.all((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b)))


def c_decode(lib, t, data, n):
    suffix = t.name.lower().replace("_k", "_K")
    function = getattr(lib, f"dequantize_row_{suffix}", None)
    if function is None:
        return None
    out = np.zeros(n, np.float32)
    source = data.copy()
    function(source.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
             ctypes.c_int64(n))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ggml")
    args = parser.parse_args()
    lib = ctypes.CDLL(args.ggml) if args.ggml else None
    lines = []
    for t in sorted([*PLAIN, *HALVES, *OTHERS]):
        elements, size = sizes(t)
        small = small_vectors(t)
        small.tofile(HERE / f"{t.name}.blocks")
        decode(t, small).astype("<f4").tofile(HERE / f"{t.name}.f32")
        random = split_mix(int(t), DIGEST_BLOCKS * size)
        values = decode(t, random)
        lines.append(f"{t.name} {int(t)} {elements} {size} {digest(values):08x}")
        if lib:
            for data in (small, random):
                other = c_decode(lib, t, data, len(data) // size * elements)
                if other is None:
                    print(f"{t.name}: no C decoder")
                    break
                if not same_bits(other, decode(t, data)):
                    print(f"{t.name}: the C decoder differs")
    (HERE / "types.txt").write_text("\n".join(lines) + "\n")
    row = encoder_row()
    row.tofile(HERE / "encode.f32")
    for t in ENCODERS:
        gguf.quants.quantize(row, t).tofile(HERE / f"{t.name}.encoded")
    for t in GRIDS:
        cls = gguf.quants._type_traits[t]
        cls.init_grid()
        cls.grid.astype(np.int8).tofile(HERE / f"{t.name}.grid")


if __name__ == "__main__":
    main()
