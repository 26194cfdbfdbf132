#!/bin/sh
# Every header compiles alone, and a guard keeps it from being read twice.
cd "${srcdir:-.}" || exit 1
status=0
for header in kernels/*.h sim/base/*.h topologies/*.h models/*.h workloads/*.h sim/*.h sim/cli/*.h \
    tests/unit/*.h; do
    # shellcheck disable=SC2086 # lists of flags
    if ! printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
        ${CC:-cc} -std=gnu17 -Wall -Wextra -Werror -Wno-psabi -Wno-unused-function -fsyntax-only \
            -I. -I"${builddir:-build}" $LINT_CFLAGS -x c -; then
        echo "$header does not compile alone"
        status=1
    fi
done
exit $status
