#!/bin/sh
# Runs every ```sh block of the README, in order, in a scratch copy of the top of the source (links), with
# moesim on PATH.
set -e
top=$(cd "${srcdir:-.}" && pwd)
PATH=$(cd "${builddir:-build}" && pwd):$PATH
export PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for entry in "$top"/*; do
    ln -s "$entry" "$work/"
done
cd "$work"
rm -rf build
# shellcheck disable=SC2016 # backquotes of Markdown
sed -n '/^```sh$/,/^```$/{/^```/!p}' README.md >commands
[ "$(grep -c '^moesim' commands)" -ge 15 ] || { echo "the README lost its commands"; exit 1; }
sh -ex commands >out 2>err || {
    tail -20 out err
    exit 1
}
# What the text says will be there.
for file in sample.safetensors law.safetensors runs/ep16/run.json runs/ep16/step.pdf runs/ep16/timeline.svg; do
    [ -s $file ] || { echo "the README's commands did not write $file"; exit 1; }
done
