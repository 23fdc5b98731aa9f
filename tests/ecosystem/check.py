"""Compares duet with transformers, tokenizers, safetensors and TensorBoard on folders that either side wrote.

    check.py DUET [PATTERN]      one line a check; exit 1 if one fails. With PATTERN only checks whose name contains it.

Everything is seeded. Both sides compute in float32, so log-probs may differ by rounding: 1e-4 at most.
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.filterwarnings("ignore")

import numpy as np
import safetensors
import safetensors.numpy
import tokenizers
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)  # tiny models: threads that wait for each other cost more than they compute

DUET = os.path.realpath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
TOLERANCE = 1e-4  # of log-probs, both sides in float32


# ---- duet, as a program ----

def duet(*args, lines=None):
    """Runs duet; with lines (objects) it reads and returns JSON lines, else it returns its stdout."""
    text = None if lines is None else "".join(json.dumps(x) + "\n" for x in lines)
    r = subprocess.run([DUET, *map(str, args)], input=text, capture_output=True, text=True, encoding="utf-8")
    if r.returncode:
        raise AssertionError(f"duet {' '.join(map(str, args))}: exit {r.returncode}: {r.stderr.strip()} {r.stdout[:300]}")
    return r.stdout if lines is None else [json.loads(x) for x in r.stdout.split("\n") if x]


def config_of(folder):
    with open(os.path.join(folder, "config.json")) as f:
        c = json.load(f)
    return {**c, **c.get("text_config", {})}


def random_ids(n_vocab, n, length, seed):
    r = random.Random(seed)
    return [[r.randrange(n_vocab) for _ in range(length)] for _ in range(n)]


# ---- what is compared ----

def hf_logprobs(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids)[1:, None])[:, 0].numpy()


def logprob_difference(folder, model, n=8, length=96):
    """The largest difference between duet's log-probs of random ids and transformers'."""
    ids = random_ids(config_of(folder)["vocab_size"], n, length, seed=len(folder))
    mine = duet("logprobs", "-m", folder, lines=[{"ids": x} for x in ids])
    worst = 0.0
    for x, line in zip(ids, mine, strict=True):
        assert len(line["logprobs"]) == length - 1
        worst = max(worst, float(np.abs(np.array(line["logprobs"]) - hf_logprobs(model, x)).max()))
    return worst


def same_logprobs(folder, model):
    worst = logprob_difference(folder, model)
    assert worst <= TOLERANCE, f"log-probs differ by {worst:.2e}"
    return f"log-probs within {worst:.0e}"


def greedy(model, ids, new):
    out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
                         max_new_tokens=new, pad_token_id=0)
    return out[0, len(ids):].tolist()


def same_greedy(folder, model, n=12, new=48):
    """Greedy continuations, end tokens included. A difference counts as a tie only if both choices were equally likely."""
    prompts = random_ids(config_of(folder)["vocab_size"], n, 9, seed=5)
    mine = duet("generate", "-m", folder, "--json", lines=[{"ids": p, "max_tokens": new, "temp": 0} for p in prompts])
    ended = ties = 0
    for p, line in zip(prompts, mine, strict=True):
        want = greedy(model, p, new)
        got = line["ids"]
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), None)
        if at is None:
            assert len(got) == len(want), f"{len(got)} tokens, transformers gives {len(want)}"
            ended += line["stop"] == "eos"
            continue
        with torch.no_grad():
            logits = model(torch.tensor([p + want[:at]])).logits[0, -1]
        gap = float(logits[want[at]] - logits[got[at]])
        assert abs(gap) <= TOLERANCE, f"token {at} is {got[at]}, transformers has {want[at]} (logit gap {gap:.1e})"
        ties += 1
    assert ties < n / 2
    return f"{n} greedy continuations ({ended} ended by themselves" + (f", {ties} ties)" if ties else ")")


def load(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


# ---- texts ----

PIECES = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<|im_", "<think", "think>", "user\n", "assistant\n",
          "don't", "DON'T", "we'LL", "'s", " 's", "1234567", "3.14", " 0x1F", "\u0664\u0665", "\n", "\n\n", "\r\n", " \n ", "  ", "   x", "\t",
          "\u00a0", "\u3000", "\u2028", "caf\u00e9", "cafe\u0301", "\u1e69", "s\u0323\u0307", "\u212b", "\ufb01", "\u00df", "\u4f60\u597d\u4e16\u754c",
          "\u3053\u3093\u306b\u3061\u306f", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab", "\u0440\u0443\u0441\u0441\u043a\u0438\u0439", "\u0639\u0631\u0628\u064a",
          "\u0e44\u0e17\u0e22", "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u200b", "\ufeff",
          "\u0000", "\u0007", "\u007f", "\ufffd", "\U0010ffff", "#include <stdio.h>", "x += y[i] * 2;", "http://a.b/c?d=e&f", "snake_case", "CamelCase",
          "...", "!?", "--", "\u2014", "\u201cq\u201d", "a", " the", " quick", "Hello", " ", "_", "{}", "\\boxed{42}", "answer: "]


def texts(n, seed, alphabet=None):
    """Random strings: joined pieces, slices of our own documents, single characters; or of an alphabet.

    The characters are those of Unicode 3.2: normalisation and the classes of later ones depend on how new each side's tables are."""
    r = random.Random(seed)
    with open(os.path.join(ROOT, "ARCHITECTURE.md"), encoding="utf-8") as f:
        book = f.read()
    out = ["", " ", "\n"] if alphabet is None else [""]
    while len(out) < n:
        kind = r.randrange(4)
        if alphabet is not None:
            marks = PIECES[:5] if kind == 0 else []
            out.append("".join(r.choice(alphabet + marks) for _ in range(r.randrange(1, 60))))
        elif kind < 2:
            out.append("".join(r.choice(PIECES) for _ in range(r.randrange(1, 16))))
        elif kind == 2:
            at = r.randrange(len(book))
            out.append(book[at:at + r.randrange(200)])
        else:
            points = (r.randrange(0x110000) if r.random() < 0.2 else r.randrange(0x3000) for _ in range(r.randrange(1, 40)))
            out.append("".join(chr(p) for p in points if unicodedata.ucd_3_2_0.category(chr(p)) not in ("Cn", "Cs")))
    return out


def same_ids(folder, tokenizer, batch):
    mine = duet("tokenize", "-m", folder, lines=[{"text": t} for t in batch])
    theirs = tokenizer(batch, add_special_tokens=False)["input_ids"]
    for t, a, b in zip(batch, mine, theirs, strict=True):
        assert a["ids"] == list(b), f"{t!r}: duet {a['ids']}, transformers {list(b)}"
    return sum(len(x) for x in theirs)


def same_texts(folder, tokenizer, n=600):
    ids = random_ids(len(tokenizer), n, 20, seed=11)
    for skip in (False, True):
        mine = duet("tokenize", "-m", folder, "--decode", *(["--skip-special"] if skip else []), lines=[{"ids": x} for x in ids])
        for x, a in zip(ids, mine, strict=True):
            want = tokenizer.decode(x, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            assert a["text"] == want, f"{x} (skip special: {skip}): duet {a['text']!r}, transformers {want!r}"


# ---- the folders ----

class Folders:
    """Model folders and runs, made once, by name."""

    def __init__(self, root):
        self.root = root
        self.made = {}

    def path(self, name):
        return os.path.join(self.root, name)

    def init(self, name, *options):
        if name not in self.made:
            sizes = ("--layers", 3, "--width", 48, "--heads", 6, "--ctx", 512)
            duet("init", self.path(name), *sizes, "--seed", len(name), "--init-range", "0.5", *options)
            self.made[name] = True
        return self.path(name)

    def corpus(self):
        path = self.path("corpus.txt")
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as out:
                for name in ("README.md", "ARCHITECTURE.md", "LICENSE"):
                    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
                        out.write(f.read())
                out.write("\u4f60\u597d\u4e16\u754c caf\u00e9 \u0440\u0443\u0441\u0441\u043a\u0438\u0439\n" * 20)
        return path

    def of_config(self, name, config, *options):
        """A new model of duet's for a config of transformers', with a trained tokenizer."""
        path = self.path(name + ".json")
        config.to_json_file(path)
        with open(path) as fh:
            c = json.load(fh)
        for key in ("vocab_size", "eos_token_id", "bos_token_id", "pad_token_id"):  # these follow the tokenizer
            c.pop(key, None)
        with open(path, "w") as fh:
            json.dump(c, fh)
        return self.init(name, *options, "--config", path)

    def words(self):
        return "--train-text", self.corpus(), "--vocab", 900

    def bpe(self, *options, name="bpe"):
        return self.init(name, *self.words(), *options)

    def run(self, name, command, recipe, *overrides):
        """A training run; recipe is text."""
        if name not in self.made:
            with open(self.path(name + ".yaml"), "w") as f:
                f.write(recipe)
            duet(command, self.path(name + ".yaml"), "--out", self.path(name), "-q", *overrides)
            self.made[name] = True
        return self.path(name)

    def sft(self, role="M"):
        return self.run("sft-" + role, "sft", SFT, f"data.role={role}", "seed=" + ("1" if role == "M" else "2"))

    def sft_gemma3(self):
        config = transformers.Gemma3TextConfig(**{**GEMMA3, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16, "sliding_window": 8})
        start = self.of_config("start-gemma3", config, "--family", "remainder")
        return self.run("sft-gemma3", "sft", SFT_FROM, "data.role=M", "model.path=" + start)

    def rl(self):
        M, m = self.sft("M"), self.sft("m")
        return self.run("rl", "train", RL, f"M.path={M}/model", f"m.path={m}/model")


SFT = """
data: {task: remainder, knobs: "digits_min=2 digits_max=3"}
model: {init: {layers: 2, width: 32, heads: 4, kv_heads: 2, head_dim: 16, ffn: 64, ctx: 256}}
train: {steps: 60, batch_tokens: 2048, lr: 4e-3, save_every: 25}
eval: {every: 30, n: 20, max_tokens: 64}
log: {every: 7}
"""
SFT_FROM = SFT.replace(SFT[SFT.index("model:"):SFT.index("train:")], "")
RL = """
data: {task: remainder, knobs: "digits_min=2 digits_max=3"}
M: {samples: 4, response_max: 64, lr: 3e-4}
m: {samples: 2, response_max: 6, lr: 3e-4}
penalty: {bound: 10}
train: {steps: 3, questions: 4, save_every: 2}
eval: {every: 2, n: 10, max_tokens: 64}
log: {every: 1}
"""

CHECKS = []


def check(name):
    return lambda f: CHECKS.append((name, f)) or f


# ---- models: duet writes, transformers reads ----

MODELS = {
    "float32 tied": lambda f: f.bpe(name="f32-tied"),
    "float32 untied, grouped heads": lambda f: f.bpe("--untied", "--kv-heads", 2, name="f32-untied"),
    "float32, wide heads, theta 1e6": lambda f: f.bpe("--head-dim", 32, "--theta", "1e6", "--kv-heads", 3, name="f32-wide"),
    "bfloat16 tied": lambda f: f.bpe("--dtype", "bfloat16", "--kv-heads", 3, name="bf16-tied"),
    "bfloat16 untied": lambda f: f.bpe("--dtype", "bfloat16", "--untied", name="bf16-untied"),
    "supervised run": lambda f: f.sft() + "/model",
    "its checkpoint": lambda f: f.sft() + "/checkpoints/step-000060/model",
    "joint run, M": lambda f: f.rl() + "/M",
    "joint run, m": lambda f: f.rl() + "/m",
    "gemma3": lambda f: f.of_config("new-gemma3", transformers.Gemma3TextConfig(**GEMMA3, initializer_range=0.5), *f.words()),
    "gemma3 with linear rope": lambda f: f.of_config("new-gemma3-linear", transformers.Gemma3TextConfig(
        **GEMMA3, initializer_range=0.5, rope_parameters={"full_attention": LINEAR, "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}),
        *f.words()),
    "gemma3 after supervised training": lambda f: f.sft_gemma3() + "/model",
    "mistral with windows": lambda f: f.of_config("new-mistral", transformers.MistralConfig(**SIZES, sliding_window=11, initializer_range=0.5), *f.words()),
    "qwen2 with yarn": lambda f: f.of_config("new-qwen2-yarn", transformers.Qwen2Config(**SIZES, rope_parameters=YARN_ALL, initializer_range=0.5),
                                             *f.words()),
    "qwen2 with windows": lambda f: f.of_config("new-qwen2-windows", transformers.Qwen2Config(
        **SIZES, use_sliding_window=True, sliding_window=17, max_window_layers=2, initializer_range=0.5), *f.words()),
}


def add_model_checks(name, make):
    @check(f"transformers opens {name}")
    def _(f):
        folder = make(f)
        model, c = load(folder), config_of(folder)
        family = {"qwen2": "Qwen2", "mistral": "Mistral", "gemma3": "Gemma3"}.get(name.split()[0], "Qwen3")
        assert type(model).__name__ == c["architectures"][0] == family + "ForCausalLM"
        same = model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()
        assert same == c["tie_word_embeddings"], "the embeddings are tied on one side only"
        with safetensors.safe_open(os.path.join(folder, "model.safetensors"), "pt") as st:
            kept = set(st.keys())
        known = {k for k in model.state_dict() if not (same and k == "lm_head.weight")}
        assert kept == known, f"tensors: {kept ^ known}"
        return same_logprobs(folder, model) + ", " + same_greedy(folder, model)


for _name, _make in MODELS.items():
    add_model_checks(_name, _make)


@check("bfloat16 files: what computing in bfloat16 changes")
def _(f):
    folder = f.bpe("--dtype", "bfloat16", "--untied", name="bf16-untied")
    model = load(folder, dtype="auto")
    assert model.dtype == torch.bfloat16, "transformers does not see the type of the files"
    stored = logprob_difference(folder, model)
    assert stored < 0.5
    return f"transformers in bfloat16 is {stored:.0e} away from duet, which computes in float32 always"


# ---- adapters: PEFT and duet, both ways ----

def logprobs_between(adapter, base, model):
    """The largest difference between duet's log-probs through an adapter's folder and a PEFT model's."""
    ids = random_ids(config_of(base)["vocab_size"], 8, 96, seed=11)
    mine = duet("logprobs", "-m", adapter, lines=[{"ids": x} for x in ids])
    worst = max(float(np.abs(np.array(line["logprobs"]) - hf_logprobs(model, x)).max()) for x, line in zip(ids, mine, strict=True))
    assert worst <= TOLERANCE, f"log-probs differ by {worst:.2e}"
    return worst


@check("peft opens an adapter of duet, merged alike")
def _(f):
    base, out = f.sft() + "/model", f.path("lora")
    recipe = f.path("lora.yaml")
    with open(recipe, "w") as fh:
        fh.write(f"data: {{task: remainder}}\nmodel: {{path: {base}, lora: {{rank: 4, alpha: 8}}}}\n"
                 "train: {steps: 20, batch: 8, micro_tokens: 2048, lr: 0.01, save_every: 0}\neval: {n: 0}\n")
    duet("sft", recipe, "--out", out, "-q")
    model = PeftModel.from_pretrained(load(base), out + "/model").eval()
    worst = logprobs_between(out + "/model", base, model)
    plain = hf_logprobs(load(base), list(range(20)))
    assert np.abs(plain - hf_logprobs(model, list(range(20)))).max() > 1e-3, "the adapter changes nothing"
    duet("merge", out + "/model", f.path("lora-merged"))
    merged = logprob_difference(f.path("lora-merged"), model.merge_and_unload())
    assert merged <= TOLERANCE, f"merged: log-probs differ by {merged:.2e}"
    return f"log-probs within {worst:.0e}, merged within {merged:.0e}"


@check("duet opens an adapter of peft")
def _(f):
    base, worst = f.bpe("--untied", "--kv-heads", 2, name="f32-untied"), 0.0
    for i, (targets, rank, alpha) in enumerate([("all-linear", 8, 16), (["q_proj", "down_proj"], 3, 5)]):
        torch.manual_seed(i)
        model = get_peft_model(load(base), LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")).eval()
        model.save_pretrained(f.path(f"peft-{i}"))
        worst = max(worst, logprobs_between(f.path(f"peft-{i}"), base, model))
    return f"log-probs within {worst:.0e}"


# ---- models: transformers writes, duet reads ----

def written_by_transformers(f, name, config, dtype, shard):
    folder = f.path("hf-" + name)
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config).float()
    for p in model.parameters():  # away from the tiny initial weights, biases and norms too
        p.data.add_(torch.randn_like(p) * 0.08)
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    files = [x for x in os.listdir(folder) if x.endswith(".safetensors")]
    assert (len(files) > 2) == bool(shard), f"shards: {files}"
    return folder, load(folder), len(files)


SIZES = dict(vocab_size=517, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, bos_token_id=None, eos_token_id=1)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}
YARN = {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 32}
YARN_ALL = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 32, "beta_fast": 16.0,
            "beta_slow": 2.0, "mscale": 0.8, "mscale_all_dim": 0.3, "truncate": False}
GEMMA3 = {**SIZES, "num_hidden_layers": 4, "head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 20,
          "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]}
FOREIGN = {
    "qwen3 float32 tied": (transformers.Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True), torch.float32, None),
    "qwen3 float32 sharded": (transformers.Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=False), torch.float32, "150KB"),
    "qwen3 bfloat16 sharded": (transformers.Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True), torch.bfloat16, "80KB"),
    "qwen2 float32 untied": (transformers.Qwen2Config(**SIZES, tie_word_embeddings=False), torch.float32, None),
    "qwen2 bfloat16 tied, sharded": (transformers.Qwen2Config(**SIZES, tie_word_embeddings=True), torch.bfloat16, "80KB"),
    "llama float32 untied": (transformers.LlamaConfig(**SIZES, tie_word_embeddings=False), torch.float32, None),
    "llama head_dim apart from the width": (transformers.LlamaConfig(**SIZES, head_dim=24, tie_word_embeddings=True), torch.float32, None),
    "llama linear rope": (transformers.LlamaConfig(**SIZES, rope_parameters=LINEAR), torch.float32, None),
    "qwen3 yarn": (transformers.Qwen3Config(**SIZES, head_dim=64, rope_parameters=YARN), torch.float32, None),
    "qwen2 yarn, all of its keys": (transformers.Qwen2Config(**SIZES, rope_parameters=YARN_ALL), torch.float32, None),
    "qwen2 windows in the upper layers": (transformers.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=17, max_window_layers=1),
                                          torch.float32, None),
    "mistral": (transformers.MistralConfig(**SIZES, sliding_window=None), torch.float32, None),
    "mistral windows": (transformers.MistralConfig(**SIZES, sliding_window=16), torch.bfloat16, None),
    "gemma3": (transformers.Gemma3TextConfig(**GEMMA3), torch.float32, None),
    "gemma3 bfloat16 sharded": (transformers.Gemma3TextConfig(**GEMMA3), torch.bfloat16, "80KB"),
    "gemma3 with images": (transformers.Gemma3Config(text_config=GEMMA3, vision_config=dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)), torch.float32, None),
    "gemma3 linear rope": (transformers.Gemma3TextConfig(**GEMMA3, rope_parameters={"full_attention": LINEAR, "sliding_attention": {
        "rope_type": "default", "rope_theta": 3000.0}}), torch.float32, None),
    "llama bfloat16 tied, llama3 rope": (transformers.LlamaConfig(**SIZES, tie_word_embeddings=True, rope_parameters=LLAMA3), torch.bfloat16, None),
}


def add_foreign_check(name, config, dtype, shard):
    @check(f"duet opens {name} of save_pretrained")
    def _(f):
        folder, model, n = written_by_transformers(f, name.replace(" ", "-"), config, dtype, shard)
        return f"{n} file{'s' if n > 1 else ''}, " + same_logprobs(folder, model)


for _name, _args in FOREIGN.items():
    add_foreign_check(_name, *_args)


@check("a longer context by --rope-scaling")
def _(f):
    folder = f.path("hf-short")
    torch.manual_seed(5)
    sizes = {**SIZES, "max_position_embeddings": 48}
    model = AutoModelForCausalLM.from_config(transformers.Qwen3Config(**sizes, head_dim=64)).float()
    for p in model.parameters():
        p.data.add_(torch.randn_like(p) * 0.08)
    model.save_pretrained(folder)
    ids = random_ids(SIZES["vocab_size"], 4, 96, seed=9)
    worst = {}
    for kind in ("yarn", "linear"):
        rope = {"rope_type": kind, "rope_theta": 10000.0, "factor": 2.0, **({"original_max_position_embeddings": 48} if kind == "yarn" else {})}
        config = transformers.Qwen3Config(**sizes, head_dim=64, rope_parameters=rope)
        scaled = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()
        mine = duet("logprobs", "-m", folder, "--rope-scaling", kind + ":2", lines=[{"ids": x} for x in ids])
        worst[kind] = max(float(np.abs(np.array(a["logprobs"]) - hf_logprobs(scaled, x)).max()) for a, x in zip(mine, ids, strict=True))
        assert worst[kind] <= TOLERANCE, f"{kind}: log-probs differ by {worst[kind]:.2e}"
    return ", ".join(f"{k} within {w:.0e}" for k, w in worst.items())


# ---- tokenizers ----

def family_alphabet(folder):
    """The characters a small vocabulary has: its one-byte tokens."""
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as fh:
        return ["\n" if k == "\u010a" else " " if k == "\u0120" else k for k in json.load(fh)["model"]["vocab"] if len(k) == 1]


TOKENIZERS = {
    "trained BPE": lambda f: f.bpe(name="f32-tied"),
    "family register": lambda f: f.init("register", "--family", "register"),
    "family swap": lambda f: f.init("swap", "--family", "swap"),
    "family remainder": lambda f: f.init("remainder", "--family", "remainder"),
}


def add_tokenizer_checks(name, make):
    @check(f"tokenizer of {name}")
    def _(f):
        folder = make(f)
        t = AutoTokenizer.from_pretrained(folder)
        batch = texts(3000, 3, family_alphabet(folder) if name.startswith("family") else None)
        n = same_ids(folder, t, batch)
        same_texts(folder, t)
        config = config_of(folder)
        assert len(t) == config["vocab_size"], f"{len(t)} tokens, config.json says {config['vocab_size']}"
        assert t.eos_token_id in config["eos_token_id"] and t.pad_token_id is not None
        return f"{len(batch)} texts, {n} ids, 600 decoded both ways"

    @check(f"tokenizer of {name}, saved by transformers")
    def _(f):
        folder, copy = make(f), f.path("saved-" + name.replace(" ", "-"))
        t = AutoTokenizer.from_pretrained(folder)
        t.save_pretrained(copy)
        batch = texts(1000, 4, family_alphabet(folder) if name.startswith("family") else None)
        return f"{len(batch)} texts, {same_ids(copy, t, batch)} ids"


for _name, _make in TOKENIZERS.items():
    add_tokenizer_checks(_name, _make)


# ---- chat template ----

def add_spm_check(name):
    @check(f"duet reads the vocabulary of characters {name} as tokenizers does")
    def _(f):
        golden = os.path.join(ROOT, "tests", "golden", "tokenizers", name)
        tokenizer = tokenizers.Tokenizer.from_file(f"{golden}.json")
        batch = texts(600, seed=13)
        want = [e.ids for e in tokenizer.encode_batch(batch, add_special_tokens=False)]
        for kind in ("json", "gguf"):  # merges, and scores
            mine = duet("tokenize", "-m", f"{golden}.{kind}", lines=[{"text": t} for t in batch])
            for t, a, b in zip(batch, mine, want, strict=True):
                assert a["ids"] == b, f"{kind}: {t!r}: duet {a['ids']}, tokenizers {b}"
        mine = duet("tokenize", "-m", f"{golden}.gguf", "--decode", lines=[{"ids": x} for x in want])
        for x, a in zip(want, mine, strict=True):
            assert a["text"] == tokenizer.decode(x, skip_special_tokens=False), f"{x}: duet {a['text']!r}"
        return f"{sum(map(len, want))} ids"


for _name in ("spm-prefix", "spm-plain"):
    add_spm_check(_name)


def questions(n):
    out = duet("task", "remainder", "digits_min=2", "digits_max=3", "--n", n, "--split", "test", "--json")
    return [json.loads(line)["question"] for line in out.split("\n")[:-1]]


@check("chat template: prompts are duet's")
def _(f):
    """duet's prompts are not printed; but the models see them. Greedy answers and token counts of `duet run` must be what
    comes out when transformers' rendering of the same question is continued, by duet and by transformers."""
    folder = f.sft() + "/model"
    t, model = AutoTokenizer.from_pretrained(folder), load(folder)
    n = 0
    for mode, thinking, budget in (("M", True, 40), ("m", False, 12)):
        asked = [{"question": q} for q in questions(24)]
        runs = duet("run", "-M", folder, "-m", folder, "--mode", mode, "--temp", 0, "--signal-budget", 0, "--answer-budget", budget, "--json",
                    lines=asked)
        for q, r in zip(asked, runs, strict=True):
            messages = [{"role": "user", "content": q["question"]}]
            ids = list(t.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=thinking, return_dict=False))
            text = t.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=thinking, tokenize=False)
            assert ids == duet("tokenize", "-m", folder, lines=[{"text": text}])[0]["ids"], f"{text!r}"
            side = r["ledger"][mode]
            assert len(ids) == side["prompt_tokens"], f"{q}: {len(ids)} ids, duet's prompt has {side['prompt_tokens']}"
            line = duet("generate", "-m", folder, "--json", lines=[{"ids": ids, "max_tokens": budget, "temp": 0}])[0]
            spoken = line["ids"]
            want = greedy(model, ids, budget)
            assert spoken == want, f"{text!r}: duet {spoken}, transformers {want}"
            assert len(spoken) == side["output_tokens"], f"{q}: {len(spoken)} tokens from the rendered prompt, duet run had {side['output_tokens']}"
            if mode == "m":
                assert spoken == r["answer_ids"], f"{q}: {spoken} from the rendered prompt, duet run answers {r['answer_ids']}"
            n += 1
    return f"{n} questions, with and without a thought"


@check("chat template: a signal handed over")
def _(f):
    """Stage 2: the signal as the beginning of the assistant's turn, which transformers continues."""
    M, m = f.sft("M") + "/model", f.sft("m") + "/model"
    t, model = AutoTokenizer.from_pretrained(m), load(m)
    asked = [{"question": q} for q in questions(24)]
    runs = duet("run", "-M", M, "-m", m, "--temp", 0, "--signal-budget", 64, "--answer-budget", 8, "--json", lines=asked)
    kept = 0
    for q, r in zip(asked, runs, strict=True):
        thought = "<think>\n" + r["signal"] + "\n</think>\n\n"
        text = t.apply_chat_template([{"role": "user", "content": q["question"]}], add_generation_prompt=True, tokenize=False) + thought
        ids = t(text, add_special_tokens=False)["input_ids"]
        assert len(ids) == r["ledger"]["m"]["prompt_tokens"], f"{q}: {len(ids)} ids, duet's prompt has {r['ledger']['m']['prompt_tokens']}: {text!r}"
        want = greedy(model, ids, 8)
        assert r["answer_ids"] == want, f"{text!r}: duet {r['answer_ids']}, transformers {want}"
        kept += len(r["signal_ids"])
    assert kept > 100, "the signals are too short to say anything"
    return f"{len(runs)} answers, {kept} signal tokens"


# ---- what runs leave ----

def event_scalars(folder):
    from tensorboard.backend.event_processing import event_accumulator
    acc = event_accumulator.EventAccumulator(folder, size_guidance={event_accumulator.SCALARS: 0})
    acc.Reload()
    return {tag: [(e.step, e.value) for e in acc.Scalars(tag)] for tag in acc.Tags()["scalars"]}


def metric_lines(path):
    out = {}
    with open(path) as fh:
        for line in map(json.loads, fh):
            for k, v in line.items():
                if k not in ("step", "time") and v is not None:
                    out.setdefault(k, []).append((line["step"], float(np.float32(v))))
    return out


def same_events(run):
    events, metrics = event_scalars(os.path.join(run, "events")), metric_lines(os.path.join(run, "metrics.jsonl"))
    assert events.keys() == metrics.keys(), f"only on one side: {events.keys() ^ metrics.keys()}"
    for tag in metrics:
        assert events[tag] == metrics[tag], f"{tag}: events {events[tag]}, metrics.jsonl {metrics[tag]}"
    return f"{len(metrics)} tags, {sum(map(len, metrics.values()))} values"


@check("TensorBoard reads a supervised run")
def _(f):
    return same_events(f.sft())


@check("TensorBoard reads a joint run")
def _(f):
    return same_events(f.rl())


@check("TensorBoard reads a resumed run")
def _(f):
    run = f.run("resumed", "sft", SFT, "train.steps=20", "train.save_every=8")
    shutil.rmtree(run + "/checkpoints/step-000020")  # as if it had been killed after step 16
    duet("sft", f.path("resumed.yaml"), "--out", run, "--resume", "-q", "train.steps=20", "train.save_every=8")
    for tag, values in event_scalars(run + "/events").items():
        steps = [s for s, _ in values]
        assert steps == sorted(set(steps)), f"{tag}: steps {steps}"
    return same_events(run)


@check("safetensors opens every file of the runs")
def _(f):
    n = tensors = 0
    for run in (f.sft(), f.rl()):
        for folder, _, names in os.walk(run):
            for name in names:
                if not name.endswith(".safetensors"):
                    continue
                data = safetensors.numpy.load_file(os.path.join(folder, name))
                assert data, f"{folder}/{name} is empty"
                for k, v in data.items():
                    assert np.isfinite(v).all() if v.dtype.kind == "f" else True, f"{folder}/{name}: {k} is not finite"
                n, tensors = n + 1, tensors + len(data)
    assert n >= 4
    return f"{n} files, {tensors} tensors"


@check("safetensors saves our models again")
def _(f):
    """Loaded and saved by the library, a model of ours keeps its log-probs; and our tensor data begins aligned."""
    folder, copy = f.bpe(name="f32-tied"), f.path("copied")
    shutil.copytree(folder, copy)
    data = safetensors.numpy.load_file(folder + "/model.safetensors")
    safetensors.numpy.save_file(data, copy + "/model.safetensors", metadata={"format": "pt"})
    ids = [{"ids": x} for x in random_ids(900, 2, 50, 1)]
    assert duet("logprobs", "-m", folder, lines=ids) == duet("logprobs", "-m", copy, lines=ids)
    with open(folder + "/model.safetensors", "rb") as fh:
        header = int.from_bytes(fh.read(8), "little")
    assert header % 8 == 0, "tensor data is not aligned"
    return f"{len(data)} tensors"


def main():
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    passed = failed = 0
    print(f"duet {duet('version').split()[1]}, transformers {transformers.__version__}, torch {torch.__version__}, safetensors {safetensors.__version__}")
    with tempfile.TemporaryDirectory(prefix="duet-ecosystem-") as root:
        f = Folders(root)
        for name, body in CHECKS:
            if wanted not in name:
                continue
            start = time.time()
            try:
                detail = body(f)
                passed += 1
                print(f"ok    {name}: {detail} ({time.time() - start:.1f} s)", flush=True)
            except Exception as e:
                failed += 1
                print(f"FAIL  {name}: {e if isinstance(e, AssertionError) else traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
