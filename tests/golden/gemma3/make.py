#!/usr/bin/env python3
"""Condenses another runtime's logits of Gemma 3 270M into a golden file beside this script.

Usage: make.py ids.i32 logits.f32 OUT.bin

logits.f32 holds 512 rows of 262144 f32 logits for the 512 ids. Kept per row: the 64 most likely
tokens and their log probabilities in steps of 1/1024, the rest being one more outcome.
"""

import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
ROWS, VOCAB, TOP = 512, 262144, 64


def main():
    ids = np.fromfile(sys.argv[1], dtype=np.int32)
    logits = np.memmap(sys.argv[2], dtype=np.float32, mode="r", shape=(ROWS, VOCAB))
    assert len(ids) == ROWS
    top = np.empty((ROWS, TOP), np.uint32)
    steps = np.empty((ROWS, TOP), np.uint16)
    rest = 0.0
    for i, row in enumerate(logits):
        row = row.astype(np.float64)
        log_p = row - row.max() - np.log(np.exp(row - row.max()).sum())
        top[i] = np.argsort(-log_p, kind="stable")[:TOP]
        s = np.rint(-log_p[top[i]] * 1024)
        assert s.max() < 65536
        steps[i] = s
        rest += (1 - np.exp(log_p[top[i]]).sum()) / ROWS
    print(f"{rest:.3f} of the probability is in no top {TOP}")
    with open(HERE / sys.argv[3], "wb") as out:
        ids.tofile(out)    # i32 [512]
        top.tofile(out)    # u32 [512][64]
        steps.tofile(out)  # u16 [512][64]: -log p * 1024


if __name__ == "__main__":
    main()
