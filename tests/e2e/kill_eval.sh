#!/usr/bin/env bash
# An evaluation that is killed at random moments, and gone on with, ends with the files of one that nobody disturbed.
#   kill_eval.sh DUET TRIALS QUESTIONS [OUT]     8 samples a question: two repeats in modes M, m, duet and shuffled
# A trial: SIGKILL at random moments of the time a whole run takes, until a run comes to its end; threads and the number of
# samples in flight differ from run to run. Every other trial has two processes on one store, in one folder or in two. Compared:
# samples.jsonl, results.json, eval.json, table.txt, report.html. Then the same with Ctrl-C (SIGINT, 130). SEED=n draws other
# moments. OUT: what is printed goes there too.
set -u
here=$(cd "$(dirname "$0")" && pwd)
duet=$(realpath "$1") trials=$2 questions=$3
RANDOM=${SEED:-1}
models=$here/../../models
tmp=$(mktemp -d) || exit 1
trap 'kill $(jobs -p) 2> /dev/null; rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

fail() {
    echo "kill_eval: $* (SEED=${SEED:-1})"
    tail -n 5 log* 2> /dev/null
    exit 1
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }
# The fingerprint says how many threads there were: -t stays, -b moves.
start() { # LOG OUT [option...]
    local log=$1 out=$2
    shift 2
    "$duet" eval -M "$models/register-M" -m "$models/register-m" --task register,depth_max=4 -n "$questions" -k 2 --temp 0.8 \
        --seed 5 -t 1 -b $((1 + RANDOM % 24)) --signal-budget 120 --answer-budget 8 --out "$out" "$@" > /dev/null 2> "$log" &
    pid=$!
}
random_sleep() { sleep "$(awk -v r=$RANDOM -v ms="$whole_ms" 'BEGIN { printf "%.3f", r / 32768 * ms / 1000 }')"; }
same() { # FOLDER
    local f
    for f in samples.jsonl results.json eval.json table.txt report.html; do
        cmp -s "whole/$f" "$1/$f" || { diff <(head -c 100000 "whole/$f") <(head -c 100000 "$1/$f") | head -n 5; fail "$1/$f differs from the undisturbed run"; }
    done
    for f in "$1"/*.tmp; do [ -e "$f" ] && fail "$f is left over"; done
}

began=$(now_ms)
start log whole
wait $pid || fail "the undisturbed run fails"
whole_ms=$(($(now_ms) - began))
samples=$(wc -l < whole/samples.jsonl)
[ "$samples" -eq $((8 * questions)) ] || fail "$samples samples"

kills=0
for ((i = 0; i < trials; i++)); do
    two=$((i % 2)) share=$((i % 4 == 3))
    store=() other=run
    [ $share -eq 1 ] && store=(--store shared.db) && other=run2
    for ((tries = 0; ; tries++)); do
        # the first try of a trial is killed early, so that there is something to go on with
        start log run "${store[@]}"
        one=$pid second=
        [ $two -eq 1 ] && start log2 $other "${store[@]}" && second=$pid
        if [ $tries -lt 40 ]; then
            random_sleep
            kill -KILL $one $second 2> /dev/null
        fi
        wait $one 2> /dev/null
        code=$?
        [ -z "$second" ] || { wait "$second" 2> /dev/null; code2=$?; [ $code2 -eq 137 ] || [ $code2 -eq 0 ] || fail "exit code $code2 of the second process"; [ $code2 -eq 0 ] || code=137; }
        [ $code -eq 137 ] || [ $code -eq 0 ] || fail "exit code $code"
        [ $code -eq 0 ] && [ $tries -gt 0 ] && break
        [ $code -eq 137 ] && kills=$((kills + 1))
        [ $code -eq 0 ] && rm -rf run run2 shared.db* # it was faster than the first kill: once more
    done
    same run
    [ -d run2 ] && same run2
    rm -rf run run2 shared.db*
done

stops=0
while [ $stops -lt $(((trials + 3) / 4)) ]; do
    start log run
    random_sleep
    kill -INT $pid 2> /dev/null
    wait $pid
    code=$?
    if [ $code -eq 130 ]; then
        grep -q 'run.store.db keeps [0-9]* samples: the same command\|interrupted' log || fail "Ctrl-C is not answered"
        [ -d run ] && start log run && { wait $pid || fail "does not go on after Ctrl-C"; same run; }
        stops=$((stops + 1))
    fi
    rm -rf run
done
line="$trials evaluations of $samples samples killed, $kills kills at random moments of $whole_ms ms, $stops stopped by Ctrl-C: all equal"
echo "$line"
[ -z "${4:-}" ] || echo "$line" >> "$4"
