#!/bin/sh
# Runs every folder of tests/cli/cases in a scratch folder of its own:
#
#   cmd          shell lines; moesim is on PATH, $top is the top of the source, $case the case's folder
#   stdout       what they print (absent: not looked at); UPDATE=1 rewrites it
#   stderr-has   lines that must each occur in standard error (absent: it must be empty)
#   status       the exit status (absent: 0)
#
# Arguments name cases to run instead of all.
top=$(cd "${srcdir:-.}" && pwd) || exit 1
PATH=$(cd "${builddir:-build}" && pwd):$PATH
export top PATH
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0
total=0

fail() {
    echo "FAILED $1: $2"
    bad=1
}

run_case() {
    name=$1
    case=$top/tests/cli/cases/$name
    export case
    bad=
    rm -rf "$work/run"
    mkdir "$work/run"
    (cd "$work/run" && sh -e "$case/cmd") >"$work/stdout" 2>"$work/stderr"
    status=$?
    want=$(cat "$case/status" 2>/dev/null || echo 0)
    [ "$status" -eq "$want" ] || fail "$name" "exit status $status instead of $want"
    if [ -n "${UPDATE:-}" ] && [ -e "$case/stdout" ]; then
        cp "$work/stdout" "$case/stdout"
    elif [ -e "$case/stdout" ] && ! diff "$case/stdout" "$work/stdout" >"$work/diff"; then
        fail "$name" "standard output differs (< expected, > printed)"
        cat "$work/diff"
    fi
    if [ -e "$case/stderr-has" ]; then
        while IFS= read -r line; do
            grep -qF -- "$line" "$work/stderr" || fail "$name" "standard error lacks: $line"
        done <"$case/stderr-has"
    elif [ -s "$work/stderr" ]; then
        fail "$name" "standard error is not empty"
    fi
    if [ -n "$bad" ]; then
        sed 's/^/    /' "$work/stderr"
        failed=$((failed + 1))
    fi
    total=$((total + 1))
}

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names without blanks
    set -- $(ls "$top/tests/cli/cases")
fi
for name; do
    run_case "$name"
done
echo "$total cases, $failed failed"
[ "$failed" -eq 0 ]
