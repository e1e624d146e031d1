#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The init image: a valid image to another reader (skopeo), and what it does in a pod: its program, as some user, with a
# read-only root, fills a volume from which nbdkit then loads the library. The commands are those of docs/cdi-forklift.md.
#   tests/tree/image.sh FOLDER [IMAGE]     FOLDER: what `make image` made; IMAGE: an archive with an image that a container
#                                          engine has made with the same tree, to be looked at in the place of its own
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/tree/roots.sh
. "$SRC/tests/tree/roots.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
unset LD_LIBRARY_PATH VIXDISK_CONFIG

dist=$(cd "$STARTED_IN" && realpath -e "$1") || { echo "not ok - there is an image"; exit 1; }
built=$(cd "$STARTED_IN" && realpath -e "${2:-.}") || { echo "not ok - there is an engine's image"; exit 1; }
version=$("$SRC/scripts/version")
for_machine_of "$dist"
artefact=vixdisk-vddk-$version.$machine
image=$dist/$artefact.oci.tar
[ $# -lt 2 ] || image=$built
tree=vmware-vix-disklib-distrib
guide=$SRC/docs/cdi-forklift.md

# ---- the image ----

small() { [ "$(stat -c %s "$image")" -lt $((10 << 20)) ]; }
try "the image is below 10 MiB" small
processor=$(case $machine in x86_64) echo amd64 ;; aarch64) echo arm64 ;; esac)
look() { skopeo --override-arch "$processor" "$@"; }
configured() {
    look inspect --config "oci-archive:$image" >config.json && look inspect "oci-archive:$image" >inspect.json &&
        /usr/bin/python3 - config.json inspect.json "$version" "$SRC/install/image/Containerfile" "$processor" <<'PYTHON'
import json, sys

config, inspected = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
print(config)
assert config["os"] == "linux" and config["architecture"] == sys.argv[5]
assert config["config"]["Entrypoint"] == ["/copy-tree"] and config["config"]["User"] == "1001"
assert "Cmd" not in config["config"]
labels = inspected["Labels"]
assert labels["org.opencontainers.image.version"] == sys.argv[3]
assert labels["org.opencontainers.image.title"] == "vixdisk-vddk" and "BSD-3-Clause" in labels["org.opencontainers.image.licenses"]
text = open(sys.argv[4]).read().split("FROM scratch")[1]
assert all(name in text for name in labels)
PYTHON
}
try "skopeo reads its configuration and labels" configured

# What scripts/make-oci promises.
if [ $# -lt 2 ]; then
    mkdir -p build/dist
    ln -s "$image" build/dist/
    ln -s "$SRC/scripts" scripts
    same_again() { "$SRC/scripts/make-oci" again.tar "$dist" && cmp again.tar "$image"; }
    try "it is the same bytes when it is made again" same_again

    # A block of commands of the guide that has a word in it.
    block() {
        awk -v word="$1" '/^```sh$/ { text = ""; inside = 1; next } /^```$/ { if (inside && index(text, word)) printf "%s", text; inside = 0 }
            inside { text = text $0 "\n" }' "$guide" | sed "s/8\.0\.0/$version/g"
    }
    pushed() {
        block skopeo | sed "s#^IMAGE=docker://.*#IMAGE=dir:$TMP/pushed#; s/x86_64/$machine/" >push.sh
        cat push.sh
        grep -q "^IMAGE=dir:" push.sh && sh -eu push.sh
    }
    try "the guide's command pushes it" pushed
    for_two() {
        # As an image of the other processor: what is in it does not matter here.
        mkdir other
        cp "$dist/copy-tree" other
        cp "$dist/$artefact.tar.gz" "other/vixdisk-vddk-$version.aarch64.tar.gz"
        "$SRC/scripts/make-oci" "vixdisk-vddk-$version.aarch64.oci.tar" other
        rm "other/vixdisk-vddk-$version.aarch64.tar.gz"
        cp "$dist/$artefact.tar.gz" "other/vixdisk-vddk-$version.x86_64.tar.gz"
        "$SRC/scripts/make-oci" "vixdisk-vddk-$version.x86_64.oci.tar" other
        block 'scripts/make-oci' >merge.sh && cat merge.sh && [ -s merge.sh ] && sh -eu merge.sh || return
        local one
        for one in amd64 arm64; do
            [ "$(skopeo --override-arch "$one" inspect --format '{{.Architecture}}' oci-archive:vixdisk-vddk.oci.tar)" = \
                "$one" ] || return
        done
        ! "$SRC/scripts/make-oci" twice.tar "$image" "$image"
    }
    try "one image for two processors" for_two
fi

# ---- the init container ----

mkdir root opt
unpacks() {
    local layer
    look copy -q "oci-archive:$image" dir:one || return
    while read -r layer; do
        [ "$(sha256sum <"one/$layer")" = "$layer  -" ] && tar -xzf "one/$layer" -C root || return
        ! tar --numeric-owner -tvzf "one/$layer" | grep -v ' 0/0 ' || return
    done < <(jq -r '.layers[].digest | sub("sha256:"; "")' one/manifest.json)
    [ "$(find root -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | paste -sd' ')" = "copy-tree $tree" ] &&
        diff -r --no-dereference "root/$tree" "$dist/$tree" && ! find root -perm /7022 ! -type l | grep . &&
        ! find root ! -type l ! -perm -444 | grep . && file root/copy-tree | grep 'statically linked'
}
try "its layer has the tree and the static program, and nothing else" unpacks

# In a pod: the image's root read-only, a volume at /opt, some user of group 0, no capabilities, no new privileges.
put_emulator root
mkdir root/opt
chmod 777 opt
if [ ${#unshared[@]} -gt 0 ]; then
    pod() { # program's arguments
        # shellcheck disable=SC2016 # the inner shell expands it
        "${unshared[@]}" sh -euc '
            mount --bind root root
            mount -o remount,bind,ro root
            mount --bind opt root/opt
            if touch root/written 2>/dev/null; then
                exit 9
            fi
            if [ "$0" -eq 0 ]; then
                exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \
                    chroot --userspec=1000650000:0 --groups= root "$@"
            fi
            exec chroot root "$@"' "$(id -u)" "${emulator[@]}" /copy-tree "$@"
    }
else # without mounts the folder is read-only by its rights
    pod() {
        mv opt root/opt && chmod 555 root && chroot --userspec=1000650000:0 --groups= root "${emulator[@]}" /copy-tree "$@"
        local status=$?
        mv root/opt opt
        return $status
    }
    rmdir root/opt
fi
copied() { diff -r --no-dereference "opt/$tree" "$dist/$tree" && ! find opt -mindepth 1 ! -type l -perm /7022 | grep .; }
runs() { pod && copied; }
try "it fills /opt, as a user that nobody knows, with a read-only root" runs
by_that_user() { [ "$(find opt -mindepth 1 -printf '%U:%G\n' | sort -u)" = 1000650000:0 ]; }
[ "$(id -u)" -ne 0 ] || try "the files are that user's" by_that_user
again() {
    echo old >"opt/$tree/lib64/libvixDiskLib.so.$version"
    rm "opt/$tree/lib64/libvixDiskLib.so" && pod /opt && copied
}
try "a container that is started again mends what is there" again
read_only_volume() {
    chmod -R a-w opt
    local status=0
    pod >said 2>&1 || status=$?
    chmod -R u+w opt
    cat said
    [ "$status" -eq 1 ] && grep -q "^copy-tree: /opt/$tree/.*: Permission denied" said
}
[ "$(id -u)" -ne 0 ] || try "where it may not write it says so and fails" read_only_volume
too_many() {
    local status=0
    pod a b || status=$?
    [ "$status" -eq 2 ]
}
try "arguments that it does not know are refused" too_many
unmoved() { file -E "$PWD/opt/$tree/lib64/libvixDiskLib.so" && [ "$(readlink -e "opt/$tree/lib64/libvixDiskLib.so")" ]; }
try "Forklift's validator finds the library" unmoved

# ---- the importer ----

if [ "$machine" != x86_64 ]; then
    skip "nbdkit's vddk plugin" "upstream builds it for x86-64 only"
    exit
fi
nbdkit_dir=$("$SRC/scripts/get-nbdkit") || { echo "not ok - nbdkit can be built"; exit 1; }
mkdir importer importer/tmp importer/dev
: >importer/dev/null
put_program importer "$nbdkit_dir/server/nbdkit"
put_program importer "$nbdkit_dir/plugins/vddk/.libs/nbdkit-vddk-plugin.so"
put_glibc importer
cp -a opt importer/opt
"$SRC/scripts/make-image" disk.img 16 8
"$VIXDISK" convert -q -f raw -t streamOptimized disk.img importer/disk.vmdk
# A first line of junk, as in CDI's own example.
printf '%s\n' '-|' 'VixDiskLib.nfcAio.Session.BufSizeIn64KB=16' 'VixDiskLib.nfcAio.Session.BufCount=4' >importer/config
plugin=(/nbdkit-vddk-plugin.so "libdir=/opt/$tree")
dumped() { in_root importer /nbdkit --dump-plugin "${plugin[@]}" >dump && grep "^vddk_dll=/opt/$tree/" dump; }
try "nbdkit --dump-plugin, as CDI begins" dumped
imported() {
    local status=0
    in_root importer /nbdkit --foreground --exit-with-parent --unix /socket --pidfile /pid --verbose -r \
        -D vddk.datapath=0 -D vddk.stats=1 "${plugin[@]}" config=/config /disk.vmdk 2>nbdkit.log &
    for _ in $(seq 200); do
        [ -e importer/pid ] && break
        sleep 0.05
    done
    nbdcopy "nbd+unix:///?socket=$PWD/importer/socket" out || status=1
    kill "$(cat importer/pid)"
    wait "$!"
    cat nbdkit.log
    cmp out disk.img && grep -qE "^nbdkit: debug: VMware VixDiskLib \($version\) Release build-[0-9]+" nbdkit.log && return $status
}
try "the importer's nbdkit reads a disk, with the line that CDI looks for" imported
