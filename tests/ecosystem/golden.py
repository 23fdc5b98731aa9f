"""Makes tests/golden/ anew: tiny random models of transformers with what transformers says about some tokens.

    .venv-ecosystem/bin/python tests/ecosystem/golden.py      (script/test-ecosystem makes .venv-ecosystem)

tests/golden/README.md says what is in them."""
import json
import os
import shutil

import numpy as np
import safetensors.numpy
import torch
import transformers

transformers.utils.logging.set_verbosity_error()
OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "golden")
SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
             max_position_embeddings=256, bos_token_id=2, eos_token_id=1, pad_token_id=0, tie_word_embeddings=True, dtype="bfloat16")
MODELS = {
    "gemma3": transformers.Gemma3TextConfig(
        **SIZES, head_dim=16, query_pre_attn_scalar=24, sliding_window=11,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 100000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}),
    "linear": transformers.LlamaConfig(**SIZES, head_dim=16, rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0}),
    "yarn": transformers.Qwen3Config(**SIZES, head_dim=32, rope_parameters={
        "rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 4.0, "beta_slow": 1.0}),
    "mistral": transformers.MistralConfig(**SIZES, head_dim=16, sliding_window=7),
}


def expected(model, n_vocab):
    out = {}
    r = np.random.default_rng(3)
    for i, length in enumerate((71, 18)):
        ids = r.integers(0, n_vocab, length)
        with torch.no_grad():
            logits = model(torch.tensor(ids[None])).logits[0].double()
        lp = torch.log_softmax(logits, -1)
        out[f"tokens.{i}"] = ids.astype(np.int32)
        out[f"logits.{i}"] = logits.float().numpy()
        out[f"logprobs.{i}"] = lp[:-1].gather(-1, torch.tensor(ids)[1:, None])[:, 0].numpy()
        out[f"entropy.{i}"] = -(lp.exp() * lp).sum(-1).numpy()
    return out


def main():
    for name, config in MODELS.items():
        folder = os.path.join(OUT, name)
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(11)
        model = transformers.AutoModelForCausalLM.from_config(config).float()
        for p in model.parameters():  # large enough that every part of a layer matters; norms and biases too
            p.data.add_(torch.randn_like(p) * 0.25)
        model.to(torch.bfloat16).save_pretrained(folder)
        os.remove(os.path.join(folder, "generation_config.json"))
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        tensors = expected(model, config.vocab_size)
        safetensors.numpy.save_file(tensors, os.path.join(folder, "expected.safetensors"))
        print(name, {f: os.path.getsize(os.path.join(folder, f)) for f in sorted(os.listdir(folder))},
              "logits up to", float(np.abs(tensors["logits.0"]).max()), json.dumps(config.to_dict().get("rope_parameters")))


main()
