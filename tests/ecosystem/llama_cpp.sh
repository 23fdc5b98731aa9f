#!/usr/bin/env bash
# GGUF files against llama.cpp: what `duet convert` writes opens there and gives the same log-probs, text and token ids.
#   LLAMA_CPP=DIR [LLAMA_CPP_SOURCE=DIR] llama_cpp.sh DUET
# LLAMA_CPP holds libllama.so and the programs, LLAMA_CPP_SOURCE the source tree (for its headers; default $LLAMA_CPP/../..).
set -euo pipefail
duet=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
golden=$root/../shared/golden/models
if [ -z "${LLAMA_CPP:-}" ]; then
    echo "skipped: LLAMA_CPP does not name a folder with llama.cpp's libraries"
    exit 77
fi
lib=$(realpath "$LLAMA_CPP")
source=${LLAMA_CPP_SOURCE:-$lib/../..}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cc -O2 -I"$source/include" -I"$source/ggml/include" "$root/tests/ecosystem/llama_check.c" -L"$lib" -Wl,-rpath,"$lib" -lllama \
    -lggml -lggml-base -lm -o "$tmp/llama_check"
failed=0

# same NAME MOST MEAN A B: two files of numbers, line by line; prints the largest and the mean difference.
same() {
    paste -d '\n' "$4" "$5" | awk -v name="$1" -v most="$2" -v mean="$3" '
        NR % 2 { n = split($0, a); next }
        { if (split($0, b) != n || n == 0) { print name ": lines of different length"; exit 1 }
          for (i = 1; i <= n; i++) { d = a[i] - b[i]; if (d < 0) d = -d; if (d > worst) worst = d; sum += d; count++ } }
        END { if (!count) { print name ": nothing to compare"; exit 1 }
              printf "%-40s %6d log-probs, largest difference %.5f, mean %.6f\n", name, count, worst, sum / count
              exit worst > most || sum / count > mean }' || { echo "FAILED: $1"; failed=1; }
}
equal() {
    if cmp -s "$2" "$3"; then echo "$1: equal"; else
        echo "FAILED: $1"
        diff "$2" "$3" | head -4 || true
        failed=1
    fi
}
ids() { jq -r "$1 | map(tostring) | join(\" \")" "$2"; }
ours() { sed 's/ /,/g; s/.*/{"ids":[&]}/' "$2" | "$duet" logprobs -m "$1" -t 1 | jq -r '.logprobs | map(tostring) | join(" ")'; }

# check MODEL TYPE FOLDER MOST MEAN: the file with this type against the folder, which counts in float32; then duet and
# llama.cpp with the same file: llama.cpp rounds what it multiplies with quantised weights to 8 bits, hence the bound
check() {
    local name=$1-$2 from=$3
    "$duet" convert "$from" "$tmp/$name.gguf" -q --type "$2" > /dev/null
    ours "$from" "$tmp/ids" > "$tmp/folder"
    "$tmp/llama_check" "$tmp/$name.gguf" logprobs < "$tmp/ids" > "$tmp/theirs"
    same "$name, llama.cpp and the folder" "$4" "$5" "$tmp/theirs" "$tmp/folder"
    if "$duet" logprobs -m "$tmp/$name.gguf" < /dev/null 2> /dev/null; then
        ours "$tmp/$name.gguf" "$tmp/ids" > "$tmp/file"
        same "$name, llama.cpp and duet" 1 0.15 "$tmp/theirs" "$tmp/file"
    fi
}

if [ -d "$golden" ]; then
    for model in qwen3-tiny qwen3-tiny-sharded qwen2-tiny llama-tiny; do
        json=$golden/${model%-sharded}/expected.json
        ids '.cases[].tokens | select(length > 1 and length < 4000)' "$json" > "$tmp/ids"
        ids '.greedy[].prompt' "$json" > "$tmp/prompts"
        ids '.greedy[].continuation' "$json" > "$tmp/continuations"
        check $model f32 "$golden/$model" 0.002 0.0001
        "$tmp/llama_check" "$tmp/$model-f32.gguf" greedy 64 < "$tmp/prompts" > "$tmp/greedy"
        equal "$model-f32: greedy text" "$tmp/greedy" "$tmp/continuations"
        check $model f16 "$golden/$model" 0.1 0.01
        # random weights with logits up to 18: rounding moves their log-probs far; this finds wrong bytes, not lost quality
        check $model q8_0 "$golden/$model" 2 0.2
        check $model q6_k "$golden/$model" 4 0.5
        check $model q4_k_m "$golden/$model" 20 2
        check $model q4_0 "$golden/$model" 20 2
    done
    ids '.cases[].tokens | select(length > 1 and length < 4000)' "$golden/qwen3-tiny-bf16/expected.json" > "$tmp/ids"
    check qwen3-tiny-bf16 f32 "$golden/qwen3-tiny-bf16" 0.002 0.0001
    check qwen3-tiny-bf16 bf16 "$golden/qwen3-tiny-bf16" 0.5 0.05 # llama.cpp rounds what it multiplies with to BF16 as well
    printf '%s\n' 'The quick brown fox.' "it's 1234 o'clock" 'tabs	and  spaces' '<|im_start|>user' 'ünïcödé 漢字' > "$tmp/texts"
    "$tmp/llama_check" "$tmp/qwen3-tiny-f32.gguf" tokens < "$tmp/texts" > "$tmp/theirs"
    jq -R -c '{text: .}' "$tmp/texts" | "$duet" tokenize -m "$golden/qwen3-tiny" | jq -r '.ids | map(tostring) | join(" ")' > "$tmp/mine"
    equal "qwen3-tiny: token ids" "$tmp/theirs" "$tmp/mine"
    for spm in spm-prefix spm-plain; do # SentencePiece's BPE, in a model with room for it
        vocab=$root/tests/golden/tokenizers/$spm
        mkdir "$tmp/$spm"
        cp "$golden/qwen3-tiny/"*.safetensors "$tmp/$spm"
        jq '.bos_token_id = 1 | .eos_token_id = 2' "$golden/qwen3-tiny/config.json" > "$tmp/$spm/config.json"
        cp "$vocab.json" "$tmp/$spm/tokenizer.json"
        "$duet" convert "$tmp/$spm" "$tmp/$spm.gguf" -q --type f32 > /dev/null
        jq -c 'select(.text | length > 0 and (explode | all(. != 0 and . != 10 and . != 13)))' "$vocab.jsonl" > "$tmp/lines" # a text a line
        jq -r '.text' "$tmp/lines" > "$tmp/texts"
        jq -r '.ids | map(tostring) | join(" ")' "$tmp/lines" > "$tmp/ids"
        "$tmp/llama_check" "$tmp/$spm.gguf" tokens < "$tmp/texts" > "$tmp/theirs"
        equal "$spm: token ids of $(wc -l < "$tmp/texts") texts" "$tmp/theirs" "$tmp/ids"
    done
else
    echo "skipped: golden models: ../shared/golden is not there"
fi

# of other families; what llama.cpp has no key for is set as it implies it: beta_fast 32, queries scaled by the head's width
ids_of() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "%d%s", (i * i * 37 + 11 * i + 5) % 64, i + 1 < n ? " " : "\n" }'; }
for model in linear yarn gemma3 mistral; do
    cp -r "$root/tests/golden/$model" "$tmp/$model"
    sed -i 's/"beta_fast": 4.0/"beta_fast": 32.0/; s/"query_pre_attn_scalar": 24/"query_pre_attn_scalar": 16/' "$tmp/$model/config.json"
    ids_of $([ $model = mistral ] && echo 7 || echo 40) > "$tmp/ids" # it knows no window in mistral
    check $model f32 "$tmp/$model" 0.005 0.001 # its GELU goes through a table of half floats
    check $model q8_0 "$tmp/$model" 2 0.2
done

jq -n -c --arg t "c? c=d+1 d=e-3 a=6 e=a+4" '{text: $t}' | "$duet" tokenize -m "$root/models/register-M" | jq -r '.ids | map(tostring) | join(" ")' > "$tmp/ids"
check register-M f32 "$root/models/register-M" 0.002 0.0001
check register-M bf16 "$root/models/register-M" 0.2 0.05
check register-M q8_0 "$root/models/register-M" 0.5 0.1
exit $failed
