#!/bin/sh
# Same inputs, same bytes: a trace with 1, 2 and 3 threads, and two runs of one scenario.
set -e
PATH=$(cd "${builddir:-build}" && pwd):$PATH
export PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for n in 1 2 3; do
    moesim trace olmoe-tiny sample --tokens 6000 --threads $n -q -o $n.safetensors
done
cmp 1.safetensors 2.safetensors
cmp 1.safetensors 3.safetensors
for n in 1 2; do
    moesim run quickstart --set routing=1.safetensors -q -o run$n
done
diff -r run1 run2
for n in 1 2; do
    moesim trace --synthetic zipf --tokens 5000 olmoe-tiny -q -o z$n.safetensors
done
cmp z1.safetensors z2.safetensors
