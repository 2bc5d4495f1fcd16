"""Writes a Llama of a real model's shape with random weights, to measure speed on.

    python3 random_llama.py OUT.gguf --type Q4_K_M [--shape 1b]

--type is a tensor type (Q4_0, IQ2_XS, F16, ...), used for all matrices, or Q4_K_M, the usual
mixture of Q4_K and Q6_K. The embedding, which is the output matrix too, is Q6_K beside smaller
types. Blocks are random bits with scales set so that weights have a deviation near 0.02, of a
trained model's order: text is noise, but numbers stay finite. Needs PyPI's gguf and numpy.
"""

import argparse

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

# Layers, embedding, heads, KV heads, feed forward, vocabulary, context.
SHAPES = {
    "1b": (16, 2048, 32, 8, 8192, 128256, 8192),  # Llama 3.2 1B
    "8b": (32, 4096, 32, 8, 14336, 128256, 8192),  # Llama 3.1 8B
    "tiny": (2, 256, 4, 2, 512, 512, 512),  # to test this program
}
DEVIATION = 0.02

# Where a block keeps its f16 scales, and by what each is the deviation divided: the deviation of
# what it is multiplied with for random bits (a second scale is an offset of the same order).
SCALES = {
    Type.Q4_0: {0: 4.6},
    Type.Q4_1: {0: 4.6, 2: -0.61},
    Type.Q5_0: {0: 9.2},
    Type.Q5_1: {0: 9.2, 2: -0.59},
    Type.Q8_0: {0: 74},
    Type.Q2_K: {80: 15, 82: 10},
    Type.Q3_K: {108: 42},
    Type.Q4_K: {0: 300, 2: 40},
    Type.Q5_K: {0: 600, 2: 40},
    Type.Q6_K: {208: 1370},
    Type.IQ2_XXS: {0: 40},
    Type.IQ2_XS: {0: 40},
    Type.IQ2_S: {0: 40},
    Type.IQ3_XXS: {0: 100},
    Type.IQ3_S: {0: 128},
    Type.IQ1_S: {0: 14},
    Type.IQ4_NL: {0: 70},
    Type.IQ4_XS: {0: 1300},
    Type.TQ1_0: {52: 0.8},
    Type.TQ2_0: {64: 0.8},
}


def random_rows(rng, type_, rows, columns):
    """Encoded rows, as bytes."""
    block, size = gguf.GGML_QUANT_SIZES[type_]
    if type_ == Type.F32:
        return rng.normal(0, DEVIATION, (rows, columns)).astype(np.float32).view(np.uint8)
    bits = np.frombuffer(rng.bytes(rows * columns // block * size), np.uint8).copy()
    if type_ in (Type.F16, Type.BF16):
        # A random sign and mantissa; magnitudes from 2^-6 to 2^-5.
        mantissa, exponent = (10, 9) if type_ == Type.F16 else (7, 121)
        words = bits.view(np.uint16)
        words &= 0x8000 | ((1 << mantissa) - 1)
        words |= exponent << mantissa
    else:
        blocks = bits.reshape(-1, size)
        for offset, divisor in SCALES[type_].items():
            # Deviations from block to block, as in a trained matrix.
            scale = DEVIATION / divisor * rng.uniform(0.7, 1.3, len(blocks))
            blocks[:, offset : offset + 2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    return bits.reshape(rows, -1)


def type_of(name, layer, layers, mixture):
    """The type of a layer's matrix in a mixture."""
    if mixture != "Q4_K_M":
        return Type[mixture]
    first, last = layers // 8, 7 * layers // 8
    finer = layer < first or layer >= last or (layer - first) % 3 == 2
    return Type.Q6_K if finer and name in ("attn_v", "ffn_down") else Type.Q4_K


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--type", required=True)
    parser.add_argument("--shape", default="1b", choices=SHAPES)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    layers, width, heads, kv_heads, hidden, vocab, context = SHAPES[args.shape]
    head = width // heads
    rng = np.random.default_rng(args.seed)

    writer = gguf.GGUFWriter(args.out, "llama")
    writer.add_name(f"random {args.shape} {args.type}")
    writer.add_context_length(context)
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    # The bytes as byte-level BPE spells them, then words nothing merges to.
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    spelling = {b: chr(b) for b in printable}
    others = (b for b in range(256) if b not in spelling)
    spelling |= {b: chr(256 + i) for i, b in enumerate(others)}
    tokens = [spelling[b] for b in range(256)] + ["wo"] + [f"word{i}" for i in range(257, vocab - 1)]
    tokens.append("<|end|>")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (vocab - 1) + [3])
    writer.add_token_merges(["w o"])
    writer.add_eos_token_id(vocab - 1)
    writer.add_bos_token_id(vocab - 1)
    writer.add_add_bos_token(False)

    def matrix(name, type_, rows, columns):
        writer.add_tensor(f"{name}.weight", random_rows(rng, type_, rows, columns), raw_dtype=type_)

    def norm(name):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))

    small = args.type == "Q4_K_M" or gguf.GGML_QUANT_SIZES[Type[args.type]][0] != 1
    small = small and args.type not in ("Q8_0", "Q6_K")
    matrix("token_embd", Type.Q6_K if small else Type[args.type], vocab, width)
    norm("output_norm")
    for i in range(layers):
        norm(f"blk.{i}.attn_norm")
        norm(f"blk.{i}.ffn_norm")
        for name, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", kv_heads * head, width),
            ("attn_v", kv_heads * head, width),
            ("attn_output", width, width),
            ("ffn_gate", hidden, width),
            ("ffn_up", hidden, width),
            ("ffn_down", width, hidden),
        ):
            matrix(f"blk.{i}.{name}", type_of(name, i, layers, args.type), rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
