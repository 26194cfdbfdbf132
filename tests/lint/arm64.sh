#!/bin/sh
# Every source compiles for arm64 (with a cross compiler, where it is installed).
cd "${srcdir:-.}" || exit 1
cc=aarch64-linux-gnu-gcc
command -v $cc >/dev/null || {
    echo "skipped: $cc is not installed"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What configure finds on x86-64 alone.
sed 's/#define HAVE_TARGET_CLONES.*//' "${builddir:-build}/config.h" >"$work/config.h"
status=0
find kernels models sim topologies workloads -name '*.c' >"$work/list"
while read -r file; do
    # shellcheck disable=SC2086 # words
    $cc -std=gnu17 -O2 -Wall -Werror -fopenmp -ffp-contract=off -I"$work" -I. $LINT_CFLAGS -idirafter /usr/include \
        -DMOESIM_BUILDDIR='""' -DMOESIM_DATADIR='""' -DMOESIM_SRCDIR='""' -c "$file" -o "$work/object.o" || status=1
done <"$work/list"
exit $status
