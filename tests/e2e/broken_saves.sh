#!/usr/bin/env bash
# Saving that fails: a file limit, a full disk, a folder nobody may write to. One sentence, exit code 1, and what was saved
# before is still there: resumed with room, the run ends with the bits of one that never failed.
#   broken_saves.sh DUET
set -u
here=$(cd "$(dirname "$0")" && pwd)
duet=$(realpath "$1")
. "$here/tiny.sh"
tmp=$(mktemp -d) || exit 1
mounted=
trap '[ -n "$mounted" ] && umount "$mounted"; rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

fail() {
    echo "broken_saves: $*"
    [ -s log ] && tail -n 5 log
    exit 1
}

# $code and log of a run that must end with 1 and with one sentence that matches.
refused() { # WHAT PATTERN
    [ "$code" -eq 1 ] || fail "$1: exit code $code, wanted 1"
    [ "$(grep -c '^duet: ' log)" -eq 1 ] || fail "$1: not one sentence"
    grep -Eq "^duet: .*$2" log || fail "$1: no word of $2"
}

equal() { # RUN WHAT
    fingerprint "$1" > got
    cmp -s want got || fail "$2: other bits than a run that never failed"
}

steps() { # RUN N [options]: trains up to step N of 12
    local run=$1 n=$2
    shift 2
    "$duet" "$command" recipe.yaml --out "$run" -q "$@" train.steps=12 "train.save_every=$n" -t 1 2> log
    code=$?
}

tiny_pair || fail "no pair"
for command in sft train; do
    rm -rf whole limited
    if [ $command = sft ]; then sft_recipe; else rl_recipe; fi | sed -E 's/every: [0-9]+, n: 8/every: 0, n: 0/' > recipe.yaml
    steps whole 4
    [ $code -eq 0 ] || fail "$command does not run"
    fingerprint whole > want

    # The run reaches step 4, saves, and no later save has room: every file it writes ends at 48 KiB.
    cp -r whole limited
    rm -rf limited/checkpoints/step-000012 limited/{model,M,m}
    [ -d limited/checkpoints/step-000008 ] || fail "$command: no checkpoint at step 8"
    (
        ulimit -f 48 # KiB: enough for the metrics, not for the weights and moments
        "$duet" $command recipe.yaml --out limited -q -t 1 --resume train.steps=12 train.save_every=4 2> log
        echo $? > code
    )
    code=$(cat code)
    refused "$command, limited files" 'File too large'
    [ -d limited/checkpoints/step-000008 ] || fail "$command: a failed save took an older checkpoint with it"
    [ -d limited/checkpoints/step-000012 ] && fail "$command: a failed save left a checkpoint"
    steps limited 4 --resume
    [ $code -eq 0 ] || fail "$command does not go on after a failed save"
    equal limited "$command, limited files"
    echo "$command: limited files: refused, older checkpoint kept, resumed to equal bits"
done

# A disk that is full, where this user may mount one.
mkdir disk
if mount -t tmpfs -o size=160k none disk 2> /dev/null; then
    mounted=$tmp/disk
    sft_recipe | sed -E 's/every: 10, n: 8/every: 0, n: 0/' > recipe.yaml
    command=sft
    rm -rf whole
    steps whole 1
    fingerprint whole > want
    steps disk/run 1
    refused "full disk" 'No space left on device'
    last=$(ls -d disk/run/checkpoints/step-?????? 2> /dev/null | tail -n 1)
    [ -n "$last" ] || fail "full disk: nothing was saved before"
    mount -o remount,size=4m disk
    steps disk/run 1 --resume
    [ $code -eq 0 ] || fail "does not go on once there is room"
    equal disk/run "full disk"
    echo "full disk: refused after ${last##*/}, resumed with room to equal bits"
else
    echo "full disk: skipped: no right to mount a small one"
fi

# A folder that may not be written to. Root may write everywhere, so it tries as somebody else.
mkdir locked && chmod 555 locked && chmod 755 . && cp "$duet" here
try=(./here)
[ "$(id -u)" -eq 0 ] && try=(setpriv --reuid 65534 --clear-groups ./here)
if ! "${try[@]}" --version > /dev/null 2>&1; then
    echo "locked folder: skipped: cannot run as an ordinary user here"
else
    "${try[@]}" sft recipe.yaml --out locked/run -q 2> log
    code=$?
    refused "locked folder" 'locked/run.*Permission denied'
    echo "locked folder: refused before any training"
fi
