#!/bin/sh
# Memory does not grow with the square of a sequence: the same tokens as one sequence of 16,384 (whose
# attention weights would be 1 GiB per head) need at most 64 MB more than cut into sequences of 128.
set -e
top=$(cd "${srcdir:-.}" && pwd)
PATH=$(cd "${builddir:-build}" && pwd):$PATH
export PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir model
cp "$top"/models/presets/olmoe-tiny/* model/
chmod u+w model/*
sed -i 's/"max_position_embeddings": 1024/"max_position_embeddings": 16384/' model/config.json

# peak LENGTH: the peak in MB, as moesim trace -v gives it.
peak() {
    moesim trace model "$top/workloads/presets/sample/shakespeare.txt" --tokens 16384 --length "$1" \
        -v -o "$1.safetensors" 2>&1 | sed -n 's/.*peak memory \([0-9.]*\) MB.*/\1/p'
}

short=$(peak 128)
long=$(peak 16384)
moesim show 16384.safetensors | grep -q "16,384 in 1 sequence," || { echo "not one sequence"; exit 1; }
echo "128: $short MB, 16384: $long MB"
awk -v short="$short" -v long="$long" 'BEGIN {exit !(short > 0 && long > 0 && long < short + 64)}'
