# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Root folders with little in them, in which programs are run. After tests/lib/tap.sh.

# A loader finds what lies beside a program by /proc/self/exe. Where nothing may be mounted, that is all that is there.
if [ "$(id -u)" -eq 0 ]; then
    unshared=(unshare --mount)
else
    unshared=(unshare --map-root-user --mount)
fi
if ! "${unshared[@]}" true 2>/dev/null; then
    unshared=()
fi

# in_root ROOT PROGRAM ARG...
in_root() {
    mkdir -p "$1/proc"
    if [ ${#unshared[@]} -gt 0 ]; then
        # shellcheck disable=SC2016 # the inner shell expands it
        "${unshared[@]}" sh -c 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"' "$@"
    else
        mkdir -p "$1/proc/self"
        ln -sfn "$2" "$1/proc/self/exe"
        chroot "$@"
    fi
}

# put_program ROOT FILE [NAME]: a program or plugin of this machine with the shared libraries it needs, as ROOT/NAME.
put_program() {
    local library
    cp "$2" "$1/${3:-$(basename "$2")}"
    ldd "$2" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$1$(dirname "$library")"
        cp -L "$library" "$1$library"
    done
}

# put_glibc ROOT: the parts of glibc that are in a root of any distribution, the loader with them, as $compiler links with.
compiler=gcc
put_glibc() {
    local library loader
    library=$("$compiler" -print-file-name=libc.so.6)
    loader=$(readelf -lW "$library" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
    mkdir -p "$1/lib" "$1$(dirname "$loader")"
    for library in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2; do
        cp -L "$("$compiler" -print-file-name="$library")" "$1/lib"
    done
    cp -L "$("$compiler" -print-file-name="$(basename "$loader")")" "$1$loader"
}

# for_machine_of FOLDER: sets $machine, the kind that the tree in the folder is for, and emulator, which in a root runs a
# program that is for another kind than this machine: nothing, or QEMU, which put_emulator ROOT puts there.
emulator=()
for_machine_of() {
    machine=$(basename "$1"/vixdisk-vddk-*.tar.gz .tar.gz)
    machine=${machine##*.}
    [ "$machine" = "$(uname -m)" ] || emulator=("/qemu-$machine-static")
}
put_emulator() {
    local program
    for program in "${emulator[@]}"; do
        cp "$(command -v "$(basename "$program")")" "$1$program"
    done
}

# has_nothing_of_ours ROOT: none of the libraries that the dynamic build needs.
has_nothing_of_ours() {
    ! find "$1" -path "$1/proc" -prune -o -name '*.so*' -print |
        grep -E '/lib(ssl|crypto|curl|deflate|isal|expat|json-c|vixDiskLib)[-.]'
}
