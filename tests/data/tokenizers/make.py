#!/usr/bin/env python3
"""Makes the two small tokenizers of this folder and vectors.json, the ids that other programs give for them.

kimi/ has the form of Moonshot's releases (tiktoken.model), glm/ that of Z.ai's (tokenizer.json with every split of
a token as a merge, and ignore_merges); both have the same ranks, trained here on ../demo.txt and a few sentences.
The oracles are the packages tiktoken and tokenizers (made with 0.14.0 and 0.23.3); around tiktoken stands what
Moonshot's class does: cuts every 400,000 characters, and after 25,000 of which all, or none, are white space.
"""
import base64
import json
import random
import zlib
from collections import Counter
from pathlib import Path

import tiktoken
import tokenizers

HERE = Path(__file__).resolve().parent
LETTERS = [r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]", r"\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]"]
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = [r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"]
BEFORE = r"[^\r\n\p{L}\p{N}]?"
KIMI_PATTERN = "|".join([r"[\p{Han}]+", f"{BEFORE}[{LETTERS[0]}]*[{LETTERS[1]}]+{ENDINGS}?",
                         f"{BEFORE}[{LETTERS[0]}]+[{LETTERS[1]}]*{ENDINGS}?"] + REST)
GLM_PATTERN = "|".join([ENDINGS, BEFORE + r"\p{L}+"] + REST)
GLM_ADDED = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|user|>", "<think>"]
KIMI_ADDED = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 22: "<think>", 255: "[PAD]"}

SENTENCES = """It's late, isn't it? We'll go when they've come. I'M SURE HE'D SAY SO; DON'T ASK.
灯塔在海湾的尽头。灯塔很高，海很蓝。灯塔的灯每天晚上都亮。日本語のひらがなとカタカナ。한국어 문장입니다.
Маяк стоит на берегу моря. Der Leuchtturm steht überm Hafen, größer als früher. Ο φάρος είναι ψηλός.
In 1871, 30 metres, 12345 steps, 3.14159; x = y[i] + 2; camelCase HTTPServer __init__ -> //!
"""

# Words and runs in which patterns, engines and cuts differ.
FRAGMENTS = [
    "it's", "IT'S", "don't", "DON'T", " we'LL", "you've", "I'M", "'s", "'S", "'\u017f", "it'\u017f", "\u212a", "\u00df",
    " ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "  \n ", "\u200b", "\u200d", "\ufeff", "\u180e", "\u00a0",
    "\u3000", "\u2028", "\u0085", "\x1c", "\x1f", "\x0b", "灯塔", "汉字", "\u3005", "\u3007", "\u3021", "ー",
    "\u3001", "。", "ひらがな", "カタカナ", "한국어", "\u0e01\u0e33", "\u0915\u094d\u0937", "عربي", "Ελληνικά", "Маяк",
    "\u01c5", "\u02b0", "\u00aa", "\u0301", "e\u0301", "\u0300\u0301", "É", "🙂", "👨\u200d👩\u200d👧", "🇩🇪", "１２", "①",
    "½", "Ⅷ", "٣٤", "123", "1234567", "0", "abc", "ABC", "AbC", "camelCase", "HTTPServer", "x", "_", "!?", "...", "->",
    "//", "$", "€", "²", "\U00020000", "\u2e80", "\uf900", "\ue000", "\ufb01", "'\ufb06", "\u0130", "\u0131", "𝐀", "𐐀",
    "the lighthouse", " tower", "xyzzyxyzzy", "qzj", "qz", " qzj", "[EOS]", "[BOS]", "<|im_end|>", "<|im_", "<think>",
    "<|reserved_token_", "[gMASK]<sop>", "<|user|>", "<|endoftext|>"]
LONG = [[(s, n)] for s, n in [
    ("a", 1000000), (" ", 1000000), ("灯", 1000000), ("\n", 300000), ("A", 60000), ("ab ", 200000), ("\u0301", 60000),
    (" \n", 150000), ("Aa", 50000), ("1", 100000), ("!", 100000), ("'s", 60000), ("\u0e01", 60000),
    ("lighthouse[EOS] ", 30000)]]
LONG += [[("a", 24999), (" ", 1), ("b", 25001), ("\x1c", 10), (" ", 25000), ("é", 25001), (" ", 25001), ("x", 1)],
         [("ab ", 133332), ("[EOS]", 3), ("x", 1)]]


def words(text):
    """Runs of letters with one space before them, and single other characters."""
    word = ""
    for c in text:
        if c.isalpha() and (not word or word[-1].isalpha() or word == " "):
            word += c
        else:
            if word:
                yield word
            word = c
    yield word


def train(n_merges):
    counts = Counter(words((HERE / "../demo.txt").read_text() + SENTENCES))
    split = {w: [bytes([b]) for b in w.encode()] for w in counts}
    ranks = {bytes([b]): i for i, b in enumerate(list(range(33, 127)) + list(range(0, 33)) + list(range(127, 256)))}
    for _ in range(n_merges):
        pairs = Counter()
        for w, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[w]
        pair = max(pairs, key=lambda p: (pairs[p], p))
        ranks.setdefault(pair[0] + pair[1], len(ranks))
        for parts in split.values():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == pair:
                    parts[i:i + 2] = [pair[0] + pair[1]]
                i += 1
    # A token that no merges make, one whose part has a higher rank than it has, runs.
    for token in [b"xyzzyxyzzy", b"qzj", b"qz", b"  ", b"    ", b"        ", b"\n\n", b"aa", b"aaaa", b"!!", b"\xcc\x81\xcc"]:
        ranks.setdefault(token, len(ranks))
    return ranks


class Kimi:
    def __init__(self, ranks):
        special = {KIMI_ADDED.get(i, f"<|reserved_token_{len(ranks) + i}|>"): len(ranks) + i for i in range(256)}
        self.model = tiktoken.Encoding("kimi", pat_str=KIMI_PATTERN, mergeable_ranks=ranks, special_tokens=special)

    @staticmethod
    def parts(text):
        for at in range(0, len(text), 400000):
            part, start, n_run = text[at:at + 400000], 0, 0
            for i, c in enumerate(part):
                n_run = n_run + 1 if i and c.isspace() == part[i - 1].isspace() else 1
                if n_run > 25000:
                    yield part[start:i]
                    start, n_run = i, 1
            yield part[start:]

    def encode(self, text):
        return [i for part in self.parts(text) for i in self.model.encode(part, allowed_special="all")]


def byte_symbols():
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}


def glm_json(ranks):
    symbols = byte_symbols()
    text = lambda token: "".join(symbols[b] for b in token)
    merges = []
    for token in ranks:  # in the order of ranks
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        splits = [s for s in splits if s[0] in ranks and s[1] in ranks]
        merges += sorted(splits, key=lambda s: (ranks[s[0]], ranks[s[1]]))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": len(ranks) + i, "content": c, **flags, "special": c != "<think>"} for i, c in enumerate(GLM_ADDED)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": GLM_PATTERN}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
            "vocab": {text(t): r for t, r in ranks.items()}, "merges": [[text(a), text(b)] for a, b in merges]}}


def write(name, value):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def result(ids, brief):
    return {"n_tokens": len(ids), "crc32": zlib.crc32(b"".join(i.to_bytes(4, "little") for i in ids))} if brief else ids


def main():
    ranks = train(500)
    lines = [b"%s %d\n" % (base64.b64encode(t), r) for t, r in ranks.items()]
    (HERE / "kimi").mkdir(exist_ok=True)
    (HERE / "kimi/tiktoken.model").write_bytes(b"".join(lines))
    write("kimi/tokenizer_config.json", {
        "added_tokens_decoder": {str(len(ranks) + i): {"content": c, "lstrip": False, "special": c != "<think>"}
                                 for i, c in KIMI_ADDED.items()},
        "bos_token": "[BOS]", "tokenizer_class": "TikTokenTokenizer"})
    write("glm/tokenizer.json", glm_json(ranks))
    kimi = Kimi(ranks)
    glm = tokenizers.Tokenizer.from_file(str(HERE / "glm/tokenizer.json"))
    choose = random.Random(0)
    short = ["", *FRAGMENTS, SENTENCES]
    short += ["".join(choose.choice(FRAGMENTS) for _ in range(choose.randint(2, 10))) for _ in range(120)]
    vectors = []
    for parts in [[(text, 1)] for text in short] + LONG:
        text = "".join(s * n for s, n in parts)
        vectors.append({"text": parts, "kimi": result(kimi.encode(text), len(text) > 1000),
                        "glm": result(glm.encode(text, add_special_tokens=False).ids, len(text) > 1000)})
    (HERE / "vectors.json").write_text(
        '{"vectors":[' + ",\n".join(json.dumps(v, separators=(",", ":")) for v in vectors) + "]}\n")


if __name__ == "__main__":
    main()
