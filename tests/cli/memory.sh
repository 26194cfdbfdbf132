#!/bin/sh
# Memory does not grow with the square of a sequence: the same tokens as one sequence of 16,384 (whose
# attention weights would be 1 GiB per head) need at most 64 MB more than cut into sequences of 128.
set -e
top=$(cd "${srcdir:-.}" && pwd)
build=$(cd "${builddir:-build}" && pwd)
PATH=$build:$PATH
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

# A bound on the memory: a checkpoint of 0.4 GB is traced in half of that, pages of its file included,
# with the same result; what cannot be done is refused with what it would take.
"$build/tests/size/checkpoint" small large
cp "$top/models/presets/olmoe-tiny/tokenizer.json" large/
trace() {
    moesim trace large "$top/workloads/presets/sample/shakespeare.txt" --tokens 1024 "$@"
}
trace -q -o free.safetensors
bounded=$(trace --memory 200MB -v -o bounded.safetensors | sed -n 's/.*peak memory \([0-9.]*\) MB.*/\1/p')
echo "within 200 MB: $bounded MB"
awk -v bounded="$bounded" 'BEGIN {exit !(bounded > 0 && bounded < 200)}'
cmp free.safetensors bounded.safetensors
if trace --memory 50MB -q -o refused.safetensors 2>error; then
    echo "it fits in 50 MB?"
    exit 1
fi
grep -q "1024 tokens of this model need about [0-9.]* MB of memory" error || { cat error; exit 1; }
need=$(sed -n 's/.*need about \([0-9.]*\) MB of memory.*/\1/p' error)
trace --memory "${need}MB" -q -o enough.safetensors || { echo "the $need MB that it named are not enough"; exit 1; }
cmp free.safetensors enough.safetensors
