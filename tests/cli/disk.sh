#!/bin/sh
# A full disk, unwritable places and files that are in the way: status 1, one line that names the file, and
# nothing left behind or lost.
PATH=$(cd "${builddir:-build}" && pwd):$PATH
export PATH
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
top=$(cd "${srcdir:-.}" && pwd) || exit 1
cd "$work" || exit 1
failed=0

# failed_with STATUS PART WHAT: looks at the file err.
failed_with() {
    if [ "$1" -ne 1 ] || ! grep -qF -- "$2" err || [ "$(wc -l <err)" -ne 1 ]; then
        echo "FAILED $3: status $1; wanted 1 and '$2', got:"
        cat err
        failed=1
    fi
    rm -f out err
}

# fails PART COMMAND...
fails() {
    part=$1
    shift
    "$@" >out 2>err
    failed_with $? "$part" "$*"
}

trace="moesim trace --synthetic balanced --tokens 20000 olmoe-tiny"
# shellcheck disable=SC2086 # words
{
    if [ -c /dev/full ]; then
        fails "/dev/full: cannot be written: No space left on device" $trace -o /dev/full
        [ -c /dev/full ] || { echo "FAILED: /dev/full was replaced"; failed=1; }
        moesim show h800 >/dev/full 2>err
        failed_with $? "standard output cannot be written" "show > /dev/full"
    fi
    # Folders are made for what is written, and for nothing else.
    $trace -o new/folder/t.safetensors >out 2>err
    [ -s new/folder/t.safetensors ] || { echo "FAILED: no folder was made"; cat err; failed=1; }
    fails "File too large" sh -c "trap '' XFSZ && ulimit -f 64 && $trace -o other/folder/t.safetensors"
    [ ! -e other ] || { echo "FAILED: an empty folder was left"; failed=1; }
    mkdir folder
    fails "folder: is a folder; give the name of a file" $trace -o folder
    echo mine >mine.safetensors
    fails "mine.safetensors: exists already; add --force to replace it" $trace -o mine.safetensors
    [ "$(cat mine.safetensors)" = mine ] || { echo "FAILED: a file was lost"; failed=1; }
    # A disk that fills up on the way: files may not grow beyond 64 blocks of 512 bytes.
    (trap '' XFSZ && ulimit -f 64 && $trace -o big.safetensors >out 2>err)
    failed_with $? "big.safetensors: cannot be written: File too large" "a limited file"
    ls big.safetensors* 2>/dev/null && { echo "FAILED: half a file was left"; failed=1; }

    # Stopped at any time: nothing, or all of it.
    for delay in 0.02 0.05 0.1 0.15 0.2 0.25 0.3; do
        timeout -s INT $delay $trace -q --force -o stopped.safetensors
        ls stopped.safetensors.* 2>/dev/null && { echo "FAILED: stopped after $delay s"; failed=1; }
    done

    # A pipe keeps its reader until all is written.
    mkfifo pipe
    $trace -q -o direct.safetensors
    cat pipe >piped.safetensors &
    $trace -q -o pipe || failed=1
    wait
    cmp direct.safetensors piped.safetensors || { echo "FAILED: the pipe's reader missed something"; failed=1; }

    $trace -q -o t.safetensors || failed=1
    mkdir full && echo mine >full/notes
    fails "full: the folder is not empty; choose another or add --force" \
        moesim run quickstart --set routing=t.safetensors -o full
    fails "mine.safetensors: cannot be created" moesim run quickstart --set routing=t.safetensors -o mine.safetensors
    (trap '' XFSZ && ulimit -f 16 && moesim run quickstart --set routing=t.safetensors -o small >out 2>err)
    failed_with $? "cannot be written: File too large" "a limited run"
    [ ! -e small/run.json ] || { echo "FAILED: a broken run looks complete"; failed=1; }

    # A folder is of one run: the old one until the new one is complete, then the new one.
    moesim run quickstart --set routing=t.safetensors -q -o again || failed=1
    echo mine >again/notes
    cp -r again before
    (trap '' XFSZ && ulimit -f 16 && moesim run quickstart --set routing=t.safetensors \
        --set dispatch.dtype=fp8 -o again --force >out 2>err)
    failed_with $? "cannot be written: File too large" "a limited run over another"
    diff -r before again || { echo "FAILED: two runs in one folder"; failed=1; }
    echo '{collective: {operation: all-reduce, bytes: 1MB}, topology: dgx-h100, plan: 8}' >collective.yaml
    moesim run collective.yaml -q -o again --force || failed=1
    moesim run collective.yaml -q -o alone || failed=1
    rm again/notes
    diff -r alone again || { echo "FAILED: files of an earlier run"; failed=1; }
    rm -r before

    # Nothing is left in the folder of temporary files, however a run ends.
    mkdir tmp
    for delay in 0.1 0.15 0.2 0.3; do
        TMPDIR=$work/tmp timeout -s KILL $delay moesim run quickstart --set routing=t.safetensors -q 2>/dev/null
        [ -z "$(ls -A tmp)" ] || { echo "FAILED: killed after $delay s"; ls tmp; failed=1; }
    done

    moesim run quickstart --set routing=t.safetensors -q -o drawn || failed=1
    # A figure that cannot be written whole leaves the old one.
    for format in pdf svg png; do
        echo old >drawn/step.$format
        (trap '' XFSZ && ulimit -f 8 && moesim plot drawn --figure step --format $format >out 2>err)
        failed_with $? "drawn/step.$format: cannot be written: gnuplot's drawing is cut short" "a limited $format"
        [ "$(cat drawn/step.$format)" = old ] || { echo "FAILED: a good $format was lost"; failed=1; }
        ls drawn/step.$format.* 2>/dev/null && { echo "FAILED: half a figure was left"; failed=1; }
        rm drawn/step.$format
        [ -c /dev/full ] || continue
        ln -s /dev/full drawn/step.$format
        fails "drawn/step.$format: cannot be written: No space left on device" \
            moesim plot drawn --figure step --format $format
        rm drawn/step.$format
    done

    # A stopped plot stops gnuplot, here one that never ends.
    mkdir bin
    # shellcheck disable=SC2016 # for the script
    printf '#!/bin/sh\necho $$ >"%s/pid"\nexec sleep 600\n' "$work" >bin/gnuplot
    chmod +x bin/gnuplot
    for signal in INT TERM KILL; do
        rm -f pid
        PATH=$work/bin:$PATH timeout -s $signal 1 moesim plot drawn 2>/dev/null
        sleep 0.1
        # Gone, or dead and not yet fetched.
        if [ ! -s pid ] || grep -qs '^State:.[^ZX]' "/proc/$(cat pid)/status"; then
            echo "FAILED: gnuplot outlived $signal"
            failed=1
        fi
        [ $signal = KILL ] || ! ls drawn/step.pdf* 2>/dev/null || { echo "FAILED: half a figure"; failed=1; }
    done
    # What a mapped file that is cut short comes to, and whether it is named.
    cp -r "$top/models/presets/olmoe-tiny" model
    moesim trace model sample -o shrunk.safetensors >out 2>err &
    pid=$!
    while ! grep -qs model.safetensors /proc/$pid/maps; do
        kill -0 $pid 2>/dev/null || break
    done
    truncate -s 200000 model/model.safetensors
    wait $pid
    status=$?
    if [ $status -ne 3 ] || ! grep -q "/model.safetensors: .*shorter" err; then
        echo "FAILED: status $status when weights shrink"
        cat err
        failed=1
    fi
    PATH=$work/bin:$PATH timeout --preserve-status -s BUS 1 moesim plot drawn 2>err
    status=$?
    if [ $status -ne 3 ] || ! grep -q "^moesim: a file became shorter while it was read" err; then
        echo "FAILED: status $status when a file shrinks"
        failed=1
    fi
    [ "$(cat full/notes)" = mine ] || { echo "FAILED: notes were lost"; failed=1; }
}
exit $failed
