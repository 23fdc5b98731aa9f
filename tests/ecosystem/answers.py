"""Compares duet verify with the Python package math-verify, pair by pair.

    answers.py DUET [FILE...]    FILE: JSON lines {"gold","pred","expected"}; default: the repository's own pairs

One line a file and side: right of all, false yes, false no, pairs a second. Exit 1 if duet has a false yes. math-verify takes LaTeX from math
signs only, so bare answers with LaTeX in them are put in $...$ for it.
"""
import json
import logging
import os
import subprocess
import sys
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

from math_verify import parse, verify


def dressed(text):
    bare = not any(mark in text for mark in ("$", "\\(", "\\[", "\\boxed")) and text.count(" ") < 6
    return f"${text}$" if bare and text else text


def theirs(row):
    try:
        gold, pred = (parse(dressed(row[k])) for k in ("gold", "pred"))
        return bool(verify(gold, pred))
    except Exception:  # what it raises counts as no; its own time limit (5 s) stays on: 10^{10^{10}} would run for ever
        return False


def ours(duet, rows):
    text = "".join(json.dumps({"gold": r["gold"], "pred": r["pred"]}) + "\n" for r in rows)
    run = subprocess.run([duet, "verify"], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line)["equal"] for line in run.stdout.splitlines()]


def main():
    duet, files = sys.argv[1], sys.argv[2:] or [os.path.join(os.path.dirname(__file__), "..", "task", "answer_cases.jsonl")]
    bad = 0
    for path in files:
        rows = [json.loads(line) for line in open(path, encoding="utf-8")]
        sides = {"duet": lambda: ours(duet, rows), "math-verify": lambda: [theirs(r) for r in rows]}
        for name, side in sides.items():
            start = time.perf_counter()
            got = side()
            seconds = time.perf_counter() - start
            yes = [r for r, g in zip(rows, got) if g and not r["expected"]]
            no = [r for r, g in zip(rows, got) if not g and r["expected"]]
            right = len(rows) - len(yes) - len(no)
            print(f"{os.path.basename(path)}: {name}: {right} of {len(rows)}, {len(yes)} false yes, {len(no)} false no, {len(rows) / seconds:.0f} a second")
            for kind, some in (("false yes", yes), ("false no", no)):
                for r in some if "-v" in os.environ.get("ANSWERS", "") else []:
                    print(f"    {kind}: {r['gold']} | {r['pred']}")
            bad += name == "duet" and len(yes) > 0
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
