#!/usr/bin/env python3
"""Condenses another runtime's logits of SmolLM2 into a golden file beside this script.

Usage: make.py ids.i32 logits.f32 OUT.bin

logits.f32 holds 512 rows of 49152 f32 logits for the 512 ids. Kept per row: the 128 most likely
tokens and their log probabilities in steps of 1/1024, which with the remaining probability as one
more outcome give the Kullback-Leibler divergence of another model to well under 0.0001.
"""

import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
ROWS, VOCAB, TOP = 512, 49152, 128


def main():
    ids = np.fromfile(sys.argv[1], dtype=np.int32)
    logits = np.fromfile(sys.argv[2], dtype=np.float32).reshape(ROWS, VOCAB).astype(np.float64)
    assert len(ids) == ROWS
    peak = logits.max(axis=1, keepdims=True)
    log_p = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
    top = np.argsort(-log_p, axis=1, kind="stable")[:, :TOP]
    steps = np.rint(-np.take_along_axis(log_p, top, axis=1) * 1024)
    assert steps.max() < 65536
    with open(HERE / sys.argv[3], "wb") as out:
        ids.tofile(out)                     # i32 [512]
        top.astype(np.uint16).tofile(out)   # u16 [512][128]
        steps.astype(np.uint16).tofile(out) # u16 [512][128]: -log p * 1024


if __name__ == "__main__":
    main()
