#!/usr/bin/env python3
"""Makes the vectors of this folder: make.py LLAMA_TOKENIZE

Needs the Python package tokenizers (the oracle for tokenizer.json) and the program llama-tokenize of llama.cpp (the
oracle for GGUF files). Vocabularies are trained on the texts below, so everything here is this project's own."""
import json
import pathlib
import struct
import subprocess
import sys
import unicodedata

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
LLAMA = sys.argv[1]
SPACE = "\u2581"

CORPUS = [
    "The small model asks the large one for a signal, and the large one answers in a few words.",
    "One question, two models: the first thinks, the second writes. It's what they've always done, isn't it?",
    "Dans la forêt, l'été dernier, nous avons trouvé 1234 champignons et 56 noisettes.",
    "x = [1, 22, 333, 4444]\n    for i in range(10):\n        print(x[i] + 100)\n\n\n# done\n",
    "Größe, Straße und Übung; 2024-01-31, 12:30:59, 3.14159, -273.15 °C.",
    "東京と大阪は日本の都市です。中文分词也要测试。Москва и Киев. Ελλάδα.",
    "  indented\twith\ttabs   and    runs of     spaces  \r\n\r\n  end  ",
    "camelCase HTTPServer getElementById snake_case SCREAMING_CASE v2.0.1-rc3",
    "(((nested))) {{braces}} <<angle>> \"quotes\" 'single' `code` $100 & 50% ~/path/to/file.txt !!! ??? ...",
]

TEXTS = [
    "", " ", "  ", "   ", "a", " a", "  a", "a ", "a  ", "\n", "\n\n", "\n\n\n\n\n", " \n \n ", "\t", "\t\tx", "\r\n", "a\nb",
    "Hello world", " Hello  world ", "The large one answers.", "It's they've I'M we'LL don't 'tis ''s",
    "1", "12", "123", "1234", "12345678901", "a1b22c333", "3.14159 and -273.15", "１２３ ٣٤٥ ½ Ⅷ",
    "for i in range(10):\n    print(i)\n\n\tdone()\n", "x=1;y=2;;;z", "!!!???...", " !!! ??? ...", "$100 & 50%", "a_b-c/d\\e",
    "forêt été naïve", "Größe Straße", "Москва и Киев", "Ελλάδα", "東京と大阪", "中文分词。也要测试！", "한국어 텍스트", "ภาษาไทย",
    "हिन्दी", "שלום", "مرحبا", "😀", "😀😀 👩‍👩‍👧 🇫🇷", "a😀b", "𝔘𝔫𝔦", "é", "\u00a0x\u3000y\u2028z", "\x00\x01\x7f",
    "camelCase HTTPServer XMLHttpRequest iPhone", "SCREAMING_CASE v2.0.1-rc3", "(((nested))) {{x}}", "\"q\" 'q' `q`",
    "word" * 20, "ab " * 30, " " * 40 + "x", "\n" * 20 + "x", "7" * 40, "=" * 40, "-" * 17 + ">" * 5, "ー" * 20,
    "the the the The THE tHe", "<0x41> <0x0A>", "http://example.org/a?b=c&d=%20e", "e-mail: a.b@c.example", "ＡＢＣ ａｂｃ",
]
ADDED = [
    "<s>", "a<s>b", "<s> a </s>", "</s></s>", " <s> ", "[user] hi [user]", "[user][user]", "x <end_of_turn>\ny", "<end_of_turn>",
    "[user", "<end_of_turn", "\n[user]\n",
]
LITERAL = [SPACE, SPACE + "a", "a" + SPACE + "b", " " + SPACE + " x"]


# ---- GGUF ----

def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    kind, items = v
    body = b"".join(text(x) if kind == 8 else struct.pack("<f" if kind == 6 else "<i", x) for x in items)
    return struct.pack("<IIQ", 9, kind, len(items)) + body


def write_gguf(path, keys):
    keys = {"general.architecture": "llama", **keys}
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    for k, v in keys.items():
        out += text(k) + value(v)
    path.write_bytes(out + b"\0" * (-len(out) % 32))


def llama_ids(path, s, special=False):
    """What llama-tokenize says; it takes the text as a file, and wants one that ends as it should."""
    r = subprocess.run([LLAMA, "-m", str(path), "--ids", "--log-disable", "--stdin"] + ([] if special else ["--no-bos"]),
                       input=s.encode(), capture_output=True, check=True)
    return json.loads(r.stdout.decode().strip() or "[]")


# ---- a vocabulary of characters ----

def train_spm():
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", SPACE)
    special = ["<unk>", "<s>", "</s>", "[user]", "<end_of_turn>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=len(special) + 230, special_tokens=special,
                                                      limit_alphabet=90, show_progress=False))
    model = json.loads(t.to_str())["model"]
    first = len(special) + len([k for k in model["vocab"] if len(k) == 1])
    vocab = dict(sorted(model["vocab"].items(), key=lambda kv: kv[1]))
    # Every way to spell a token in two, in the order of the tokens: what a converter makes of scores.
    merges = [[k[:i], k[i:]] for k, v in vocab.items() if v >= first for i in range(1, len(k)) if k[:i] in vocab and k[i:] in vocab]
    assert all(any(m[0] + m[1] == k for m in merges) for k, v in vocab.items() if v >= first)
    return vocab, merges, first


def spm_tokenizer(vocab, merges, legacy):
    t = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m) for m in merges], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in ("<unk>", "<s>", "</s>", "<end_of_turn>")])
    t.add_tokens([AddedToken("[user]", normalized=False, special=False)])
    back = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if legacy:
        t.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
        back.append(decoders.Strip(" ", 1, 0))
    else:
        t.normalizer = normalizers.Replace(" ", SPACE)
        t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence(back)
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    return t


def make_spm():
    vocab, merges, first = train_spm()
    tokens = list(vocab)
    types = [2 if k == "<unk>" else 4 if k == "[user]" else 3 if k in ("<s>", "</s>", "<end_of_turn>") else
             6 if k.startswith("<0x") else 1 for k in tokens]
    scores = [float(-max(0, v - first + 1)) for v in vocab.values()]
    for name, legacy in (("spm-prefix", True), ("spm-plain", False)):
        t = spm_tokenizer(vocab, merges, legacy)
        (HERE / f"{name}.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        gguf = HERE / f"{name}.gguf"
        write_gguf(gguf, {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": (8, tokens), "tokenizer.ggml.scores": (6, scores),
                          "tokenizer.ggml.token_type": (5, types), "tokenizer.ggml.bos_token_id": vocab["<s>"],
                          "tokenizer.ggml.eos_token_id": vocab["</s>"], "tokenizer.ggml.unknown_token_id": 0,
                          "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_space_prefix": legacy})
        rows = []
        for s in CORPUS + TEXTS + ADDED + LITERAL:
            ids = t.encode(s, add_special_tokens=False).ids
            row = {"text": s, "ids": ids, "ids_add_special": t.encode(s).ids, "decoded": t.decode(ids, skip_special_tokens=False),
                   "decoded_skip_special": t.decode(ids)}
            if "\0" not in s:
                row["llama"] = llama_ids(gguf, s)
            rows.append(row)
        differ = [r["text"] for r in rows if r.get("llama", r["ids"]) != r["ids"]]
        print(name, len(tokens), "tokens,", len(rows), "rows; the oracles differ on", differ)
        for r in rows:
            if r.get("llama") == r["ids"]:
                del r["llama"]
        write_rows(f"{name}.jsonl", rows)


# ---- a byte-level vocabulary under every pre-tokenizer ----

PRES = ["qwen2", "qwen35", "llama-bpe", "smaug-bpe", "smollm", "gpt-2", "tekken", "gpt-4o", "deepseek-llm", "deepseek-coder",
        "deepseek-v3", "deepseek-r1-qwen", "falcon", "default"]


def make_bpe():
    """Merges across all borders that a pre-tokenizer might draw, so that the ids show where it cuts."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.train_from_iterator(CORPUS + TEXTS, trainers.BpeTrainer(vocab_size=256 + 350, special_tokens=[], show_progress=False,
                                                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(t.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    n = len(tokens)
    added = ["<|endoftext|>", "<|im_end|>", "<think>", "[PAD%d]" % (n + 3)]
    path = HERE / "bpe.gguf"
    rows = []

    def write(pre, to):
        write_gguf(to, {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": (8, tokens + added),
                        "tokenizer.ggml.token_type": (5, [1] * n + [3, 3, 4, 5]),
                        "tokenizer.ggml.merges": (8, [" ".join(m) for m in model["merges"]]),
                        "tokenizer.ggml.bos_token_id": n, "tokenizer.ggml.eos_token_id": n + 1, "tokenizer.ggml.add_bos_token": False,
                        "tokenizer.chat_template": "{{ messages }}"})

    for pre in PRES:
        one = HERE / "bpe-tmp.gguf"
        write(pre, one)
        for s in CORPUS + TEXTS + ["a<|im_end|>b<think> c", "<|endoftext|>"]:
            if "\0" in s or unicodedata.normalize("NFC", s) != s:  # llama.cpp leaves out the normal form of Qwen's files
                continue
            rows.append({"pre": pre, "text": s, "ids": llama_ids(one, s)})
        one.unlink()
    write("qwen2", path)
    print("bpe", n + len(added), "tokens,", len(rows), "rows")
    write_rows("bpe.jsonl", rows)


def write_rows(name, rows):
    (HERE / name).write_text("".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in rows))


make_spm()
make_bpe()
