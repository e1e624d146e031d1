#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The formats of ESX: redo logs (COWD) that we write are read by qemu-img and libvmdk, SE sparse disks are read as qemu-img
# reads them, and the command works on both and on disks of block devices.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

"$SRC/scripts/make-image" image 64 30
sectors=$((64 * 2048))
seed=${VIXDISK_TEST_SEED:-4711}
RANDOM=$seed
echo "# seed $seed"

theirs() { # vmdk raw: by qemu-img
    qemu-img convert -f vmdk -O raw "$1" theirs && cmp theirs "$2"
}
ours() { # vmdk raw
    rm -f ours
    "$VIXDISK" convert --quiet -t raw "$1" ours && cmp ours "$2"
}
pyvmdk_agrees() { # vmdk raw
    /usr/bin/python3 - "$1" "$2" <<'PYTHON'
import sys
import pyvmdk

handle = pyvmdk.handle()
handle.open(sys.argv[1])
handle.open_extent_data_files()
with open(sys.argv[2], "rb") as f:
    while True:
        want = f.read(1 << 20)
        if not want:
            break
        got = b""
        while len(got) < len(want):
            more = handle.read_buffer(len(want) - len(got))
            assert more, "short read"
            got += more
        assert got == want, f.tell()
PYTHON
}
# The same random writes to a disk and to a raw image; some of zeros.
write_both() { # vmdk raw
    local i start length
    for ((i = 0; i < 30; i++)); do
        length=$((RANDOM % 200 + 1))
        start=$(((RANDOM * 32768 + RANDOM) % (sectors - length)))
        if ((i % 4 == 3)); then
            head -c $((length * 512)) /dev/zero >piece
        else
            head -c $((length * 512)) /dev/urandom >piece
        fi
        "$VIXDISK" write -o "${start}s" "$1" <piece || return 1
        dd if=piece of="$2" bs=512 seek="$start" conv=notrunc status=none || return 1
    done
}

# ---- redo logs

try "vmfsSparse: import" "$VIXDISK" convert --quiet -f raw -t vmfsSparse image one.vmdk
try "vmfsSparse: qemu-img reads the same" theirs one.vmdk image
try "vmfsSparse: libvmdk reads the same" pyvmdk_agrees one.vmdk image
try "vmfsSparse: the way back" ours one.vmdk image
measured() {
    local need
    need=$("$VIXDISK" measure -f raw -t vmfsSparse image | sed -n 's/^required size: //p')
    echo "$need measured, $(stat -c %s one-delta.vmdk) taken"
    [ $((need * 100)) -ge $(($(stat -c %s one-delta.vmdk) * 99)) ] && [ $((need * 99)) -le $(($(stat -c %s one-delta.vmdk) * 100)) ]
}
try "vmfsSparse: measure tells the size within 1%" measured
try "vmfsSparse: create" "$VIXDISK" create -s 64M -t vmfsSparse empty.vmdk
head -c 64M /dev/zero >zeros
try "vmfsSparse: a new disk is zeros to qemu-img" theirs empty.vmdk zeros
reports() { # vmdk type
    "$VIXDISK" info "$1" >info.out && cat info.out && grep -q "^type: *$2" info.out &&
        "$VIXDISK" info --json "$1" | python3 -m json.tool >/dev/null && "$VIXDISK" map --json "$1" | python3 -m json.tool >/dev/null
}
try "vmfsSparse: info and map" reports one.vmdk vmfsSparse

for base in vmfs vmfsThin vmfsSparse; do
    try "$base: import" "$VIXDISK" convert --quiet -f raw -t $base image "$base.vmdk"
    cp image "$base.raw"
    try "$base: a redo log on it" "$VIXDISK" snapshot -t vmfsSparse "$base.vmdk" "$base-000001.vmdk"
    try "$base: qemu-img reads the new child" theirs "$base-000001.vmdk" "$base.raw"
    try "$base: random writes to the child" write_both "$base-000001.vmdk" "$base.raw"
    try "$base: qemu-img reads the child the same" theirs "$base-000001.vmdk" "$base.raw"
    try "$base: a redo log on the redo log" "$VIXDISK" snapshot -t vmfsSparse "$base-000001.vmdk" "$base-000002.vmdk"
    try "$base: random writes to the grandchild" write_both "$base-000002.vmdk" "$base.raw"
    try "$base: qemu-img reads the grandchild the same" theirs "$base-000002.vmdk" "$base.raw"
    try "$base: so do we" ours "$base-000002.vmdk" "$base.raw"
    try "$base: the base is what it was" ours "$base.vmdk" image
done
same_map() { # vmdk: the runs that hold data, and the link that holds them, as qemu-img map has them
    "$VIXDISK" map --json "$1" >ours.json && qemu-img map -f vmdk --output=json "$1" >theirs.json &&
        python3 - <<'PYTHON'
import json


def runs(name):
    """Data by depth and place, neighbours joined."""
    out = []
    for r in json.load(open(name)):
        if not r["data"]:
            continue
        item = [r["start"], r["start"] + r["length"], r["depth"], r["offset"] - r["start"]]
        if out and out[-1][1] == item[0] and out[-1][2:] == item[2:]:
            out[-1][1] = item[1]
        else:
            out.append(item)
    return out


ours, theirs = runs("ours.json"), runs("theirs.json")
print(len(ours), len(theirs))
assert ours and [r for r in ours if r[2] == 0] == [r for r in theirs if r[2] == 0]
PYTHON
}

# ---- SE sparse

try "SE sparse: a disk is built" "$SRC/tests/lib/make-sesparse" image se
try "SE sparse: qemu-img reads it" theirs se.vmdk image
try "SE sparse: we read the same" ours se.vmdk image
try "SE sparse: info and map" reports se.vmdk seSparse
try "SE sparse: maps as qemu-img has it" same_map se.vmdk
try "SE sparse: a child of a vmfs disk is built" "$SRC/tests/lib/make-sesparse" image vm-000001 vmfs.vmdk
try "SE sparse: qemu-img reads the child" theirs vm-000001.vmdk vm-000001.raw
try "SE sparse: we read the same of the child" ours vm-000001.vmdk vm-000001.raw
try "SE sparse: the child maps as qemu-img has it" same_map vm-000001.vmdk
no_writing() {
    head -c 512 /dev/zero | "$VIXDISK" write -o 0 se.vmdk 2>message
    local status=$?
    cat message
    [ $status -eq 1 ] && grep -q 'VIX_E_DISK_NOTSUPPORTED.*SE sparse extents can be read, not written' message
}
try "SE sparse: writing is refused" no_writing
for type in monolithicSparse streamOptimized vmfsSparse; do
    try "SE sparse: chain to $type" "$VIXDISK" convert --quiet -t $type vm-000001.vmdk "se-$type.vmdk"
    try "SE sparse: qemu-img reads $type the same" theirs "se-$type.vmdk" vm-000001.raw
done
cp vm-000001.raw leaf.raw
try "SE sparse: a hosted child on it" "$VIXDISK" snapshot vm-000001.vmdk leaf.vmdk
try "SE sparse: random writes to that child" write_both leaf.vmdk leaf.raw
try "SE sparse: that child reads right" ours leaf.vmdk leaf.raw
try "SE sparse: qemu-img agrees" theirs leaf.vmdk leaf.raw
printf '\1' | dd of=se-sesparse.vmdk bs=1 seek=$((512 + 24)) conv=notrunc status=none
unclean() {
    "$VIXDISK" info se.vmdk 2>message
    local status=$?
    cat message
    [ $status -eq 1 ] && grep -q 'not cleanly closed.*open it on its host first' message
}
try "SE sparse: a disk with a journal to replay is refused" unclean

# ---- devices

device=
cleanup() {
    [ -z "$device" ] || losetup -d "$device"
}
cp image device
if device=$(losetup -f --show device 2>/dev/null); then
    {
        printf '# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType="partitionedDevice"\n'
        printf 'RW 2048 FLAT "device-pt.vmdk" 0\nRW %d FLAT "%s" 2048\n' $((sectors - 2048)) "$device"
    } >device.vmdk
    head -c 1M image >device-pt.vmdk
    refuse 1 "device: not opened unless allowed" "$VIXDISK" info device.vmdk
    from_device() {
        "$VIXDISK" convert --quiet --allow-outside -t raw device.vmdk out.raw && cmp out.raw image &&
            "$VIXDISK" info --allow-outside device.vmdk && "$VIXDISK" map --allow-outside device.vmdk
    }
    try "device: read, info, map" from_device
    to_device() {
        head -c 100K /dev/urandom >piece &&
            "$VIXDISK" write --allow-outside -o 1000K device.vmdk <piece &&
            "$VIXDISK" read --allow-outside -o 1000K -n 100K device.vmdk | cmp - piece &&
            cmp <(tail -c 24K device-pt.vmdk) <(head -c 24K piece) &&
            cmp <(dd if="$device" bs=1K skip=1024 count=76 status=none) <(tail -c 76K piece)
    }
    try "device: written across the border of copy and device" to_device
    try "device: convert to a redo log" "$VIXDISK" convert --quiet --allow-outside -t vmfsSparse device.vmdk dev.vmdk
else
    device=
    skip "devices" "no loop device can be made here"
fi
