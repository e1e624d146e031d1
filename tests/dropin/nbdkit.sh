#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The first real client: nbdkit's vddk plugin, with the installed tree as its libdir.
#   tests/dropin/nbdkit.sh TREE       TREE: <prefix>/lib/vixdisk of make install
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"

tree=$(cd "$STARTED_IN" && realpath "$1") || { echo "not ok - there is an installed tree"; exit 1; }
VIXDISK=$(realpath "$tree/bin64/vixdisk")
types='monolithic-sparse monolithic-flat split-sparse split-flat vmfs-flat vmfs-thin vmfs-sparse'
# Debian's own python3 has the module nbd that upstream's tests use.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
unset LD_LIBRARY_PATH VIXDISK_CONFIG

if [ "$(uname -m)" != x86_64 ]; then
    skip "nbdkit's vddk plugin" "upstream builds it for x86-64 only"
    exit 0
fi
nbdkit_dir=$("$SRC/scripts/get-nbdkit") || { echo "not ok - nbdkit can be built"; exit 1; }
nbdkit=$nbdkit_dir/nbdkit

vddk() { # options and file, then --run command
    "$nbdkit" --foreground --exit-with-parent vddk libdir="$tree" "$@"
}

names_our_library() {
    local dll
    dll=$("$nbdkit" vddk libdir="$tree" --dump-plugin | sed -n 's/^vddk_dll=//p')
    echo "vddk_dll=$dll"
    [ "$dll" = "$(realpath "$tree/lib64/libvixDiskLib.so.8")" ]
}
try "--dump-plugin names our library" names_our_library
all_symbols() {
    "$nbdkit" vddk libdir="$tree" --dump-plugin >dump && cat dump &&
        [ "$(grep -c '^VixDiskLib_.*=1' dump)" -eq 23 ] && ! grep '^VixDiskLib_.*=0' dump && grep -qE '^vddk_transport_modes=(.*:)?file(:|$)' dump
}
try "--dump-plugin finds every function and the transport" all_symbols

# Upstream's tests for a real library. A skip is a failure: nothing here may be missing.
make -C "$nbdkit_dir/tests" check-vddk vddkdir="$tree" >upstream.log 2>&1 </dev/null
for test in test-vddk-real test-vddk-real-dump-plugin test-vddk-real-create test-vddk-real-unaligned-chunk; do
    if grep -qx "PASS: $test.sh" upstream.log; then
        tap_result 0 "upstream's $test.sh"
    else
        cat "$nbdkit_dir/tests/$test.sh.log" >failed.log 2>/dev/null || cp upstream.log failed.log
        tap_result 1 "upstream's $test.sh" failed.log
    fi
done

"$SRC/scripts/make-image" image 96 64
size=$(stat -c %s image)

copy_in() { # type file options...
    local type=$1 file=$2
    shift 2
    # shellcheck disable=SC2016 # nbdkit's shell expands $uri
    vddk create=true create-size="$size" create-type="$type" "$PWD/$file" --run 'nbdcopy --flush '"$*"' image "$uri"'
}
copy_out() { # file output
    # shellcheck disable=SC2016
    vddk -r "$PWD/$1" --run 'nbdcopy "$uri" '"$2" &&
        cmp image "$2"
}
agrees() { qemu-img compare -q -f raw -F vmdk image "$1"; }

for type in $types; do
    try "create and copy into $type" copy_in "$type" "$type.vmdk"
    try "copy out of $type gives the image" copy_out "$type.vmdk" out.img
    try "qemu-img reads $type the same" agrees "$type.vmdk"
done
# A stream is written once, in order: one request at a time, holes left out.
try "create and copy into stream-optimized" copy_in stream-optimized stream.vmdk --synchronous --destination-is-zero \
    --connections=1
try "copy out of stream-optimized gives the image" copy_out stream.vmdk out.img
try "qemu-img reads stream-optimized the same" agrees stream.vmdk

unbuffered() {
    # shellcheck disable=SC2016
    vddk unbuffered=true single-link=true "$PWD/split-sparse.vmdk" --run 'nbdcopy image "$uri" && nbdcopy "$uri" out.img' &&
        cmp image out.img
}
try "copies with unbuffered and single-link" unbuffered

# What nbdkit tells of holes is what the command tells, in the chunks of 64 KiB in which nbdkit asks. A hole in a flat
# extent is "data" that is "zero" in the words of qemu-img, which the command uses.
same_map() {
    # shellcheck disable=SC2016
    vddk -r "$PWD/$1" --run 'nbdinfo --map --json "$uri"' >nbd.json &&
        "$VIXDISK" map --json "$1" >ours.json &&
        /usr/bin/python3 - nbd.json ours.json "$size" <<'PYTHON'
import json, sys

CHUNK = 65536
size = int(sys.argv[3])


def chunks(runs):
    """The numbers of the chunks that hold data."""
    held = set()
    for start, length in runs:
        held.update(range(start // CHUNK, (start + length + CHUNK - 1) // CHUNK))
    return held


nbd = json.load(open(sys.argv[1]))
ours = json.load(open(sys.argv[2]))
for name, runs, start in (("nbdinfo", nbd, "offset"), ("vixdisk", ours, "start")):
    at = 0
    for run in runs:
        assert run[start] == at, (name, run)
        at += run["length"]
    assert at == size, (name, at)
a = chunks((r["offset"], r["length"]) for r in nbd if r["type"] == 0)
b = chunks((r["start"], r["length"]) for r in ours if r["data"] and not r["zero"])
print(len(a), "chunks by nbdinfo,", len(b), "by vixdisk")
assert a == b, sorted(a ^ b)[:10]
assert 0 < len(a) < size // CHUNK, "the image should have data and holes"
PYTHON
}
# nbdcopy writes the zeros too, which fills a thin disk: this one is made with its holes.
"$VIXDISK" convert --quiet -f raw -t vmfsThin image thin.vmdk
for type in monolithic-sparse split-sparse vmfs-sparse thin; do
    try "nbdinfo --map agrees with vixdisk map: $type" same_map "$type.vmdk"
done

fio_verify() { # type options...
    local type=$1
    shift
    rm -f "fio-$type"*.vmdk
    # shellcheck disable=SC2016
    vddk create=true create-size=64M create-type="$type" "$PWD/fio-$type.vmdk" --run '
        fio --name=verify --ioengine=nbd --uri="$uri" --verify=crc32c --verify_fatal=1 --do_verify=1 \
            --size=64M --group_reporting '"$*"
}
for type in $types; do
    try "fio verifies random writes: $type" fio_verify "$type" --rw=randwrite --bsrange=512-64k --blockalign=512 \
        --norandommap=0 --iodepth=16 --io_size=48M
done
try "fio verifies sequential writes: monolithic-sparse" fio_verify monolithic-sparse --rw=write --bs=256k --iodepth=8
sound() { qemu-img check -q -f vmdk "fio-$1.vmdk"; }
try "qemu-img check finds what fio wrote sound: monolithic-sparse" sound monolithic-sparse
try "qemu-img check finds what fio wrote sound: split-sparse" sound split-sparse
