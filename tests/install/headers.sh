#!/usr/bin/env bash
# Compiles each public header alone, warnings as errors: headers.sh COMPILER FLAG...
set -euo pipefail
cd "$(dirname "$0")/../.."
compiler=$1
shift
case $compiler in *NOTFOUND*) echo "skipped: no C++ compiler"; exit 77 ;; esac
n=0
for h in include/duet/*.h; do
    printf '#include "duet/%s"\n' "$(basename "$h")" |
        "$compiler" "$@" -Wall -Wextra -Wpedantic -Wshadow -Werror -Iinclude -fsyntax-only - || { echo "$h does not compile alone"; exit 1; }
    n=$((n + 1))
done
[ "$n" -gt 0 ]
echo "$n headers compile alone"
