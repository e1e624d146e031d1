#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What is left of damaged disks: convert --salvage.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/cli/lib.sh
. "$SRC/tests/cli/lib.sh"

GRAIN=65536
truncate -s 16M disk.raw
fill disk.raw 0 $((64 * GRAIN))
"$VIXDISK" convert -q -f raw -t streamOptimized disk.raw whole.vmdk

# The first n bytes of a disk are those of disk.raw, all others zeros.
is_beginning() { # disk bytes
    cp disk.raw want.raw && truncate -s "$2" want.raw && truncate -s 16M want.raw &&
        "$VIXDISK" compare "$1" want.raw
}

# A file that ends within its last grain but ten.
cut_short() {
    cp whole.vmdk cut.vmdk && truncate -s $((64 * 1024 + 54 * 66048 - 600)) cut.vmdk
}

try "a file that was cut short is made" cut_short
try "it is refused, and the command that helps is named" fails_with 1 '.*--salvage.*' "$VIXDISK" info cut.vmdk
refuse 4 "a check says what it is" "$VIXDISK" check cut.vmdk
try "it is salvaged" "$VIXDISK" convert --salvage -t monolithicSparse cut.vmdk saved.vmdk
try "all whole grains are there" is_beginning saved.vmdk $((53 * GRAIN))
try "what comes out has no problems" "$VIXDISK" check saved.vmdk

report_of_cut() {
    "$VIXDISK" convert --salvage -t raw cut.vmdk saved.raw 2>report &&
        grep -q "53 grains of $GRAIN bytes were found, the last of them ends at byte $((53 * GRAIN)) of 16777216" report
}
try "what was found is told" report_of_cut

# In the fifth grain a byte is wrong; of the tenth the marker is gone.
spoil() {
    cp whole.vmdk spoilt.vmdk && poke spoilt.vmdk $((65536 + 4 * 66048 + 999)) 5a5a5a5a &&
        poke spoilt.vmdk $((65536 + 9 * 66048)) ffffffffffffffffffffffff
}
lost_grains() {
    cp disk.raw want.raw
    dd if=/dev/zero of=want.raw bs=$GRAIN seek=4 count=1 conv=notrunc status=none
    dd if=/dev/zero of=want.raw bs=$GRAIN seek=9 count=1 conv=notrunc status=none
    "$VIXDISK" convert --salvage --overwrite -t raw spoilt.vmdk saved.raw 2>report &&
        "$VIXDISK" compare saved.raw want.raw &&
        grep -q "bytes $((4 * GRAIN)) to $((5 * GRAIN - 1)) of the disk are lost" report &&
        grep -q "66048 bytes of the file are no records" report
}
try "a file is damaged in the middle" spoil
try "only the damaged grains are lost, and the first is named" lost_grains

flat_without_descriptor() {
    "$VIXDISK" convert -q -f raw -t monolithicFlat disk.raw flat.vmdk && rm flat.vmdk &&
        "$VIXDISK" convert -q --salvage -t monolithicFlat flat-flat.vmdk again.vmdk &&
        "$VIXDISK" compare again.vmdk disk.raw
}
try "flat data without its descriptor becomes a disk" flat_without_descriptor
try "a descriptor is nothing to salvage" fails_with 1 '.*VIX_E_DISK_NOTSUPPORTED.*' \
    "$VIXDISK" convert --salvage -t raw again.vmdk x.raw
refuse 2 "--salvage does not go with a format" "$VIXDISK" convert --salvage -f raw -t raw disk.raw x.raw

# A record that says that it is an earlier grain: the first one of a grain counts.
twice() {
    cp whole.vmdk twice.vmdk && poke twice.vmdk $((65536 + 6 * 66048)) 8001000000000000 &&
        cp disk.raw want.raw && dd if=/dev/zero of=want.raw bs=$GRAIN seek=6 count=1 conv=notrunc status=none &&
        "$VIXDISK" convert -q --salvage --overwrite -t raw twice.vmdk saved.raw && "$VIXDISK" compare saved.raw want.raw
}
try "of a grain that is there twice the first counts" twice

# More grains than there is room for at first.
many_grains() {
    truncate -s 96M disk.raw && fill disk.raw 0 $((80 << 20)) && "$VIXDISK" convert -q --overwrite -f raw -t streamOptimized \
        disk.raw many.vmdk && truncate -s $((64 * 1024 + 1200 * 66048 - 600)) many.vmdk &&
        "$VIXDISK" convert -q --salvage --overwrite -t raw many.vmdk saved.raw && cp disk.raw want.raw &&
        truncate -s $((1199 * GRAIN)) want.raw && truncate -s 96M want.raw && "$VIXDISK" compare saved.raw want.raw
}
try "many grains are salvaged" many_grains
