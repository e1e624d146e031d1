#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# arm64, on a machine of another kind: everything is built by a cross compiler and run by QEMU's emulation of programs; the
# unit tests, the command against qemu-img, the tree, its image, and one image for arm64 and this machine. `make check-arm64`
#   tests/arm64/arm64.sh [PART...]     PART: unit cli tree
# Leaves build/dist-arm64, with the tree, the image, and vixdisk-vddk-VERSION.oci.tar, the image for both.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"

export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
[ $# -gt 0 ] || set -- unit cli tree
wants() { [[ " $parts " = *" $1 "* ]]; }
parts=$*
arm64=$("$SRC/scripts/get-arm64") || { echo "not ok - there is a compiler for arm64"; exit 1; }
build=$SRC/build/arm64
dist=$SRC/build/dist-arm64
version=$("$SRC/scripts/version")

# Tests of other scripts, as they are.
run() { # name command...
    local name=$1 status=0
    shift
    "$@" || status=$?
    try "all of $name" test "$status" -eq 0
}

builds() {
    if [ ! -e "$build/build.ninja" ]; then
        meson setup "$build" "$SRC" --cross-file "$arm64/cross.ini" --buildtype=release -Dwerror=true || return
    fi
    ninja -C "$build"
}
try "everything is built for arm64" builds
for_arm64() { file "$build/src/api/libvixDiskLib.so.$version" "$build/tool/vixdisk" "$build/daemon/vixdiskd" | grep -vc aarch64; }
refuse 1 "the library, the command and the disk host are for arm64" for_arm64

if wants unit; then
    # Not those that start programs, which QEMU leaves to a kernel that cannot run them, nor those whose peers have no time.
    mapfile -t tests < <(meson test -C "$build" --no-rebuild --suite quick --list 2>/dev/null | sed 's,.* / ,,' |
        grep -vxE 'api_misuse|nfc_hostile|nfc_hostile_client' | sort)
    rm -f "$build/meson-logs/testlog.json"
    meson test -C "$build" --no-rebuild --timeout-multiplier 20 "${tests[@]}" >meson.log 2>&1 </dev/null
    while read -r name result; do
        passed() { meson_log "$name"; [ "$result" = OK ]; }
        meson_log() { jq -r --arg name "$1" 'select(.name == $name) | .stdout, .stderr' "$build/meson-logs/testlog.json"; }
        try "unit test $name" passed
    done < <(jq -r '[.name, .result] | @tsv' "$build/meson-logs/testlog.json" | sort)
    all_ran() { [ "${#tests[@]}" -gt 50 ] && [ "$(wc -l <"$build/meson-logs/testlog.json")" -eq "${#tests[@]}" ]; }
    try "each unit test has run" all_ran
fi

if wants cli; then
    cat >vixdisk <<COMMAND
#!/bin/sh
exec $arm64/run $build/tool/vixdisk "\$@"
COMMAND
    chmod +x vixdisk
    for script in cli/create cli/convert cli/io cli/chain cli/rework cli/salvage cli/hash check/run interop/written-by-us \
        interop/written-by-qemu interop/chains interop/esx; do
        run "tests/$script.sh" env VIXDISK="$TMP/vixdisk" "$SRC/tests/$script.sh"
    done
fi

if wants tree; then
    image=vixdisk-vddk-$version
    rm -rf "$dist"
    try "the tree for arm64" env CROSS="$arm64" "$SRC/scripts/make-tree" "$dist"
    try "its image" "$SRC/scripts/make-oci" "$dist/$image.aarch64.oci.tar" "$dist"
    run tests/tree/tree.sh "$SRC/tests/tree/tree.sh" "$dist"
    run tests/tree/image.sh "$SRC/tests/tree/image.sh" "$dist"

    try "the tree and the image for this machine" make --no-print-directory -C "$SRC" image DIST="$TMP/own"
    both() {
        "$SRC/scripts/make-oci" "$dist/$image.oci.tar" "$dist/$image.aarch64.oci.tar" "own/$image.$(uname -m).oci.tar" &&
            skopeo inspect --raw "oci-archive:$dist/$image.oci.tar" >index.json && cat index.json || return
        local one what='{{.Architecture}} {{.Layers}}'
        for one in "arm64 $dist/$image.aarch64.oci.tar" "amd64 own/$image.x86_64.oci.tar"; do
            # A machine of this kind gets what the image for it alone has.
            skopeo --override-arch "${one%% *}" inspect --format "$what" "oci-archive:$dist/$image.oci.tar" >of-both &&
                skopeo --override-arch "${one%% *}" inspect --format "$what" "oci-archive:${one#* }" >alone &&
                grep "^${one%% *} " of-both && cmp of-both alone || return
        done
    }
    [ "$(uname -m)" != x86_64 ] || try "one image for arm64 and this machine" both
fi
