#!/bin/sh
# Each folder includes only what the table of layers allows; some packages belong to one file.
cd "${srcdir:-.}" || exit 1
status=0

# allowed FOLDER PATTERN: quoted includes of the folder's own files (not below) must match.
allowed() {
    for file in "$1"/*.[ch]; do
        bad=$(sed -n 's/^#include "\(.*\)"/\1/p' "$file" | grep -vE "^(config\.h|$2)")
        if [ -n "$bad" ]; then
            echo "$file may not include: $bad"
            status=1
        fi
    done
}
allowed kernels 'kernels/[a-z_]+\.h$'
allowed sim/base 'sim/base/[a-z_]+\.h$'
allowed topologies '(sim/base|topologies)/[a-z_]+\.h$'
allowed models '(sim/base|kernels|models)/[a-z_]+\.h$'
allowed workloads '(sim/base|kernels|models|workloads)/[a-z_]+\.h$'
allowed sim '(sim/base|kernels|models|workloads|topologies|sim)/[a-z_]+\.h$'

# only PATTERN FILE...: a system include that just these files may have.
only() {
    pattern=$1
    shift
    for file in kernels/*.[ch] sim/base/*.[ch] topologies/*.[ch] models/*.[ch] workloads/*.[ch] \
        sim/*.[ch] sim/cli/*.[ch]; do
        case " $* " in *" $file "*) continue ;; esac
        if grep -nE "^#include <$pattern" "$file"; then
            echo "$file: only $* may include <$pattern"
            status=1
        fi
    done
}
only simgrid/ sim/engine_simgrid.c
only yaml.h sim/base/yaml.c
only pcre2 models/pattern.c
only zip.h workloads/npz.c
only cblas.h kernels/attention.c kernels/linear.c kernels/product.c kernels/roof.c
if grep -nE '^#include <(glib|json-glib)' kernels/*.[ch]; then
    echo "kernels are plain C: no GLib"
    status=1
fi
exit $status
