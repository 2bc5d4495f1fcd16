"""Makes a file by every recipe and compares what the PyPI package gguf decodes from it with what
bantam does (which writes F32 for this):

    python3 tests/quantize/check_with_gguf.py build/bin/bantam model-f16.gguf

Needs gguf 0.19 and numpy. With --load PROGRAM, a llama-completion, each file is loaded there too.
"""
import argparse
import subprocess
import tempfile

import gguf
import numpy as np

RECIPES = """IQ1_S TQ1_0 IQ1_M IQ2_XXS TQ2_0 IQ2_XS IQ2_S IQ2_M Q2_K_S Q2_K IQ3_XXS IQ3_XS IQ3_S Q3_K_S
IQ3_M Q3_K_M Q3_K_L IQ4_XS MXFP4_MOE Q4_0 IQ4_NL NVFP4 Q4_K_S Q4_K_M Q4_1 Q5_0 Q5_K_S Q5_K_M Q5_1 Q6_K
Q8_0 F16 BF16 F32""".split()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("source")
    parser.add_argument("--load")
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        small, wide = folder + "/small.gguf", folder + "/wide.gguf"
        for recipe in RECIPES:
            for command in ([args.source, small, recipe], [small, wide, "F32"]):
                subprocess.run([args.program, "quantize", *command, "--overwrite"], check=True,
                               capture_output=True)
            ours = {t.name: t.data for t in gguf.GGUFReader(wide).tensors}
            types, differ = set(), []
            for tensor in gguf.GGUFReader(small).tensors:
                types.add(tensor.tensor_type.name)
                theirs = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
                mine = np.asarray(ours[tensor.name]).view(np.float32)
                if not np.array_equal(theirs.ravel(), mine.ravel()):
                    differ.append(tensor.name)
            loaded = ""
            if args.load:
                run = subprocess.run([args.load, "-m", small, "-p", "a", "-n", "1", "-no-cnv"],
                                     capture_output=True, stdin=subprocess.DEVNULL)
                loaded = ", loaded" if run.returncode == 0 else ", NOT LOADED"
                bad += run.returncode != 0
            bad += bool(differ)
            print(recipe, " ".join(sorted(types)), "differ: " + " ".join(differ) if differ else "equal",
                  loaded, flush=True)
    raise SystemExit(bad != 0)


if __name__ == "__main__":
    main()
