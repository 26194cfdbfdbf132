#!/bin/sh
# compare.sh [BUILD [ROUNDS]] - prefill by moesim, by llama.cpp (llama-cpp-python, built from its source) and by
# transformers on the same weights, in one go: a table, and compare.csv in the build folder (build).
# Needs python3-venv, cmake and g++; the peers go into BUILD/peers, some gigabytes.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$top/build}" && pwd)
peers=${PEERS:-$build/peers}
if [ ! -x "$peers/bin/python" ]; then
    python3 -m venv "$peers"
fi
if ! "$peers/bin/python" -c 'import llama_cpp, torch, transformers, gguf' 2>/dev/null; then
    "$peers/bin/pip" install --quiet numpy safetensors gguf torch transformers==4.57.3
    "$peers/bin/pip" install --quiet --no-binary llama-cpp-python llama-cpp-python
fi
make -s -C "$build" tests/bench/prefill
mkdir -p "$build/compare"
exec "$peers/bin/python" "$top/tests/bench/compare.py" --prefill "$build/tests/bench/prefill" \
    --tiny "$top/models/presets/olmoe-tiny" --work "$build/compare" --csv "$build/compare.csv" \
    --threads "$(nproc)" --rounds "${2:-2}"
