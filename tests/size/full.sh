#!/bin/sh
# Models of true size, by hand: full.sh olmoe|deepseek FOLDER [OPTION...] writes the checkpoint to
# FOLDER (13.8 or 15.3 GB, unless it is there), traces 4,096 tokens of it and prints the largest resident
# memory, pages of files included, beside the time. OPTION: of moesim trace, such as --memory 2GiB or
# --tokens 512. Remove FOLDER afterwards. Run it from the top of the source, with build/ built.
set -e
[ $# -ge 2 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
model=$1 folder=$2
shift 2
[ -e "$folder/config.json" ] || build/tests/size/checkpoint "$model" "$folder"
cp models/presets/olmoe-tiny/tokenizer.json "$folder/"
build/moesim trace "$folder" sample --tokens 4096 --length 4096 -v --force -o "$folder/trace.safetensors" "$@"
