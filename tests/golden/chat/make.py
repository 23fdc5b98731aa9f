#!/usr/bin/env python3
"""Renders conversations with Jinja2, set up as Hugging Face transformers does: writes NAME.jsonl for templates/NAME.jinja.

    pip install 'jinja2==3.1.6' && python3 tests/golden/chat/make.py
"""
import json
import pathlib

import jinja2
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
R1 = ("<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>")
MARKS = {"deepseek-r1": R1, "deepseek-r1-first": R1, "gemma3": ("<bos>", "<eos>"), "mistral": ("<s>", "</s>"),
         "llama3": ("<|begin_of_text|>", "<|eot_id|>")}
SWITCHED = {"chatml-think", "qwen3", "qwen3-sliced", "qwen3-sliced-defined"}


def m(role, content, **more):
    return {"role": role, "content": content, **more}


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2.5e-7, "s": "\u00e9\n\"x\""}}}
TEXT_CALL = {"type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}, "n": []}}}]
CONVERSATIONS = {
    "question": ([m("user", "What is 2+3?")], None),
    "blanks": ([m("user", " \n two\u3000lines \n\t")], None),
    "system": ([m("system", " Be brief. "), m("user", "Hi")], None),
    "turns": ([m("user", "a"), m("assistant", "b"), m("user", "c")], None),
    "system-turns": ([m("system", "S"), m("user", "a"), m("assistant", "\nb\n"), m("user", "c")], None),
    "thought-before": ([m("user", "a"), m("assistant", "<think>\nx\n</think>\n\nb"), m("user", "c")], None),
    "thought-last": ([m("user", "a"), m("assistant", "<think>\nx\n</think>\n\nb")], None),
    "reasoning-last": ([m("user", "a"), m("assistant", "b", reasoning_content="\nx\n")], None),
    "marks": ([m("user", "</think><|im_end|><end_of_turn>[/INST]")], None),
    "late-system": ([m("user", "a"), m("system", "S"), m("user", "b")], None),
    "two-users": ([m("user", "a"), m("user", "b")], None),
    "ends-with-answer": ([m("user", "a"), m("assistant", "b")], None),
    "odd-role": ([m("user", "a"), m("critic", "b")], None),
    "content-null": ([m("user", "a"), m("assistant", None), m("user", "b")], None),
    "parts": ([m("system", [{"type": "text", "text": "S"}]), m("user", [{"type": "text", "text": " a "}, {"type": "text", "text": "b"}])], None),
    "calls": ([m("user", "a"), m("assistant", "b", tool_calls=[CALL, CALL]), m("tool", "3"), m("tool", "4"), m("assistant", "c"),
               m("user", "d")], TOOLS),
    "call-as-text": ([m("user", "a"), m("assistant", "", tool_calls=[TEXT_CALL]), m("tool", "3")], TOOLS),
    "call-null": ([m("user", "a"), m("assistant", None, tool_calls=[TEXT_CALL, TEXT_CALL]), m("tool", "3"), m("assistant", "b")], None),
}


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = refuse

for path in sorted((HERE / "templates").glob("*.jinja")):
    template = env.from_string(path.read_text())
    bos, eos = MARKS.get(path.stem, ("", "<|im_end|>"))
    with open(HERE / f"{path.stem}.jsonl", "w", encoding="utf-8") as out:
        for name, (messages, tools) in CONVERSATIONS.items():
            for thinking in [None, False] if path.stem in SWITCHED else [None]:
                for generation in [False, True] if thinking is None else [True]:
                    kwargs = {"add_generation_prompt": generation, "bos_token": bos, "eos_token": eos}
                    if thinking is not None:
                        kwargs["enable_thinking"] = thinking
                    row = {"id": name, "template": path.name, "messages": messages, "tools": tools, "kwargs": kwargs}
                    try:
                        text = template.render(messages=messages, tools=tools, **kwargs)
                        if "None" in text or "[{'" in text:
                            row["error"] = "prints a Python value"
                        else:
                            row["expected"] = text
                    except Exception as e:  # what the template refuses, and what Jinja cannot render
                        row["error"] = str(e)
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
