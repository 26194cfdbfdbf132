# shellcheck shell=sh
# Sourced by quickstart and runtests, from the top of the source: installs the Debian packages that are
# missing, and makes configure.

# shellcheck disable=SC2034 # for whoever sources this
packages_to_run="gcc libc6-dev make autoconf automake pkg-config libsimgrid-dev libglib2.0-dev
libjson-glib-dev libyaml-dev libpcre2-dev libzip-dev libopenblas-dev gnuplot-nox fonts-dejavu-core"
# shellcheck disable=SC2034
packages_to_test="check clang clang-format libclang-rt-14-dev libomp-dev gcc-aarch64-linux-gnu
libc6-dev-arm64-cross shellcheck man-db file xz-utils"

say() {
    printf '\n== %s\n' "$*"
}

# Runs "$@" as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "The packages must be installed as root; run: $*" >&2
        exit 1
    fi
}

# install_packages NAME...: nothing is downloaded when all are there.
install_packages() {
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian; the packages needed are called there: $*" >&2
        return
    fi
    missing=
    for package; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    as_root apt-get -qq update
    # shellcheck disable=SC2086 # one word per package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $missing
}

# make_configure: again when what it is made from has changed.
make_configure() {
    if [ ! -e configure ] || [ ! -e Makefile.in ] ||
        [ -n "$(find configure.ac Makefile.am tests/*/*.mk -newer Makefile.in)" ]; then
        say "making configure"
        autoreconf -fi >/dev/null 2>&1 || autoreconf -fi
    fi
}

# configure_in FOLDER OPTION...: once, and again with other options.
configure_in() {
    folder=$1
    shift
    mkdir -p "$folder"
    if [ ! -e "$folder/config.status" ] || [ -n "$(find configure -newer "$folder/config.status")" ] ||
        [ "$(cat "$folder/.options" 2>/dev/null)" != "$*" ]; then
        top=$PWD
        say "configuring $folder $*"
        (cd "$folder" && "$top/configure" --silent "$@")
        echo "$*" >"$folder/.options"
    fi
}
