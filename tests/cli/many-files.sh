#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks of more files than a process may have open: 2 TB in extents of 2 GB, with 256 files allowed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

ulimit -n 256
SECTORS=4294967295  # 2 TB less a sector: the most that a hosted disk can have
SPOTS=(0 4192254 2147483648 3000000001 4294967290)

truncate -s 1M model
fill model 0 1048576 1

put() { dd if=model bs=512 skip="$2" count=4 status=none | "$VIXDISK" write -o "$1s" disk.vmdk; }
put_all() { for i in "${!SPOTS[@]}"; do put "${SPOTS[i]}" $((i * 8)) || return 1; done; }
same() { cmp <("$VIXDISK" read -o "$1s" -n 4s disk.vmdk) <(dd if=model bs=512 skip="$2" count=4 status=none); }
same_all() { for i in "${!SPOTS[@]}"; do same "${SPOTS[i]}" $((i * 8)) || return 1; done; }
data() { "$VIXDISK" map --json disk.vmdk >map.json && json map.json "sum(1 for r in d if r['data']) >= 5 and
    d[-1]['start'] + d[-1]['length'] == $SECTORS * 512"; }

# Touches most extents through one handle, several times: each is opened, closed for others, and opened again.
all_extents() { # read|write requests
    "$VIXDISK" bench "$1" -d 4 -c "$2" -s 64K --random disk.vmdk >/dev/null
}

"$VIXDISK" create -t twoGbMaxExtentSparse -s "${SECTORS}s" disk.vmdk || exit 1
try "split sparse: 1025 files" test "$(files_like 'disk*.vmdk')" -eq 1026
try "split sparse: info" json_of "d['virtual-size'] == $SECTORS * 512" "$VIXDISK" info --json disk.vmdk
try "split sparse: write" put_all
try "split sparse: read" same_all
try "split sparse: map" data
try "split sparse: random reads" all_extents read 3000
try "split sparse: check" "$VIXDISK" check -q disk.vmdk
try "split sparse: a child" "$VIXDISK" snapshot -t twoGbMaxExtentSparse disk.vmdk child.vmdk
try "split sparse: a chain of two such" cmp <("$VIXDISK" read -o 4192254s -n 4s child.vmdk) \
    <(dd if=model bs=512 skip=8 count=4 status=none)
try "split sparse: merge the child" "$VIXDISK" commit child.vmdk
try "split sparse: defragment" "$VIXDISK" defrag disk.vmdk
try "split sparse: rename" "$VIXDISK" mv disk.vmdk other.vmdk
"$VIXDISK" mv other.vmdk disk.vmdk
convert() { "$VIXDISK" convert -t twoGbMaxExtentSparse disk.vmdk copy.vmdk && "$VIXDISK" compare disk.vmdk copy.vmdk &&
    "$VIXDISK" rm copy.vmdk; }
try "split sparse: convert, compare" convert
writes() { all_extents write 250 && "$VIXDISK" check -q disk.vmdk; }
try "split sparse: random writes, check" writes
try "split sparse: rm" "$VIXDISK" rm disk.vmdk
try "nothing is left" test "$(files_like '*.vmdk*')" -eq 0

# Flat files that take no space: as they are made they would take 2 TB.
/usr/bin/python3 - "$SECTORS" <<'PYTHON'
import sys
left = int(sys.argv[1])
lines = []
while left:
    n = min(left, 4192256)
    name = "disk-f%03d.vmdk" % (len(lines) + 1)
    with open(name, "wb") as file:
        file.truncate(n * 512)
    lines.append('RW %d FLAT "%s" 0\n' % (n, name))
    left -= n
with open("disk.vmdk", "w", encoding="ascii") as file:
    file.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="twoGbMaxExtentFlat"\n\n' +
               "".join(lines) + '\nddb.adapterType = "lsilogic"\n')
PYTHON
try "split flat: write" put_all
try "split flat: read" same_all
try "split flat: map" data
try "split flat: random reads" all_extents read 3000
try "split flat: check" "$VIXDISK" check -q disk.vmdk
try "split flat: convert, compare" convert
