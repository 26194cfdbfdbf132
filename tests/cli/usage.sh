#!/bin/sh
# Every command: --help on standard output with an example and status 0; a wrong option, too few
# arguments and an unknown command on standard error with status 2.
moesim=${builddir:-build}/moesim
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# expect STATUS STREAM PART ARGUMENT...: PART is in STREAM, and the other stream is empty.
expect() {
    want=$1 stream=$2 part=$3
    shift 3
    "$moesim" "$@" >"$work/out" 2>"$work/err"
    status=$?
    other=out
    [ "$stream" = out ] && other=err
    if [ $status -ne "$want" ] || ! grep -qF -- "$part" "$work/$stream" || [ -s "$work/$other" ]; then
        echo "FAILED moesim $*: status $status, wanted $want and '$part' in std$stream alone"
        cat "$work/out" "$work/err"
        failed=1
    fi
}

expect 2 err "Usage: moesim COMMAND"
expect 0 out "Usage: moesim COMMAND" --help
expect 0 out "moesim 0" --version
expect 2 err "'anlyze' is not a command; did you mean 'analyze'?" anlyze
expect 2 err "'x' is not a command; see moesim --help" x
for command in $("$moesim" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    expect 0 out "Example:" "$command" --help
    expect 0 out "moesim $command" "$command" -h
    expect 2 err "Unknown option --nonsense; see moesim $command --help" "$command" --nonsense
done
for command in import analyze run plot show; do
    expect 2 err "too few arguments" "$command"
done
for command in analyze run plot show; do
    expect 2 err "too many arguments" "$command" a b
done
expect 2 err "-o FILE is missing" trace olmoe-tiny sample
expect 2 err "either texts or --prompt are needed" generate olmoe-tiny
expect 2 err "either texts or --prompt are needed" generate olmoe-tiny sample --prompt x
expect 2 err "--length goes with texts, not with --prompt" generate olmoe-tiny --prompt x --length 3
expect 2 err "--seed, --top-k and --top-p go with a --temperature above 0" generate olmoe-tiny sample --seed 2
expect 2 err "--temperature: write 0 (greedy) or a number" generate olmoe-tiny sample --temperature=-1
expect 2 err "--top-p: write a number above 0, at most 1" \
    generate olmoe-tiny sample --temperature 1 --top-p 2
expect 2 err "--tokens: 1024 leave no room for a prompt in olmoe-tiny's context of 1024" \
    generate olmoe-tiny sample --tokens 1024
expect 3 err "1028 tokens are more than olmoe-tiny's context of 1024" \
    generate olmoe-tiny --prompt "Once upon a time" --tokens 1024 -q
expect 3 err "the texts hold no tokens" generate olmoe-tiny --prompt ""
expect 2 err "--memory: '4' has no unit; write 4MB" trace olmoe-tiny sample -o x --memory 4
expect 2 err "--memory goes with a text" trace --synthetic zipf --tokens 64 -o x --memory 4GB
expect 2 err "a model and a text are needed" trace -o x olmoe-tiny
expect 2 err "-o FILE is missing" import x.npy
expect 2 err "--golden and one or more folders go together" verify --golden
expect 2 err "--golden and one or more folders go together" verify folder
expect 2 err "--measured goes with one case; name it" validate --measured x

# Options that would change nothing.
expect 2 err "--set goes with --synthetic only" trace olmoe-tiny sample -o x --set seed=2
expect 2 err "--length goes with a text, not with --synthetic; write --set sequence_length=N" \
    trace --synthetic zipf --tokens 64 --length 8 olmoe-tiny -o x
expect 2 err "--no-special goes with a text, not with --synthetic" \
    trace --synthetic zipf --tokens 64 --no-special olmoe-tiny -o x
expect 2 err "--set: kind is given by --synthetic already" \
    trace --synthetic zipf --tokens 64 --set kind=uniform olmoe-tiny -o x
expect 2 err "--set: tokens is given by --tokens already" \
    trace --synthetic zipf --tokens 64 --set tokens=65 olmoe-tiny -o x
expect 2 err "--synthetic: tokens: missing" trace --synthetic zipf olmoe-tiny -o x
expect 2 err "--model goes with --golden only" verify --model olmoe-tiny
expect 2 err "--seed goes with the kernels, not with --golden" verify --golden x --seed 2
expect 2 err "the name of the file to write is empty" trace --synthetic zipf --tokens 64 olmoe-tiny -o ""

# Texts are UTF-8 whatever the locale; names of files are bytes.
latin=$(printf 'caf\351')
expect 2 err "--set: 'name=caf\\xe9' is not UTF-8" run quickstart --set "name=$latin"
expect 2 err "--format: 'caf\\xe9' is not known" plot x --format "$latin"
expect 2 err "--synthetic: kind: 'größe' is not known" trace --synthetic größe --tokens 64 olmoe-tiny -o x
exit $failed
