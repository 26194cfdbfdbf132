#!/bin/sh
# Every file of the corpora goes through its target once.
builddir=${builddir:-build}
status=0
for folder in "${srcdir:-.}"/tests/fuzz/corpus/*/; do
    target=$(basename "$folder")
    for file in "$folder"*; do
        timeout 60 "$builddir/tests/fuzz/fuzz" "$target" "$file" >"replay.$$" 2>&1 || {
            echo "$target: $file: exit $?"
            tail -n 20 "replay.$$"
            status=1
        }
    done
    echo "$target: $(find "$folder" -type f | wc -l) inputs"
done
rm -f "replay.$$"
exit $status
