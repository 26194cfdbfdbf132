#!/bin/sh
# Generation: the text and the trace do not depend on the number of threads, a seed decides what is
# sampled, an end-of-text token ends a text, and the trace routes as one of the same tokens does.
set -e
top=$(cd "${srcdir:-.}" && pwd)
PATH=$(cd "${builddir:-build}" && pwd):$PATH
export PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "$1"
    exit 1
}

for n in 1 3; do
    moesim generate olmoe-tiny sample --length 20 --texts 2 --tokens 12 --temperature 0.9 --top-k 50 \
        --threads $n -o $n.safetensors >$n.txt
done
cmp 1.txt 3.txt
cmp 1.safetensors 3.safetensors
moesim show 1.safetensors | grep -q "64 in 2 sequences" || fail "not 2 texts of 20 + 12 tokens"
moesim analyze 1.safetensors -q
moesim generate olmoe-tiny sample --length 20 --texts 2 --tokens 12 --temperature 0.9 --seed 2 >other.txt
if cmp -s 1.txt other.txt; then fail "another seed, the same text"; fi

# The prompt and what follows, greedily; a smaller limit gives the beginning of it.
moesim generate olmoe-tiny --prompt "Once upon a time" --tokens 9 -o written.safetensors >long
moesim generate olmoe-tiny --prompt "Once upon a time" --tokens 4 >short
grep -q "^Once upon a time" long || fail "the text lacks its prompt"
case $(cat long) in
"$(cat short)"*) ;;
*) fail "fewer tokens are not the beginning of more" ;;
esac

# What was written, read back, routes the same way; the largest difference of a weight is rounding.
printf %s "$(cat long)" >long.txt
moesim trace olmoe-tiny long.txt -q -o read.safetensors
for trace in read written; do
    moesim show $trace.safetensors | sed '/workload/d; /^trace/d' >$trace
    moesim analyze $trace.safetensors | sed 1d >$trace.load
done
cmp read written
cmp read.load written.load

# Where every token ends the text nothing is written, unless that is to be ignored.
mkdir model
cp "$top"/models/presets/olmoe-tiny/* model/
printf '{"eos_token_id": [%s]}' "$(seq -s , 0 4095)" >model/generation_config.json
[ "$(moesim generate model --prompt "Once upon a time" --tokens 9)" = "Once upon a time" ] ||
    fail "the text goes on behind its end"
moesim generate model --prompt "Once upon a time" --tokens 9 --ignore-end | cmp - long
