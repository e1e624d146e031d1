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

# Records of one sector each: grain i is 8192 times its number, at byte 65536 + 512 * i of small.vmdk.
small() {
    /usr/bin/python3 -c 'import sys; sys.stdout.buffer.write(b"".join(b"%08d" % i * 8192 for i in range(256)))' >small.raw &&
        "$VIXDISK" convert -q -f raw -t streamOptimized small.raw small.vmdk &&
        [ "$(stat -c %s small.vmdk)" -lt $((65536 + 270 * 512)) ]
}

# salvages FILE RAW "LOST GRAINS" [REGEX]: all of RAW but those grains, which read as zeros, comes out of FILE; with no
# REGEX nothing is told but what was found, else a line that matches it is.
salvages() {
    local file=$1 raw=$2 lost=$3 grain
    cp "$raw" want.raw
    for grain in $lost; do
        dd if=/dev/zero of=want.raw bs=$GRAIN seek="$grain" count=1 conv=notrunc status=none
    done
    "$VIXDISK" convert --salvage --overwrite -t raw "$file" saved.raw 2>report && cat report &&
        "$VIXDISK" compare saved.raw want.raw || return 1
    if [ $# -gt 3 ]; then
        grep -qE "$4" report
    else
        [ "$(wc -l <report)" -eq 1 ]
    fi
}

# spoiled RECORD AT HEX [AT HEX]...: small.vmdk with other bytes at some places of a record
spoiled() {
    local at=$((65536 + $1 * 512))
    cp small.vmdk spoilt.vmdk && shift &&
        while [ $# -gt 0 ]; do
            poke spoilt.vmdk $((at + $1)) "$2" && shift 2 || return 1
        done
}
spoilt_small() { # record "at hex..." "lost grains" regex
    # shellcheck disable=SC2086
    spoiled "$1" $2 && salvages spoilt.vmdk small.raw "$3" "$4"
}
spoilt_whole() { # record at hex "lost grains" regex
    cp whole.vmdk spoilt.vmdk && poke spoilt.vmdk $((65536 + $1 * 66048 + $2)) "$3" &&
        salvages spoilt.vmdk disk.raw "$4" "$5"
}
ONE_SIZE='^vixdisk: convert: the size field of 1 of the records is wrong'
truncate -s $((64 * GRAIN)) disk.raw && truncate -s 16M disk.raw

try "small records are made" small
try "of a whole file nothing is told but what was found" salvages small.vmdk small.raw ""
try "a size that leads over whole records is not believed" spoilt_small 10 "8 60ea0000" "" "$ONE_SIZE"
try "nor one that leads to the end" spoilt_small 200 "8 00700000" "" "$ONE_SIZE"
try "a size that is impossible does not lose the data" spoilt_small 10 "8 ffffffff" "" "$ONE_SIZE"
try "nor does none" spoilt_small 10 "8 00000000" "" "$ONE_SIZE"
try "nor does one that is too small" spoilt_whole 7 8 64000000 "" "$ONE_SIZE"
try "a size that is wrong within its sector does no harm" spoilt_small 10 "8 50000000" "" "256 grains"
try "only the grain is lost whose size leads too far and whose data is damaged" \
    spoilt_small 10 "8 60ea0000 60 ffffffffffff" 10 "bytes 655360 to 720895 of the disk are lost"
two_damaged() {
    spoiled 10 60 ffffffffffff 572 ffffffffffff && salvages spoilt.vmdk small.raw "10 11" '^vixdisk: convert: 254 grains' &&
        [ "$(grep -c 'are lost: their grain is damaged' report)" -eq 2 ] && [ "$(wc -l <report)" -eq 3 ]
}
try "of grains side by side each is named" two_damaged

PASSED='^vixdisk: convert: 512 bytes of the file are no records'
try "a table's marker in the place of a record loses no more" \
    spoilt_small 20 "0 ffffffffffffffff0000000001000000" 20 "$PASSED"
try "nor does a directory's" spoilt_small 20 "0 00000000000001000000000002000000" 20 "$PASSED"
try "nor does a footer's" spoilt_small 20 "0 ffffffffffffff7f0000000003000000" 20 "$PASSED"
try "nor does a marker with a payload" spoilt_small 20 "0 f4010000000000000000000004000000" 20 "$PASSED"
zeros_between() {
    cp small.vmdk spoilt.vmdk && dd if=/dev/zero of=spoilt.vmdk bs=512 seek=158 count=8 conv=notrunc status=none &&
        salvages spoilt.vmdk small.raw "30 31 32 33 34 35 36 37" '^vixdisk: convert: 4096 bytes of the file are no records'
}
try "zeros between records are not the end, and told" zeros_between
try "a record of a place behind the disk loses no more" spoilt_small 20 "0 0000000000010000" 20 "$PASSED"
try "nor does one of a place within a grain" spoilt_small 20 "0 010a000000000000" 20 "$PASSED"
try "a record that says that it is a later grain does not count before that one" \
    spoilt_small 20 "0 0020000000000000" 20 '1 of the records name a grain out of order'
try "nor one that says that it is an earlier grain" \
    spoilt_small 20 "0 0002000000000000" 20 '1 of the records name a grain out of order'
first_record_elsewhere() {
    cp small.vmdk spoilt.vmdk && poke spoilt.vmdk 64 c800000000000000 && salvages spoilt.vmdk small.raw ""
}
try "records are found in front of where the header says that they begin" first_record_elsewhere
without_padding() {
    cp small.vmdk spoilt.vmdk && truncate -s $((65536 + 255 * 512 + 160)) spoilt.vmdk && salvages spoilt.vmdk small.raw ""
}
try "the last record may lack its padding" without_padding

# 700 sectors that look like records of 128 KiB, then grain 0 within the last of them, then grain 1 behind all of them.
hostile() {
    /usr/bin/python3 - <<'PYTHON' && salvages hostile.vmdk small.raw "$(seq -s ' ' 0 255 | sed 's/^0 1 /0 /')" '^vixdisk: convert: 1 grains'
import struct
whole = open("small.vmdk", "rb").read()
like = struct.pack("<QI", 5 * 128, 131072) + bytes.fromhex("789c") + bytes([0x05]) * 498
record = [whole[65536 + 512 * i:][:512] for i in (0, 1)]
open("hostile.vmdk", "wb").write(whole[:65536] + like * 700 + record[0] + b"\xff" * 512 * 300 + record[1])
PYTHON
}
try "what is tried in vain is limited, and does not hide what is behind" hostile

# Files with gaps between the grains of the disk, by two writers.
with_gaps() {
    /usr/bin/python3 - <<'PYTHON' && "$VIXDISK" convert -q -f raw -t streamOptimized gaps.raw gaps.vmdk &&
import random
r = random.Random(5)
with open("gaps.raw", "wb") as file:
    file.truncate(80 << 20)
    for grain in list(range(0, 200, 2)) + list(range(500, 620, 3)):
        file.seek(grain << 16)
        file.write(r.randbytes(r.randrange(1, 65536)))
PYTHON
        salvages gaps.vmdk gaps.raw "" &&
        qemu-img convert -f raw -O vmdk -o subformat=streamOptimized gaps.raw theirs.vmdk && salvages theirs.vmdk gaps.raw ""
}
try "a disk with gaps comes out whole" with_gaps
# Grain 202 of gaps.raw, of which there are none from 200 to 500.
elsewhere() {
    cp gaps.vmdk spoilt.vmdk && poke spoilt.vmdk 65536 0065000000000000 &&
        salvages spoilt.vmdk gaps.raw 0 '1 of the records name a grain out of order'
}
try "a record out of order gives nothing to a place where there was nothing" elsewhere
