#!/usr/bin/env bash
# Installs torch for the CPU: torch_cpu.sh PYTHON.
# The registry's wheel for Linux links against 2 GB of CUDA libraries that a CPU run loads and never calls. Without them
# `import torch` fails; here one small library stands in for all of them, whose functions only say "failed", so that torch
# finds no GPU. The CUDA runtime alone, which torch calls to look for GPUs, is the real one: it is small.
set -euo pipefail
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
torch=2.15.0 cudart=13.2.86

"$python" -m pip install -q --disable-pip-version-check --no-deps "torch==$torch" "nvidia-cuda-runtime==$cudart"
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
cd "$site/torch/lib"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

rm -f libnocuda.so
find . -maxdepth 1 -type l -lname libnocuda.so -delete
{ ls; find "$site/nvidia" -name '*.so*' -printf '%f\n'; } | sort -u > "$tmp/present"
readelf -d ./*.so | sed -n 's/.*(NEEDED).*\[\(lib\(cu\|nccl\|nv\).*\)\]/\1/p' | sort -u | { grep -vxFf "$tmp/present" || true; } > "$tmp/missing"
[ -s "$tmp/missing" ] || exit 0 # a wheel without CUDA

# name or name@VERSION of what torch wants from them: undefined there and defined nowhere
find . "$site/nvidia" -name '*.so*' -exec nm -D --defined-only {} + 2> /dev/null | awk 'NF == 3 {sub(/@.*/, "", $3); print $3}' > "$tmp/defined"
nm -D --undefined-only ./*.so | awk '$1 == "U" && $2 ~ /^(_*cu|nccl|nv)/ {print $2}' | sort -u |
    awk 'NR == FNR {defined[$1]; next} {name = $1; sub(/@.*/, "", name)} !(name in defined)' "$tmp/defined" - > "$tmp/wanted"
awk -F@ '{printf "int %s(void) { return 1; }\n", $1}' "$tmp/wanted" > "$tmp/nocuda.c"
awk -F@ 'NF > 1 {names[$2] = names[$2] " " $1 ";"} END {for (v in names) print v " {" names[v] " };"}' "$tmp/wanted" > "$tmp/nocuda.map"
gcc -w -shared -fPIC -fno-builtin "$tmp/nocuda.c" -Wl,--version-script="$tmp/nocuda.map" -o libnocuda.so
while read -r name; do ln -s libnocuda.so "$name"; done < "$tmp/missing"
"$python" -W ignore -c 'import torch; assert not torch.cuda.is_available()'
