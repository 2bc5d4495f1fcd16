#!/usr/bin/env python3
"""Writes the tiny models beside this file, and what a peer computes with them.

Usage: make.py [--peer PROGRAM] [NAME ...]

PROGRAM is make.c beside this file, linked with llama.cpp. See README.md.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "models"))
import generate  # noqa: E402

PROMPT, STEPS, CONTEXT = 40, 32, 256
EVERY = 4  # of the columns is kept
# What the peer calls an architecture that differs in nothing else.
PEERS_NAME = {"llama_layers": "deci"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer")
    parser.add_argument("names", nargs="*", default=list(generate.VARIANTS))
    args = parser.parse_args()
    ids = (generate.hashed("ids", PROMPT + STEPS) % np.uint64(256)).astype(np.int32)
    # A text that comes back: attention has something to find, and windows something to hide.
    ids[20:32] = ids[2:14]
    ids[60:70] = ids[5:15]
    ids.tofile(HERE / "ids.i32")
    for name in args.names:
        generate.write_tiny(name, HERE / f"{name}.gguf")
        if not args.peer:
            continue
        with tempfile.TemporaryDirectory() as folder:
            twin, raw = f"{folder}/twin.gguf", f"{folder}/out.f32"
            generate.write_tiny(name, twin, decode=True, arch=PEERS_NAME.get(name))
            subprocess.run([args.peer, twin, HERE / "ids.i32", raw, str(PROMPT), str(CONTEXT)],
                           check=True, stderr=subprocess.DEVNULL)
            values = np.fromfile(raw, dtype=np.float32)
        encoder = generate.VARIANTS[name][0] in generate.ENCODERS
        rows = PROMPT + 1 if encoder else PROMPT + STEPS
        values = values.reshape(rows, -1)
        assert np.isfinite(values).all(), name
        if not encoder:
            values = values[:, ::EVERY]
        values.tofile(HERE / f"{name}.f32")
        print(name, values.shape, "std", values.std())


if __name__ == "__main__":
    main()
