#!/usr/bin/env bash
# The shipped pairs do what their cards say: shipped_pairs.sh DUET. On 150 held-out questions each: M end to end at 97 % or
# more, the pair within a point of it or better than 97 %, m alone and foreign signals at 35 % at most, 60 % of M's tokens saved.
set -euo pipefail
duet=$(realpath "$1")
cd "$(dirname "$0")/../.."
check() { # check FAMILY KNOBS
    "$duet" eval -M "models/$1-M" -m "models/$1-m" --before-M "models/$1-M-before" --before-m "models/$1-m-before" \
        --task "$1,$2" -n 150 --seed 5 --quiet | tee /dev/stderr | awk -v family="$1" '
        function fail(what) { print family ": " what; bad = 1 }
        { gsub(/ %/, "") }
        /^M end to end, before/ { seen++; if ($6 < 97) fail("M end to end is right in " $6 " %") }
        /^m alone/              { seen++; if ($4 > 35) fail("m alone is right in " $4 " %") }
        /^pair, after/          { seen++; if ($3 < 97) fail("the pair is right in " $3 " %"); if ($NF < 60) fail("saved " $NF " %") }
        /^pair, shuffled/       { seen++; if ($3 > 35) fail("with foreign signals " $3 " % are right") }
        END { if (seen != 4) fail("rows are missing"); exit bad }'
}
check register depth=2..8,distract=0..4
check swap places=4..5,swaps=3..16
