# For the tests in this folder (sourced): a tiny pair, tiny recipes, and what of a run must not depend on how it came about.
# Needs $duet; works in the current folder. Settings of the caller's environment are dropped.
export LC_ALL=C TERM=dumb
while IFS='=' read -r name _; do
    case $name in DUET_KERNEL) ;; DUET_*) unset "$name" ;; esac
done < <(env)

tiny_pair() { # folders M and m
    "$duet" init M --family remainder --layers 1 --width 16 --heads 2 --seed 1 --ctx 256 --init-range 0.4 > /dev/null &&
        "$duet" init m --family remainder --layers 1 --width 16 --heads 2 --seed 2 --ctx 256 --init-range 0.4 > /dev/null
}

# A pair that has learned a little: M closes its thoughts, m sometimes answers right. Made once.
taught_pair() {
    cat > teach.yaml << 'EOF'
data: {task: remainder, knobs: "digits_min=2 digits_max=2 p_verbose=0 p_compact=1"}
model: {init: {layers: 1, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64, ctx: 256}}
train: {steps: 120, batch: 32, micro_tokens: 1024, lr: 1e-2, save_every: 0}
eval: {n: 0}
log: {every: 1000}
EOF
    "$duet" sft teach.yaml --out teach-M -q -t 1 2> /dev/null &&
        "$duet" sft teach.yaml --out teach-m -q -t 1 data.role=m data.empty=0.2 seed=2 2> /dev/null &&
        mv teach-M/model M && mv teach-m/model m
}

sft_recipe() {
    cat << 'EOF'
seed: 5
data: {task: remainder, knobs: "digits_min=2 digits_max=3"}
model: {init: {layers: 1, width: 16, heads: 2, kv_heads: 1, head_dim: 8, ffn: 32, ctx: 256}}
train: {steps: 60, batch: 8, micro_tokens: 512, lr: 3e-3, schedule: cosine, warmup: 5, save_every: 4, keep: 2}
eval: {every: 10, n: 8, max_tokens: 40}
log: {every: 1}
EOF
}

rl_recipe() {
    cat << 'EOF'
seed: 5
data: {task: remainder, knobs: "digits_min=2 digits_max=2"}
M: {path: M, samples: 4, response_max: 40, minibatch: 8}
m: {path: m, samples: 2, response_max: 6}
penalty: {lambda0: 0.05, eta: 0.05, bound: 10}
kl: {in_reward: true}
train: {steps: 16, questions: 6, micro_tokens: 512, lr: 1e-3, schedule: linear, warmup: 2, save_every: 3, keep: 2}
eval: {every: 4, n: 8, max_tokens: 40}
log: {every: 1}
EOF
}

# metrics.jsonl without what a clock decides.
timeless() {
    sed -E 's#"(time|eval/seconds|perf/[A-Za-z_]+|timing/[A-Za-z_]+)": ?[-+.0-9eE]+,? ?##g' "$1"
}

# One line for each thing that must be equal: weights, optimizer and guards of the last checkpoint, metrics, samples.
fingerprint() { # RUN
    local f last
    last=$(find "$1/checkpoints" -mindepth 1 -maxdepth 1 -name 'step-*' | sort | tail -n 1)
    for f in "$1"/{model,M,m}/model.safetensors "$last"/{model,M,m}.safetensors "$1/samples.jsonl"; do
        [ -f "$f" ] && echo "${f#"$1"/} $(sha256sum < "$f")"
    done
    echo "state $(sed -E 's/"seconds": ?[-+.0-9eE]+//' "$last/state.json")"
    echo "metrics $(timeless "$1/metrics.jsonl" | sha256sum)"
}
