#!/bin/sh
# The manual and --help name the same commands, options, keys and examples.
page=${srcdir:-.}/sim/cli/moesim.1
moesim=${builddir:-build}/moesim
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0

# The page without markup: one option, key or sentence per line as written.
sed 's/\\-/-/g; s/\\e$/\\/; s/\\fI//g; s/\\fR//g' "$page" >"$work/page"

compare() {
    sort -u -o "$work/a" "$work/a"
    sort -u -o "$work/b" "$work/b"
    if ! diff "$work/a" "$work/b" >"$work/diff"; then
        echo "$1: < only in --help or the tables, > only in the manual"
        cat "$work/diff"
        status=1
    fi
}

"$moesim" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' >"$work/commands"
sed -n 's/^\.SS "moesim \([a-z]*\).*/\1/p' "$work/page" >"$work/b"
cp "$work/commands" "$work/a"
compare commands

while read -r command; do
    "$moesim" "$command" --help | sed -nE 's/^  (-., )?(--[a-z-]+).*/\2/p' |
        grep -vxE -- '--(help|quiet|verbose|golden)' | sort -u >"$work/a"
    sed -n "/^\.SS \"moesim $command/,/^\.S[SH] /p" "$work/page" | grep -E '^\.(B|BR) -' |
        grep -oE -- '--[a-z-]+' | grep -vxE -- '--(help|quiet|verbose|golden)' >"$work/b"
    compare "options of $command"
    "$moesim" "$command" --help | sed -n '/^Example:/,$s/^  //p' | while read -r line; do
        first=$(echo "$line" | cut -c1-60)
        grep -qF "$first" "$work/page" || echo "$command: the manual lacks the example: $line"
    done >"$work/missing"
    if [ -s "$work/missing" ]; then
        cat "$work/missing"
        status=1
    fi
done <"$work/commands"

# Keys: the tables against the sections of the manual.
section() {
    sed -n "/^\.SH $1\$/,/^\.SH /p" "$work/page" | grep -A1 '^\.TP' | grep -E '^\.(B|BR) ' |
        sed 's/^\.[BR]* //; s/" *, *"/ /g; s/[",:]/ /g' | tr ' ' '\n' | grep -E '^[a-z][a-z0-9_.]+$'
}
keys() {
    "$moesim" show --keys "$1" | sed -n '2,$s/^  \([a-z][a-z0-9_.]*\) .*/\1/p'
}
for pair in scenario:SCENARIO collective:COLLECTIVE topology:TOPOLOGY kernels:KERNELS gpu:GPU "model:MODEL SHAPES" "synthetic:SYNTHETIC ROUTING" case:CASE; do
    keys "${pair%%:*}" >"$work/a"
    section "${pair#*:}" >"$work/b"
    compare "keys of ${pair%%:*}"
done

if command -v man >/dev/null && man -l --warnings "$page" 2>&1 >/dev/null | grep .; then
    echo "man complains about the page"
    status=1
fi
exit $status
