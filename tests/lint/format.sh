#!/bin/sh
# Sources are formatted as .clang-format says (checked with version 14); scripts pass shellcheck.
cd "${srcdir:-.}" || exit 1
status=0
format=$(command -v clang-format-14 || command -v clang-format) || {
    echo "skipped: clang-format is not installed"
    exit 77
}
case $("$format" --version) in
*version\ 14.*) ;;
*)
    echo "skipped: clang-format is not version 14, and others format differently"
    exit 77
    ;;
esac
find kernels models sim topologies workloads tests -name '*.[ch]' -exec \
    "$format" --dry-run -Werror {} + || status=1
if command -v shellcheck >/dev/null; then
    shellcheck -x quickstart runtests .ci/run .ci/setup.sh tests/*/*.sh || status=1
fi
# The longest files and functions are the first to grow beyond reading.
find kernels models sim topologies workloads -name '*.[ch]' -exec wc -l {} + |
    awk '$2 != "total" && $1 > 600 {print $2 ": " $1 " lines; at most 600"; bad = 1} END {exit bad}' || status=1
exit $status
