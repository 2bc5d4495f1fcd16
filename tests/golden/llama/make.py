#!/usr/bin/env python3
"""Writes the tiny random llama models beside this file with the PyPI package gguf.

Usage: make.py [--peer PROGRAM]

PROGRAM is called as `PROGRAM model.gguf ids.i32 logits.f32 PROMPT CONTEXT f32` and must write the
f32 logits of every token: the first PROMPT tokens decoded as one batch, the others one by one, with
an f32 KV cache of CONTEXT cells. See README.md for the one that made the files here.
"""

import argparse
import pathlib
import subprocess

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
PROMPT, STEPS, CONTEXT = 40, 16, 256
LAYERS, WIDTH, FFN = 2, 32, 48

# name -> what differs from Llama 1: heads, KV heads, K and V head sizes and the rope options.
MODELS = {
    "plain": {},
    "grouped_untied_biased": {"kv": 2, "untied": True, "bias": True},
    "multi_query_wide_heads": {"kv": 1, "head": 16},
    "linear": {"scaling": "linear", "factor": 4.0},
    "yarn": {"scaling": "yarn", "factor": 8.0, "original": 32},
    "llama3": {"freqs": True, "base": 500000.0, "kv": 2},
}


def byte_tokens():
    """GPT-2's printable stand-ins for the 256 bytes."""
    result, spare = [], 256
    for b in range(256):
        if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE:
            result.append(chr(b))
        else:
            result.append(chr(spare))
            spare += 1
    return result


def write_model(path, seed, kv=4, head=8, untied=False, bias=False, scaling=None, factor=1.0,
                original=CONTEXT, freqs=False, base=10000.0):
    rng = np.random.default_rng(seed)
    heads = 4
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(LAYERS)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(FFN)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(head)
    w.add_rope_freq_base(base)
    if scaling:
        w.add_string("llama.rope.scaling.type", scaling)
        w.add_rope_scaling_factor(factor)
        w.add_rope_scaling_orig_ctx_len(original)
    tokens = byte_tokens() + ["th", "<|end|>"]
    w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([1] * 257 + [3])
    w.add_token_merges(["t h"])
    w.add_eos_token_id(257)

    def matrix(name, rows, cols):
        scale = 1.0 if name == "token_embd.weight" else cols ** -0.5
        w.add_tensor(name, (rng.standard_normal((rows, cols)) * scale).astype(np.float32))
        if bias and name.startswith("blk."):
            w.add_tensor(name.replace(".weight", ".bias"),
                         (rng.standard_normal(rows) * 0.3).astype(np.float32))

    def vector(name, values):
        w.add_tensor(name, values.astype(np.float32))

    matrix("token_embd.weight", len(tokens), WIDTH)
    for i in range(LAYERS):
        p = f"blk.{i}."
        vector(p + "attn_norm.weight", 1 + 0.2 * rng.standard_normal(WIDTH))
        # Large queries and keys make the attention sharp, so that a wrong rotation shows.
        matrix(p + "attn_q.weight", heads * head, WIDTH)
        matrix(p + "attn_k.weight", kv * head, WIDTH)
        matrix(p + "attn_v.weight", kv * head, WIDTH)
        matrix(p + "attn_output.weight", WIDTH, heads * head)
        vector(p + "ffn_norm.weight", 1 + 0.2 * rng.standard_normal(WIDTH))
        matrix(p + "ffn_gate.weight", FFN, WIDTH)
        matrix(p + "ffn_up.weight", FFN, WIDTH)
        matrix(p + "ffn_down.weight", WIDTH, FFN)
    vector("output_norm.weight", 1 + 0.2 * rng.standard_normal(WIDTH))
    if untied:
        matrix("output.weight", len(tokens), WIDTH)
    if freqs:
        vector("rope_freqs.weight", np.linspace(1, 8, head // 2))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer")
    args = parser.parse_args()
    ids = np.random.default_rng(7).integers(0, 257, PROMPT + STEPS).astype(np.int32)
    ids.tofile(HERE / "ids.i32")
    for seed, (name, options) in enumerate(MODELS.items()):
        model = HERE / f"{name}.gguf"
        write_model(model, seed, **options)
        if args.peer:
            subprocess.run([args.peer, model, HERE / "ids.i32", HERE / f"{name}.logits.f32",
                            str(PROMPT), str(CONTEXT), "f32"], check=True)


if __name__ == "__main__":
    main()
