#!/usr/bin/env bash
# A run that is killed at random moments and resumed ends with the bits of a run that nobody disturbed.
#   kill_resume.sh DUET N [sft|rl]...     N trials of each kind (default: both)
# A trial: SIGKILL at a random moment, --resume, perhaps killed again, and so on to the end; one and two threads in turn.
# Compared: weights, the whole last checkpoint (moments, lambda, guards), metrics without times, samples. Then the same
# with Ctrl-C (SIGINT), which must save and end with 130. SEED=n draws other moments. Prints one line a kind.
set -u
here=$(cd "$(dirname "$0")" && pwd)
duet=$(realpath "$1") trials=$2
shift 2
RANDOM=${SEED:-1}
. "$here/tiny.sh"
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

fail() {
    echo "kill_resume: $*"
    [ -s log ] && tail -n 5 log
    exit 1
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

start() { # RUN THREADS [--resume]
    local run=$1 threads=$2
    shift 2
    "$duet" "$command" recipe.yaml --out "$run" -t "$threads" "$@" 2> log &
    pid=$!
}

# Starts a run and sends SIGNAL after a random part of the time a whole run takes; sets `code`.
disturbed() { # SIGNAL RUN THREADS [--resume]
    local signal=$1
    shift
    start "$@"
    sleep "$(awk -v r=$RANDOM -v ms="$whole_ms" 'BEGIN { printf "%.3f", r / 32768 * ms / 1000 }')"
    kill "-$signal" "$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
    code=$?
}

resume_and_compare() { # RUN THREADS
    start "$1" "$2" --resume
    wait "$pid" || fail "$kind: $1 does not resume"
    fingerprint "$1" > got
    if ! cmp -s want got; then
        diff want got
        diff <(timeless whole/metrics.jsonl) <(timeless "$1/metrics.jsonl") | head -n 6
        fail "$kind: $1 differs from the undisturbed run (SEED=${SEED:-1})"
    fi
}

killed() {
    local i run kills=0 early=0
    for ((i = 0; i < trials; i++)); do
        run=killed-$i
        while :; do # until a kill arrived in time
            rm -rf "$run"
            disturbed KILL "$run" $((1 + i % 2))
            [ $code -eq 137 ] && break
            [ $code -eq 0 ] || fail "$kind: exit code $code before it was killed"
            early=$((early + 1))
        done
        kills=$((kills + 1))
        while ((RANDOM % 2)); do
            disturbed KILL "$run" $((1 + i % 2)) --resume
            [ $code -eq 137 ] || [ $code -eq 0 ] || fail "$kind: exit code $code of a resumed run"
            [ $code -eq 137 ] && kills=$((kills + 1))
        done
        resume_and_compare "$run" $((2 - i % 2))
        rm -rf "$run"
    done
    echo "$kind: $trials runs killed, $kills kills at random moments of $whole_ms ms, all equal ($early ended before the kill)"
}

interrupted() {
    local i run stops=0 tries=0
    for ((i = 0; i < trials; i++)); do
        run=stopped-$i
        while :; do # until it came while the run was going
            rm -rf "$run"
            disturbed INT "$run" 1
            [ $code -eq 0 ] || break
            tries=$((tries + 1))
            [ $tries -lt 200 ] || fail "$kind: never interrupted"
        done
        [ $code -eq 130 ] || fail "$kind: exit code $code after Ctrl-C, wanted 130"
        grep -q 'interrupted; what was done is saved' log || fail "$kind: Ctrl-C is not answered"
        ls -d "$run"/checkpoints/step-?????? > /dev/null 2>&1 || fail "$kind: Ctrl-C saved nothing"
        stops=$((stops + 1))
        resume_and_compare "$run" 1
        rm -rf "$run"
    done
    echo "$kind: $stops runs interrupted (130) and resumed, all equal"
}

[ $# -gt 0 ] || set -- sft rl
for kind; do
    case $kind in
    sft) command=sft ;;
    rl) command=train && { [ -d M ] || taught_pair || fail "no pair to train"; } ;;
    *) fail "unknown kind $kind" ;;
    esac
    rm -rf whole
    "${kind}_recipe" > recipe.yaml
    began=$(now_ms)
    start whole 1
    wait "$pid" || fail "$kind: the undisturbed run fails"
    whole_ms=$(($(now_ms) - began))
    fingerprint whole > want
    [ "$(wc -l < whole/metrics.jsonl)" -gt 10 ] || fail "$kind: hardly any metrics"
    killed
    interrupted
done
