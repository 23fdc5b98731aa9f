#!/usr/bin/env bash
# Runs one command-line case and compares exit code, stdout and stderr with the files next to it.
#   run.sh DUET CASE             run; 0 = as expected, 77 = skipped
#   run.sh --accept DUET CASE    write what came out as what is expected
# A case is a folder: `cmd` (bash, run in an empty folder with $DUET, $ROOT, $SHARED and the helpers below), and what is
# expected: `out` and `err` (missing = nothing), `code` (missing = 0).
set -u
accept=false
[ "${1:-}" = --accept ] && accept=true && shift
here=$(cd "$(dirname "$0")" && pwd)
duet=$(realpath "$1")
case=$(realpath "$2")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

while IFS='=' read -r name _; do
    case $name in DUET_KERNEL) ;; DUET_*) unset "$name" ;; esac
done < <(env)
export DUET=$duet ROOT=${here%/tests/cli} SHARED=${here%/tests/cli}/../shared LC_ALL=C TERM=dumb NO_COLOR= DUET_THREADS=1

# For the cases: a tiny pair with random weights, in folders M and m; and a visible skip.
models() {
    "$DUET" init M --family register --layers 1 --width 16 --heads 2 --seed 1 --ctx 256 > /dev/null &&
        "$DUET" init m --family register --layers 1 --width 16 --heads 2 --seed 2 --ctx 256 --init-range 0.5 > /dev/null
}
skip() {
    echo "skipped: $*" > "$tmp/skip"
    exit 77
}
export tmp
export -f models skip

mkdir "$tmp/work"
(cd "$tmp/work" && exec bash -u "$case/cmd") > "$tmp/out" 2> "$tmp/err" < /dev/null
code=$?
if [ -f "$tmp/skip" ]; then
    cat "$tmp/skip"
    exit 77
fi
if $accept; then
    rm -f "$case/out" "$case/err" "$case/code"
    [ -s "$tmp/out" ] && cp "$tmp/out" "$case/out"
    [ -s "$tmp/err" ] && cp "$tmp/err" "$case/err"
    [ "$code" -eq 0 ] || echo "$code" > "$case/code"
    exit 0
fi
bad=0
want=0
[ -f "$case/code" ] && want=$(cat "$case/code")
if [ "$code" -ne "$want" ]; then
    echo "$(basename "$case"): exit code $code, wanted $want"
    bad=1
fi
for s in out err; do
    expected=$case/$s
    [ -f "$expected" ] || expected=/dev/null
    if ! cmp -s "$expected" "$tmp/$s"; then
        echo "$(basename "$case"): std$s differs (- wanted, + got)"
        diff -u "$expected" "$tmp/$s" | tail -n +3
        bad=1
    fi
done
exit $bad
