#!/usr/bin/env bash
# Installs a build into a temporary prefix, moves it, and uses it from outside through pkg-config alone, with the shared
# library, with the archive, and without any shared library.
#   tree.sh CMAKE BUILD_FOLDER COMPILER [FLAG...]     FLAGs: what the library was built with and its users need too
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cmake=$1 build=$2 cc=$3
shift 3
flags=("$@")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "$*"; exit 1; }
command -v pkg-config > /dev/null || fail "pkg-config is missing: script/bootstrap installs it"

"$cmake" --install "$build" --prefix "$tmp/first" > "$tmp/log" || { cat "$tmp/log"; exit 1; }
mv "$tmp/first" "$tmp/prefix"
prefix=$tmp/prefix

# ---- what is there ----
lib=$(dirname "$(find "$prefix" -name libduet.a)")
for f in "$lib"/libduet.so "$lib"/libduet.so.0 "$lib"/pkgconfig/libduet.pc "$prefix"/bin/duet \
    "$prefix"/share/bash-completion/completions/duet "$prefix"/share/man/man1/duet.1 "$prefix"/share/man/man1/duet-run.1; do
    [ -e "$f" ] || fail "not installed: ${f#"$prefix"/}"
done
diff -r "$root/include/duet" "$prefix/include/duet" || fail "the installed headers differ"
diff <(cd "$root/docs/man" && ls) <(ls "$prefix/share/man/man1") || fail "the installed man pages differ"
"$prefix/bin/duet" version > /dev/null || fail "the installed program does not run"
bash -c 'source "$1" && complete -p duet' bash "$prefix/share/bash-completion/completions/duet" > /dev/null || fail "the completion does not load"

# ---- what the shared library exports: all that the headers declare, and nothing else ----
nm -D --defined-only "$lib/libduet.so" | awk 'NF == 3 {print $3}' | sort -u > "$tmp/exported"
cat "$prefix"/include/duet/*.h | "$cc" -x c -std=c11 -fpreprocessed -dD -E -P - 2> /dev/null |
    grep -oE '\bduet_[A-Za-z0-9_]+\(' | tr -d '(' | sort -u > "$tmp/declared"
[ "$(wc -l < "$tmp/declared")" -gt 50 ] || fail "the headers were not read: $(wc -l < "$tmp/declared") functions found"
diff "$tmp/declared" "$tmp/exported" || fail "(< declared, > exported) libduet.so does not export what the headers declare"

# ---- a program of somebody else's ----
export PKG_CONFIG_PATH=$lib/pkgconfig
pc() { pkg-config "$@" libduet || fail "pkg-config $* libduet failed"; }
[ "$(pc --modversion)" = "$("$prefix/bin/duet" version | awk '{print $2}')" ] || fail "libduet.pc and duet disagree on the version"
own=(-std=c11 -Wall -Wextra -Wpedantic -Werror "${flags[@]}" "$root/examples/answer.c")
"$cc" "${own[@]}" $(pc --cflags --libs) -o "$tmp/answer-shared" || fail "answer.c does not link with the shared library"
"$cc" "${own[@]}" $(pc --static --cflags --libs | sed 's/-lduet\b/-l:libduet.a/') -o "$tmp/answer-archive" ||
    fail "answer.c does not link with libduet.a"
kinds=(shared archive)
# Every library that is here as an archive, from the archive. (No -static: Debian ships FLINT as a shared library only, and what
# its archive of libcurl needs is not here.)
archives=()
for word in $(pc --static --cflags --libs); do
    name=${word#-l}
    case $word in -lm | -lpthread | -lc | -lcurl) ;; -l*) [ "$("$cc" -print-file-name="lib$name.a")" = "lib$name.a" ] && [ "$name" != duet ] || word=-l:lib$name.a ;; esac
    archives+=("$word")
done
[[ " ${archives[*]} " == *" -l:libduet.a "*" -l:libjansson.a "* ]] || fail "the archives were not found: ${archives[*]}"
"$cc" "${own[@]}" "${archives[@]}" -o "$tmp/answer-static" || fail "answer.c does not link with archives: ${archives[*]}"
kinds+=(static)
needs() { LD_LIBRARY_PATH=$lib ldd "$1" > "$tmp/needed" || fail "ldd $1 failed"; grep -q "$2" "$tmp/needed"; } # a file: grep -q would break ldd's pipe
needs "$tmp/answer-shared" "libduet.so.0 => $lib" || fail "answer-shared does not use the installed library: $(cat "$tmp/needed")"
! needs "$tmp/answer-archive" libduet || fail "answer-archive still wants libduet.so"
! needs "$tmp/answer-static" 'libduet\|libjansson\|libpcre2\|libcyaml' || fail "answer-static still wants $(cat "$tmp/needed")"

cd "$tmp"
for who in M m; do
    "$prefix/bin/duet" init "$who" --family register --layers 1 --width 16 --heads 2 --seed 1 --ctx 256 > /dev/null
done
export LD_LIBRARY_PATH=$lib
question='a=3 b=a+2 b?'
# The answer must be the one that `duet run` gives, line by line; seconds differ, so the ledger's must only be there.
"$prefix/bin/duet" run -M M -m m "$question" | sed -n '/^answer: /,$p' | sed '$d' > wanted
[ "$(head -c 50 wanted | wc -c)" = 50 ] || fail "the random pair says too little to compare: $(cat wanted)"
for kind in "${kinds[@]}"; do
    "./answer-$kind" M m "$question" > out 2> err || { cat err; fail "answer-$kind failed on a random pair"; }
    [ ! -s err ] || { cat err; fail "answer-$kind wrote to stderr"; }
    sed -n '/^answer: /,/^hand-over: /p' out | sed '$d' | diff wanted - || fail "answer-$kind does not answer as duet run does"
    tail -n 2 out | head -n 1 | grep -qx 'hand-over: [a-z]*' || { cat out; fail "answer-$kind prints no hand-over"; }
    tail -n 1 out | grep -q '^M [0-9]*+[0-9]* tokens .*, cost [0-9.]*$' || { cat out; fail "answer-$kind prints no ledger line"; }
done

# ---- its errors ----
code() { local rc=0; "$@" > out 2> err || rc=$?; echo "$rc"; }
[ "$(code ./answer-shared)" = 2 ] || fail "no arguments: exit code is not 2"
[ "$(code ./answer-shared M nowhere q)" = 1 ] && grep -q nowhere err || { cat err; fail "a missing folder: wrong exit code or sentence"; }
[ "$(code ./answer-shared M m $'bad \xff')" = 1 ] && grep -q UTF-8 err || { cat err; fail "a question that is not UTF-8: wrong exit code or sentence"; }
[ "$(./answer-shared M m "$question" 2> err > /dev/full; echo $?)" = 1 ] && grep -q 'could not be written' err || { cat err; fail "a full disk: wrong exit code or sentence"; }
echo "installed, moved, linked (${kinds[*]}), answered"
