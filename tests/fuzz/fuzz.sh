#!/bin/sh
# fuzz.sh BUILD [TARGET...] - builds the fuzz targets in BUILD with clang's libFuzzer and the sanitizers, and
# runs each (all, unless named) for $FUZZ_SECONDS (60), starting from its corpus. What it finds stays in
# BUILD/finds; a crash ends it with the input that caused it.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
cd "$1"
shift
[ -e config.status ] || "$source/configure" --silent --enable-fuzzing CC=clang "CFLAGS=-g -O1"
make -s tests/fuzz/fuzz
[ $# -gt 0 ] || set -- "$source"/tests/fuzz/corpus/*
for target; do
    target=$(basename "$target")
    mkdir -p "finds/$target"
    echo "== $target"
    tests/fuzz/fuzz "--target=$target" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=20 -rss_limit_mb=4096 \
        -verbosity=0 -print_final_stats=1 -artifact_prefix="finds/crash-$target-" \
        "finds/$target" "$source/tests/fuzz/corpus/$target"
done
