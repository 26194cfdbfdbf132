#!/bin/sh
# A trace that is killed goes on after the last block that was kept, and has the same bytes; what was
# kept of another run, or is damaged, is refused.
set -e
top=$(cd "${srcdir:-.}" && pwd)
build=$(cd "${builddir:-build}" && pwd)
PATH=$build:$PATH
export PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "$1"
    exit 1
}

# Blocks that take long enough to be kept.
"$build/tests/size/checkpoint" small model
cp "$top/models/presets/olmoe-tiny/tokenizer.json" model/
text=$top/workloads/presets/sample/shakespeare.txt
trace() {
    moesim trace model "$text" --tokens "${tokens:-2500}" --threads 1 "$@"
}
trace -q -o whole.safetensors
[ ! -e whole.safetensors.part ] || fail "a finished trace left what was kept"

# Killed as soon as something is kept.
moesim trace model "$text" --tokens 2500 --threads 1 -q -o cut.safetensors &
pid=$!
while kill -0 $pid 2>/dev/null && [ ! -e cut.safetensors.part ]; do
    sleep 0.02
done
kill -KILL $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
[ ! -e cut.safetensors ] || fail "it was not cut off"
[ -e cut.safetensors.part ] || fail "nothing was kept"
cp cut.safetensors.part saved.part

trace -o cut.safetensors >out
grep -q "^resumed at block [2-4] of 4 from cut.safetensors.part" out || fail "it began anew: $(cat out)"
cmp cut.safetensors whole.safetensors
[ ! -e cut.safetensors.part ] || fail "what was kept is still there"

# Other text: refused, unless it is to begin anew.
cp saved.part other.safetensors.part
if tokens=100 trace -q -o other.safetensors 2>err; then fail "another run's state was used"; fi
grep -q "other.safetensors.part: what was kept of a run is of another one" err || fail "$(cat err)"
tokens=100 trace -q -o other.safetensors --force
# Another precision: refused.
cp saved.part rounded.safetensors.part
if trace -q -o rounded.safetensors --precision bf16 2>err; then fail "an exact state went on in bf16"; fi
grep -q "rounded.safetensors.part: what was kept of a run is of another one" err || fail "$(cat err)"
# Another place to go on at: refused.
LC_ALL=C sed 's/\("next_block": *"\)[0-9]/\19/' saved.part >moved.safetensors.part
cmp -s saved.part moved.safetensors.part && fail "next_block was not found"
if trace -q -o moved.safetensors 2>err; then fail "a state of another block was used"; fi
grep -q "moved.safetensors.part: " err || fail "$(cat err)"
# Nothing that was kept of a run: refused, with what to do.
echo notes >noted.safetensors.part
if trace -q -o noted.safetensors 2>err; then fail "notes were used as a state"; fi
grep -q "noted.safetensors.part: .*; remove it, or begin anew with --force" err || fail "$(cat err)"
# A byte in the middle changed: refused. Left alone with --no-resume.
size=$(stat -c %s saved.part)
printf X | dd of=saved.part bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
cp saved.part broken.safetensors.part
if trace -q -o broken.safetensors 2>err; then fail "damaged state was used"; fi
grep -q "broken.safetensors.part: what was kept of a run is damaged" err || fail "$(cat err)"
