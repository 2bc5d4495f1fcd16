#!/usr/bin/env python3
"""Writes GGUF files with random weights: of any architecture that Bantam runs, any shape, any type.

The same arguments give the same bytes, whatever the version of Python, numpy or gguf: weights come
from a hash of their tensor's name and place. They are multiples of a power of two with few bits, so
that files compress well and every product is exact.

    generate.py tiny qwen3 out.gguf              # the tiny model that tests run (see VARIANTS)
    generate.py llama out.gguf --blocks 22 --width 2048 --heads 32 --kv-heads 4 --ffn 5632 \\
        --vocab 32000 --type Q4_0                # a 1B shape, for speed

Uses the PyPI packages gguf and numpy.
"""

import argparse
import dataclasses
import sys
import zlib

import gguf
import numpy as np


@dataclasses.dataclass
class Shape:
    """Hyper-parameters; the defaults are the tiny models of tests/golden/models."""

    blocks: int = 2
    width: int = 32
    heads: int = 4
    kv_heads: int = 2
    head: int = 8
    ffn: int = 40
    vocab: int = 264
    context: int = 256
    experts: int = 0
    experts_used: int = 2
    expert_ffn: int = 32
    shared_ffn: int = 0
    window: int = 0
    period: object = None  # attention.sliding_window_pattern: a number or a list
    rope_base: float = 10000.0
    rope_dims: int = 0  # 0: head
    scaling: str = ""
    factor: float = 1.0
    original: int = 0
    attn_factor: float = 0.0
    llama3: bool = False
    untied: bool = False
    bias: bool = False
    fused_qkv: bool = False
    type: str = "F32"
    expert_type: str = ""
    by_layer: dict = dataclasses.field(default_factory=dict)  # heads, kv_heads or ffn: a list each
    extra: dict = dataclasses.field(default_factory=dict)  # more metadata, without the prefix


# What each tiny model adds: architecture, then fields of Shape. Between them they exercise windows
# shorter than the text, expert routing, every kind of rotation, tied and untied outputs.
VARIANTS = {
    "mixtral": ("llama", dict(experts=4, experts_used=2, ffn=24, untied=True)),
    "llama_longrope": ("llama", dict(scaling="longrope", original=64, attn_factor=1.19)),
    "llama_layers": ("llama", dict(blocks=3, by_layer=dict(heads=[4, 8, 2], kv_heads=[2, 1, 2],
                                                           ffn=[40, 24, 56]))),
    "qwen2": ("qwen2", dict(bias=True)),
    "qwen3": ("qwen3", dict(head=16, rope_base=1e6)),
    "qwen2moe": ("qwen2moe", dict(experts=6, experts_used=3, expert_ffn=16, shared_ffn=24,
                                  bias=True, untied=True)),
    "qwen3moe": ("qwen3moe", dict(experts=8, experts_used=3, expert_ffn=16, head=16, kv_heads=1)),
    "gemma": ("gemma", dict(head=16, kv_heads=1)),
    "gemma2": ("gemma2", dict(head=16, blocks=4, ffn=24, window=12,
                              extra={"attn_logit_softcapping": 5.0,
                                     "final_logit_softcapping": 3.0})),
    "gemma3": ("gemma3", dict(head=16, kv_heads=1, blocks=6, window=9, rope_base=1e6, ffn=16)),
    "gemma3_linear": ("gemma3", dict(head=16, blocks=4, ffn=24, window=9, period=[1, 0, 1, 0],
                                     rope_base=1e6, scaling="linear", factor=8.0)),
    "phi3": ("phi3", dict(fused_qkv=True, kv_heads=4, untied=True)),
    "phi3_short": ("phi3", dict(fused_qkv=True, scaling="longrope", original=4096, context=8192,
                                attn_factor=1.25)),
    "phi3_long": ("phi3", dict(fused_qkv=True, scaling="longrope", original=64, attn_factor=1.19,
                               rope_dims=6)),
    "gpt_oss": ("gpt-oss", dict(experts=4, experts_used=2, blocks=4, window=12, bias=True,
                                untied=True, scaling="yarn", factor=8.0, original=64,
                                rope_base=150000.0, expert_type="MXFP4")),
    "granite": ("granite", dict(extra={"logit_scale": 4.0, "residual_scale": 0.25,
                                       "embedding_scale": 6.0, "attention.scale": 0.2})),
    "granitemoe": ("granitemoe", dict(experts=4, expert_ffn=24, shared_ffn=16,
                                      extra={"logit_scale": 4.0, "residual_scale": 0.5,
                                             "embedding_scale": 6.0, "attention.scale": 0.2})),
    "starcoder2": ("starcoder2", dict(bias=True)),
    "bert_mean": ("bert", dict(kv_heads=4, bias=True, extra={"pooling_type": 1})),
    "bert_cls": ("bert", dict(kv_heads=4, bias=True, blocks=2, extra={"pooling_type": 2})),
    "nomic_bert": ("nomic-bert", dict(kv_heads=4, fused_qkv=True, extra={"pooling_type": 1})),
}

LAYER_NORM = {"starcoder2", "bert", "nomic-bert"}
ENCODERS = {"bert", "nomic-bert"}


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


def hashed(name, count):
    """`count` numbers of 64 bits from a name: splitmix64 over a counter."""
    x = np.arange(count, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 24)
    with np.errstate(over="ignore"):
        x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def values(name, shape, scale):
    """Sums of four random bits' worth of +-1: close to normal, of variance scale^2."""
    h = hashed(name, int(np.prod(shape)))
    total = sum(((h >> np.uint64(8 * i)) & np.uint64(3)).astype(np.float32) for i in range(4))
    unit = 2.0 ** np.round(np.log2(scale / np.sqrt(5.0)))
    return ((total - 6) * unit).reshape(shape).astype(np.float32)


class Generator:
    def __init__(self, path, arch, shape, seed="", decode=False):
        """With `decode` the tensors are F32, with the values that their types round them to."""
        self.arch, self.s, self.seed, self.decode = arch, shape, seed, decode
        self.w = gguf.GGUFWriter(path, arch)

    # --- metadata

    def key(self, name, value):
        full = f"{self.arch}.{name}"
        if isinstance(value, list):
            self.w.add_array(full, value)
        elif isinstance(value, float):
            self.w.add_float32(full, value)
        else:
            self.w.add_uint32(full, int(value))

    def metadata(self):
        s, a = self.s, self.arch
        self.w.add_name("random")
        self.key("block_count", s.blocks)
        self.key("context_length", s.context)
        self.key("embedding_length", s.width)
        ffn = s.expert_ffn if a == "granitemoe" else s.ffn
        self.key("feed_forward_length", s.by_layer.get("ffn", ffn))
        self.key("attention.head_count", s.by_layer.get("heads", s.heads))
        if a not in ENCODERS:
            self.key("attention.head_count_kv", s.by_layer.get("kv_heads", s.kv_heads))
            self.key("attention.key_length", s.head)
            self.key("attention.value_length", s.head)
            self.key("rope.dimension_count", s.rope_dims or s.head)
        if a != "bert":
            self.key("rope.freq_base", float(s.rope_base))
        if a in LAYER_NORM:
            self.key("attention.layer_norm_epsilon", 1e-5)
        else:
            self.key("attention.layer_norm_rms_epsilon", 1e-6)
        if a in ENCODERS:
            self.w.add_bool(f"{a}.attention.causal", False)
        if s.experts:
            self.key("expert_count", s.experts)
            self.key("expert_used_count", s.experts_used)
            if a != "llama":
                self.key("expert_feed_forward_length", s.expert_ffn)
        if s.shared_ffn:
            self.key("expert_shared_feed_forward_length", s.shared_ffn)
        if s.window:
            self.key("attention.sliding_window", s.window)
        if s.period is not None:
            period = s.period
            if isinstance(period, list):
                period = [bool(v) for v in period]
            self.key("attention.sliding_window_pattern", period)
        if s.scaling:
            self.w.add_string(f"{a}.rope.scaling.type", s.scaling)
            if s.scaling != "longrope":
                self.key("rope.scaling.factor", float(s.factor))
            if s.original:
                self.key("rope.scaling.original_context_length", s.original)
            if s.attn_factor:
                self.key("rope.scaling.attn_factor", float(s.attn_factor))
        for name, value in s.extra.items():
            self.key(name, value)

    def vocabulary(self):
        s, w = self.s, self.w
        if self.arch in ENCODERS:
            tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
            tokens += ["\u2581" + chr(c) for c in range(0x21, 0x7F)]
            tokens += [chr(c) for c in range(0x21, 0x7F)]
            kinds = [3] * 5
            w.add_tokenizer_model("bert")
            w.add_tokenizer_pre("default")
            for name, i in [("padding", 0), ("unknown", 1), ("cls", 2), ("seperator", 3),
                            ("mask", 4), ("bos", 2), ("eos", 3)]:
                w.add_uint32(f"tokenizer.ggml.{name}_token_id", i)
            w.add_token_type_count(2)
        else:
            tokens = byte_tokens() + ["th", "he", "in", "er"]
            kinds = [1] * len(tokens)
            w.add_tokenizer_model("gpt2")
            w.add_tokenizer_pre("gpt-2")
            w.add_token_merges(["t h", "h e", "i n", "e r"])
        specials = ["<|start|>", "<|end|>"] if self.arch not in ENCODERS else []
        room = s.vocab - len(tokens) - len(specials)
        if room < 0:
            sys.exit(f"--vocab is {s.vocab}; expected at least {s.vocab - room}")
        tokens += [f"<unused{i}>" for i in range(room)]
        kinds += [1] * (len(tokens) - len(kinds)) if self.arch in ENCODERS else [4] * room
        tokens += specials
        kinds += [3] * len(specials)
        if specials:
            w.add_bos_token_id(s.vocab - 2)
            w.add_eos_token_id(s.vocab - 1)
            w.add_add_bos_token(False)
        w.add_vocab_size(s.vocab)
        w.add_token_list(tokens)
        w.add_token_types(kinds)

    # --- tensors

    def put(self, name, data, type_name="F32"):
        qtype = gguf.GGMLQuantizationType[type_name]
        if qtype == gguf.GGMLQuantizationType.F32:
            self.w.add_tensor(name, data)
            return
        data = gguf.quants.quantize(data, qtype)
        if self.decode:
            self.w.add_tensor(name, gguf.quants.dequantize(data, qtype))
        else:
            self.w.add_tensor(name, data, raw_dtype=qtype)

    def vector(self, name, count, center=0.0, scale=0.25):
        self.put(name, values(self.seed + name, (count,), scale) + np.float32(center))

    def matrix(self, name, rows, cols, bias=None, gain=1.0):
        """name.weight of `rows` x `cols` that keeps the size of its input, and name.bias."""
        scale = gain / np.sqrt(cols)
        self.put(name + ".weight", values(self.seed + name, (rows, cols), scale), self.s.type)
        if self.s.bias if bias is None else bias:
            self.vector(name + ".bias", rows)

    def norm(self, name, count):
        self.vector(name + ".weight", count, 1.0)
        if self.arch in LAYER_NORM:
            self.vector(name + ".bias", count)

    def attention(self, p):
        s = self.s
        q, kv = s.heads * s.head, s.kv_heads * s.head
        out_bias = s.bias and self.arch not in ("qwen2", "qwen2moe")
        # Large queries and keys make the attention sharp, so that a wrong rotation shows.
        if s.fused_qkv:
            self.matrix(p + "attn_qkv", q + 2 * kv, s.width, gain=1.5)
        else:
            self.matrix(p + "attn_q", q, s.width, gain=1.5)
            self.matrix(p + "attn_k", kv, s.width, gain=1.5)
            self.matrix(p + "attn_v", kv, s.width)
        self.matrix(p + "attn_output", s.width, q, bias=out_bias)
        if self.arch in ("qwen3", "qwen3moe", "gemma3"):
            self.norm(p + "attn_q_norm", s.head)
            self.norm(p + "attn_k_norm", s.head)
        if self.arch == "gpt-oss":
            self.vector(p + "attn_sinks.weight", s.heads, 0.5, 1.0)

    def stack(self, name, rows, cols):
        s = self.s
        data = values(self.seed + name, (s.experts, rows, cols), 1.0 / np.sqrt(cols))
        self.put(name + ".weight", data, s.expert_type or s.type)
        if s.bias and self.arch == "gpt-oss":
            self.put(name + ".bias", values(self.seed + name + "b", (s.experts, rows), 0.25))

    def feed_forward(self, p):
        s, a = self.s, self.arch
        if s.experts:
            ffn = s.ffn if a == "llama" else s.expert_ffn
            self.matrix(p + "ffn_gate_inp", s.experts, s.width, bias=a == "gpt-oss", gain=2.0)
            # Sharp SwiGLU inputs, so that the clamp of gpt-oss is met.
            self.stack(p + "ffn_gate_exps", ffn, s.width)
            self.stack(p + "ffn_up_exps", ffn, s.width)
            self.stack(p + "ffn_down_exps", s.width, ffn)
            if s.shared_ffn:
                self.matrix(p + "ffn_gate_shexp", s.shared_ffn, s.width, bias=False)
                self.matrix(p + "ffn_up_shexp", s.shared_ffn, s.width, bias=False)
                self.matrix(p + "ffn_down_shexp", s.width, s.shared_ffn, bias=False)
            if a == "qwen2moe":
                self.vector(p + "ffn_gate_inp_shexp.weight", s.width)
            return
        bias = s.bias and a in ("starcoder2", "bert")
        if a == "phi3":
            self.matrix(p + "ffn_up", 2 * s.ffn, s.width, bias=False)
        else:
            if a not in ("starcoder2", "bert"):
                self.matrix(p + "ffn_gate", s.ffn, s.width, bias=False)
            self.matrix(p + "ffn_up", s.ffn, s.width, bias=bias)
        self.matrix(p + "ffn_down", s.width, s.ffn, bias=bias)

    def tensors(self):
        s, a = self.s, self.arch
        self.put("token_embd.weight", values(self.seed + "token_embd", (s.vocab, s.width), 1.0),
                 s.type)
        if a in ENCODERS:
            self.put("token_types.weight", values(self.seed + "types", (2, s.width), 0.5))
            self.norm("token_embd_norm", s.width)
            if a == "bert":
                self.put("position_embd.weight",
                         values(self.seed + "position_embd", (s.context, s.width), 0.5))
        for i in range(s.blocks):
            p = f"blk.{i}."
            for field, numbers in s.by_layer.items():
                setattr(s, field, numbers[i])
            self.attention(p)
            self.feed_forward(p)
            if a in ENCODERS:
                self.norm(p + "attn_output_norm", s.width)
                self.norm(p + "layer_output_norm", s.width)
                continue
            self.norm(p + "attn_norm", s.width)
            self.norm(p + ("post_attention_norm" if a == "gpt-oss" else "ffn_norm"), s.width)
            if a in ("gemma2", "gemma3"):
                self.norm(p + "post_attention_norm", s.width)
                self.norm(p + "post_ffw_norm", s.width)
        if a in ENCODERS:
            return
        self.norm("output_norm", s.width)
        if s.untied:
            self.matrix("output", s.vocab, s.width, bias=False)
        pairs = (s.rope_dims or s.head) // 2
        if s.llama3:
            self.put("rope_freqs.weight", np.linspace(1, 8, pairs).astype(np.float32))
        if s.scaling == "longrope":
            self.put("rope_factors_long.weight", np.linspace(1, 4, pairs).astype(np.float32))
            self.put("rope_factors_short.weight", np.linspace(1, 1.5, pairs).astype(np.float32))

    def write(self):
        self.metadata()
        self.vocabulary()
        self.tensors()
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def write_tiny(name, path, decode=False, arch=None):
    """The tiny model `name` of VARIANTS; `arch` in place of its own architecture."""
    own, fields = VARIANTS[name]
    Generator(path, arch or own, Shape(**fields), name + "/", decode).write()


def main():
    if sys.argv[1:2] == ["tiny"] and len(sys.argv) == 4 and sys.argv[2] in VARIANTS:
        return write_tiny(sys.argv[2], sys.argv[3])
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", choices=sorted({a for a, _ in VARIANTS.values()}))
    parser.add_argument("file")
    for field in dataclasses.fields(Shape):
        if field.name in ("period", "by_layer", "extra"):
            continue
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=field.type, default=field.default)
    args = vars(parser.parse_args())
    path, arch = args.pop("file"), args.pop("architecture")
    Generator(path, arch, Shape(**args), seed=arch + "/").write()


if __name__ == "__main__":
    main()
