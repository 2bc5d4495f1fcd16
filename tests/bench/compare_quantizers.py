"""Makes a model smaller by every recipe, with bantam and with llama-quantize, and prints what each cost.

    python3 tests/bench/compare_quantizers.py model-f16.gguf --text wiki.test.raw --work DIR \\
        --peer FOLDER_OF_LLAMA_QUANTIZE [--imatrix] [--windows 10] [--recipes "Q4_K_M Q6_K"]

What the files predict is measured by one program, bantam perplexity, from weights decoded to F16, so
that only the rounding of weights counts: KL divergence from the source over the first windows of the
text. --imatrix makes an importance matrix of the last two fifths of the text (bantam imatrix) and
gives the same file to both. What is done is kept in DIR/results.jsonl and not done again; remove lines
to have them made anew.

Rows that are no multiple of 256 would fall back to other types. They are lengthened by zeros for the
quantizers (architecture llama only: embedding and heads grow, the model computes the same) and cut
again before the measurement. Needs PyPI's gguf and numpy. BANTAM names our program where it is not
build/bin/bantam.
"""
import argparse
import json
import math
import os
import subprocess
import time

import gguf
import numpy as np

RECIPES = """IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M Q2_K_S Q2_K IQ3_XXS IQ3_XS IQ3_S Q3_K_S IQ3_M Q3_K_M
Q3_K_L IQ4_XS IQ4_NL MXFP4_MOE Q4_0 Q4_K_S Q4_K_M Q4_1 Q5_0 Q5_K_S Q5_K_M Q5_1 Q6_K Q8_0 TQ1_0
TQ2_0""".split()
# Those that llama-quantize refuses without an importance matrix.
NEED_IMATRIX = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS",
                "Q2_K_S"}
MULTIPLE = 256


def run(command):
    """Its output, and processor seconds."""
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    after = os.times()
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}: {done.stderr[-2000:]}")
    seconds = after.children_user + after.children_system
    return done.stdout, seconds - before.children_user - before.children_system


def tensors(path):
    """name -> the array, of F16 and F32 files, without copying."""
    return {t.name: t.data for t in gguf.GGUFReader(path).tensors}


def write_like(source, path, replaced, arrays):
    """The file `source` with other values of some keys and other tensors."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = replaced.get(name, field.contents())
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def lengthen(source, path):
    """Writes the model with rows of multiples of 256; False when `source` has them already."""
    reader = gguf.GGUFReader(source)
    number = lambda key: reader.fields[key].contents()
    if all(t.shape[0] % MULTIPLE == 0 for t in reader.tensors if len(t.shape) > 1):
        return False
    if number("general.architecture") != "llama":
        raise SystemExit(f"{source}: rows are no multiple of {MULTIPLE}")
    width, heads = number("llama.embedding_length"), number("llama.attention.head_count")
    kv_heads, head = number("llama.attention.head_count_kv"), width // heads
    wide = (width + MULTIPLE - 1) // MULTIPLE * MULTIPLE
    while wide % head or (wide // head) % (heads // kv_heads):
        wide += MULTIPLE
    size = {width: wide, kv_heads * head: wide // (heads // kv_heads)}
    arrays = {}
    for t in reader.tensors:
        data = np.asarray(t.data)
        if data.ndim == 1:  # a norm: its mean square is now over more elements
            data = data * np.float32(math.sqrt(width / wide))
        grown = np.zeros([n if i == 0 and "token_embd" in t.name else size.get(n, n)
                          for i, n in enumerate(data.shape)], data.dtype)
        grown[tuple(slice(0, n) for n in data.shape)] = data
        arrays[t.name] = grown
    epsilon = "llama.attention.layer_norm_rms_epsilon"
    replaced = {"llama.embedding_length": wide, "llama.attention.head_count": wide // head,
                "llama.attention.head_count_kv": wide // head // (heads // kv_heads),
                epsilon: number(epsilon) * width / wide}
    write_like(source, path, replaced, arrays)
    return True


class Comparison:
    def __init__(self, args):
        self.args = args
        self.ours = os.environ.get(
            "BANTAM", os.path.join(os.path.dirname(__file__), "../../build/bin/bantam"))
        os.makedirs(args.work, exist_ok=True)
        self.results = self.file("results.jsonl")
        self.done = {}
        if os.path.exists(self.results):
            for line in open(self.results):
                record = json.loads(line)
                self.done[record["tool"], record["recipe"], record["imatrix"]] = record

    def file(self, name):
        return os.path.join(self.args.work, name)

    def prepare(self):
        self.base, self.source = self.file("base.logits"), self.file("wide.gguf")
        if not os.path.exists(self.base):
            run([self.ours, "perplexity", "-m", self.args.source, "-f", self.args.text, "-c", "512",
                 "--chunks", str(self.args.windows), "--save-logits", self.base])
        if not os.path.exists(self.source) and not lengthen(self.args.source, self.source):
            self.source = self.args.source
        self.imatrix = self.file("imatrix.gguf")
        if self.args.imatrix and not os.path.exists(self.imatrix):
            text = open(self.args.text, "rb").read()
            part = self.file("calibration.txt")
            open(part, "wb").write(text[len(text) * 3 // 5:].split(b"\n", 1)[1])
            run([self.ours, "imatrix", "-m", self.source, "-f", part, "-c", "512", "--chunks", "40",
                 "-o", self.imatrix])
        self.exact = tensors(self.args.source)

    def quantize(self, tool, recipe, imatrix):
        """One line of results."""
        small, decoded = self.file("small.gguf"), self.file("decoded.gguf")
        threads = str(self.args.threads)
        with_matrix = ["--imatrix", self.imatrix] if imatrix else []
        if tool == "ours":
            command = [self.ours, "quantize", self.source, small, recipe, "--overwrite", "-t",
                       threads] + with_matrix
        else:
            program = os.path.join(self.args.peer, "llama-quantize")
            command = [program] + with_matrix + [self.source, small, recipe, threads]
        _, seconds = run(command)
        record = {"tool": tool, "recipe": recipe, "imatrix": imatrix,
                  "bytes": os.path.getsize(small), "seconds": seconds}
        record.update(self.measure(small, decoded))
        return record

    def measure(self, small, decoded):
        run([self.ours, "quantize", small, decoded, "F16", "--overwrite"])
        types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(small).tensors}
        data = elements = 0
        for t in gguf.GGUFReader(small).tensors:
            data += int(t.n_bytes)
            elements += int(t.n_elements)
        error = square = count = 0.0
        arrays = {}
        wide = tensors(decoded)
        for name, exact in self.exact.items():
            if exact.ndim == 1:
                arrays[name] = exact
                continue
            cut = np.ascontiguousarray(wide[name][tuple(slice(0, n) for n in exact.shape)])
            arrays[name] = cut
            difference = cut.astype(np.float32) - exact.astype(np.float32)
            error += float(np.sum(np.square(difference), dtype=np.float64))
            square += float(np.sum(np.square(exact.astype(np.float32)), dtype=np.float64))
            count += exact.size
        if self.source != self.args.source:
            cut = self.file("cut.gguf")
            write_like(self.args.source, cut, {}, arrays)
            decoded = cut
        out, _ = run([self.ours, "perplexity", "-m", decoded, "--kl-base", self.base, "--json"])
        report = json.loads(out)
        return {"bits": 8 * data / elements, "rmse": math.sqrt(error / count),
                "relative": math.sqrt(error / square), "kl": report["kl_divergence"]["value"],
                "kl_error": report["kl_divergence"]["standard_error"],
                "same_top": report["same_top_token"]["value"], "types": types}

    def make(self, tool, recipe, imatrix):
        key = tool, recipe, imatrix
        if key in self.done:
            return
        start = time.time()
        self.done[key] = self.quantize(*key)
        with open(self.results, "a") as out:
            out.write(json.dumps(self.done[key]) + "\n")
        print(f"{tool} {recipe}: KL {self.done[key]['kl']:.5f}, {time.time() - start:.0f} s",
              flush=True)

    def table(self, recipes, imatrix):
        print("\n| recipe | MiB | bits per weight | RMSE, peer | RMSE, bantam | KL, peer | KL, bantam | |")
        print("|---|---|---|---|---|---|---|---|")
        ratios, notes = [], []
        for recipe in recipes:
            ours = self.done.get(("ours", recipe, imatrix))
            theirs = self.done.get(("peer", recipe, imatrix))
            if not ours or not theirs:
                continue
            ratio = ours["kl"] / theirs["kl"]
            ratios.append(ratio)
            print(f"| {recipe} | {ours['bytes'] / 2**20:.1f} | {ours['bits']:.2f} | {theirs['rmse']:.3e} "
                  f"| {ours['rmse']:.3e} | {theirs['kl']:.5f} | {ours['kl']:.5f} | {100 * ratio - 100:+.1f} % |")
            differ = [n for n, t in ours["types"].items() if theirs["types"][n] != t]
            if differ:
                notes.append(f"{recipe}: {len(differ)} tensors of another type, as {differ[0]}: "
                             f"{theirs['types'][differ[0]]}, bantam {ours['types'][differ[0]]}")
        if ratios:
            print(f"\nKL against the peer's: mean {100 * sum(ratios) / len(ratios) - 100:+.1f} %, "
                  f"worst {100 * max(ratios) - 100:+.1f} %")
        print("\n".join(notes))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--text", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--peer", help="folder of llama-quantize; without, only bantam's files are made")
    parser.add_argument("--imatrix", action="store_true")
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--recipes", default=" ".join(RECIPES))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    comparison = Comparison(args)
    comparison.prepare()
    recipes = [r for r in args.recipes.split() if args.imatrix or r not in NEED_IMATRIX]
    for recipe in recipes:
        for tool in ["ours"] + (["peer"] if args.peer else []):
            comparison.make(tool, recipe, args.imatrix)
    comparison.table(recipes, args.imatrix)


if __name__ == "__main__":
    main()
