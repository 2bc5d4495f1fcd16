#!/usr/bin/env python3
"""Writes corpus.bin: texts that tokenizers get wrong.

Each text is its length in bytes (uint32, little-endian) and its bytes. Random texts are made only
of characters that Unicode 14 assigns, so that an older and a newer character table agree.
"""
import random
import struct
import sys
import unicodedata

PROSE = [
    "", " ", "  ", "a", "\n", "\r\n", "\t", "Hello", " Hello", "Hello, world!",
    "The quick brown fox jumps over the lazy dog, doesn't it? I'm sure they'll say we've WON'T.",
    "I'LL I'Ll i'lL DON'T don't 'S 'tis 're'Ve'd'D 'x '' ' '",
    "HTTPServer2 getElementById snake_case_name kebab-case CamelCaseABC ABCdef aB Ab",
    "Ünïcödé Größe naïve façade Ångström İstanbul ǅungla ŒUVRE straße ſtill",
    "Приветствую тебя, мир! Как дела? Ёжик.", "Γειά σου Κόσμε, τί κάνεις;",
    "你好，世界！这是一个测试。中文没有空格，但有标点。", "日本語のテキスト、カタカナとひらがな。ー々〆",
    "안녕하세요 세계, 한국어 테스트입니다.", "𠮷野家 𪚥 㐂 豈 ⼀",
    "مرحبا بالعالم، كيف حالك؟ ١٢٣٤٥٦", "שלום עולם, מה שלומך? בְּרֵאשִׁית",
    "नमस्ते दुनिया, आप कैसे हैं? क्षत्रिय १२३", "বাংলা ভাষা ಕನ್ನಡ తెలుగు தமிழ் മലയാളം",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง ๑๒๓", "မြန်မာ ខ្មែរ ລາວ བོད་ཡིག ქართული ᲥᲐᲠᲗᲣᲚᲘ Հայերեն",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞ e\u0301 é", "x\u180ey x\u200by \ufeffBOM \u00ad soft",
    "😀 😃😄 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 ❤️ ☺ 🧑🏿‍🚀x🫠",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, ½ ⅔ ² ₃ Ⅷ ① ٣ 𝟘𝟙 𝒜𝔅ℭ ≠ ± × ÷ √2",
    "1 12 123 1234 12345 123456 1234567 12345678 0.5 1,000,000.00 3.14e-10 0xDEADBEEF v1.2.3",
    "$5 €10 £1.50 ¥100 50% #1 @user &amp; a+b=c x^2 ~/.bashrc | `ls` \\n \\ / // /* */",
    "https://example.org/path?query=1&b=%20#frag mailto:a.b@example.com",
]
SPACES = [
    " " * n + "x" for n in (2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100)
] + [
    "a" + " " * 200 + "b", "trailing   ", "trailing \n", " \n \n\n  \n", "\n\n\n\n\nend", "\t\t\tx\t y",
    "a\r\nb\r\n\r\nc\rd\n\re", "  \r\n  x", "!\n!\r\n!!\n\n", "word.\n\nNext", "1\n2\n\n3", "\u00a0x \u00a0 y",
    "a\u3000b\u3000\u3000c", "a\u2028b\u2029c\u0085d\u1680e\u202ff\u205fg\u2003h", "a\x0b\x0cb\x1c\x1dc\x1f d",
    "\n" * 40 + "x", "\t" * 30, "▁ ▁▁ _▁ x▁y",
]
CODE = [
    'def f(x):\n    """Doc."""\n    if x > 0:\n        return [i ** 2 for i in range(x)]\n    return None\n',
    '#include <cstdio>\nint main(int argc, char** argv) {\n\tstd::printf("%d\\n", argc);\n\treturn 0; // ok\n}\n',
    '{"key": [1, 2.5, null, true], "nested": {"a": "\\u00e9"}}\n<div class="x">&nbsp;</div>\n',
    "SELECT * FROM t WHERE a='b' AND c<>3; -- comment\nfn main() -> Result<(), E> { Ok(()) }\n",
    "=========\n-----\n***bold*** __x__ ~~~\n...!!!???\n(((([[[[{{{{}}}}]]]]))))\n",
]
SPECIAL = [
    "<s>", "</s>", "<unk>", "<s>Hello</s> world", "<|endoftext|>", "a<|endoftext|>b <|endoftext|> c",
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|user|>\nHi<|end|>\n<|assistant|>   x<|end|>  \n y", "<s> <s>  <s>\n<s>", "<|im_start|", "<|<|im_end|>|>",
    "<|endoftext|><|endoftext|>  \n<|endoftext|>", "<｜begin▁of▁sentence｜>hi<｜end▁of▁sentence｜>",
    "<fim_prefix>a<fim_suffix>b<fim_middle>c <PAD> <0x0A> <0xFF>", "<reserved_1> <|reserved_special_token_3|>",
    "<|placeholder1|> x <|system|>\t<|user|>\x0b\x0c y", "[INST] Hi [/INST] <<SYS>> <repo_name> <issue_start>",
]
BYTES = [
    b"\x00", b"a\x00b\x00\x00", b"\x00 x", b"\x01\x02\x03\x07\x08\x1b[0m\x7f",
    b"\x80", b"\xff", b"\xc3", b"abc\xc3", b"abc\xe2\x96", b"\xe2\x96x y", b"\xf0\x9f\x98", b"\xf0\x9f\x98 x\xf0",
    b"a\xffb\xfe c\x80\x80d", b"\xc0\x80 \xc1\xbf", b"\xe0\x80\xaf \xf0\x80\x80\xaf", b"\xed\xa0\x80\xed\xb0\x80 x",
    b"x\xed\xbf\xbfy", b"\xf8\x88\x80\x80\x80 \xfc\x84\x80\x80\x80\x80", b"caf\xe9 na\xefve", b"\xe2 a\xe2\x82 b\xf0 c",
    b"\xef\xbf\xbd \xef\xbb\xbfx", b"\xe4\xbd\xa0\xe5\xa5", bytes(range(0x80, 0xc0)), bytes(range(0xc0, 0xf0)),
]


def random_texts(count):
    r = random.Random(20240229)
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    by_block = {}
    for c in assigned:
        by_block.setdefault(c >> 8, []).append(c)
    blocks = sorted(by_block)
    common = list(" \n\t'sStTrReElLdD0123456789.,!?-_()<>|/aAbBzZ") + ["  ", "   ", "\r\n", "’", "é", "▁"]
    specials = ["<s>", "</s>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<unk>", "<|end|>"]
    for i in range(count):
        text = b""
        for _ in range(r.randint(5, 40)):
            kind = r.random()
            if kind < 0.6:
                text += r.choice(common).encode()
            elif kind < 0.75:
                text += chr(r.choice(by_block[r.choice(blocks)])).encode()
            elif kind < 0.9:
                text += chr(r.choice(by_block[r.choice(blocks[:0x30])])).encode()
            elif kind < 0.93:
                text += r.choice(specials).encode()
            elif i % 3 == 0:
                # Not f4 to f7: above U+10FFFF llama.cpp ends the program.
                text += bytes([r.choice([b for b in range(0x80, 0x100) if not 0xf4 <= b <= 0xf7])])
        yield text


def main():
    texts = [t.encode() for t in PROSE + SPACES + CODE + SPECIAL] + BYTES
    texts.append("".join(PROSE + CODE).encode())
    texts += random_texts(200)
    with open(sys.argv[1] if len(sys.argv) > 1 else "corpus.bin", "wb") as out:
        for t in texts:
            out.write(struct.pack("<I", len(t)) + t)


main()
