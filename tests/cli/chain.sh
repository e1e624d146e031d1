#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Children: snapshot and create -b, and what the other commands make of a chain.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

truncate -s 16M model
fill model 0 262144 1
"$VIXDISK" create -s 16M base.vmdk && "$VIXDISK" write base.vmdk <model || exit 1

put() { dd if=model bs=512 skip="$2" count="$3" status=none | "$VIXDISK" write -o "$2s" "$1"; }
try "snapshot" "$VIXDISK" snapshot base.vmdk one.vmdk
fill model 131072 65536 2
try "write to a child" put one.vmdk 256 128
try "create -b is the same" "$VIXDISK" create -t twoGbMaxExtentSparse -b one.vmdk two.vmdk
refuse 2 "create -b takes no size" "$VIXDISK" create -b one.vmdk -s 16M three.vmdk
try "a snapshot never replaces a file" fails_with 1 \
    'vixdisk: snapshot: two.vmdk: VIX_E_FILE_ALREADY_EXISTS \(12\): .*' "$VIXDISK" snapshot base.vmdk two.vmdk
fill model 5242880 512 3
try "write to a child of a child, less than a grain" put two.vmdk 10240 1
try "the chain reads as one disk" cmp model <("$VIXDISK" read two.vmdk)
try "qemu-img reads the same" qemu-img compare -f vmdk -F raw two.vmdk model
try "map --json is that of qemu-img" same_map two.vmdk
try "info --json has all that qemu-img tells" same_shape two.vmdk
try "info lists the links, the top one first" json_of "[l['filename'] for l in d['chain']] ==
    ['two.vmdk', 'one.vmdk', 'base.vmdk'] and d['chain'][0]['parent-cid'] == d['chain'][1]['cid'] and
    d['chain'][1]['parent-cid'] == d['chain'][2]['cid']" "$VIXDISK" info --json two.vmdk
single() { "$VIXDISK" map --json --single-link two.vmdk >out && json out "[(r['start'], r['length']) for r in d if r['data']] ==
    [(5242880, 65536)]"; }
try "map --single-link shows the top link only" single
flat() { "$VIXDISK" convert -t "$1" two.vmdk flat.vmdk && "$VIXDISK" compare -F raw flat.vmdk model &&
    json_of "len(d['chain']) == 1" "$VIXDISK" info --json flat.vmdk && "$VIXDISK" rm flat.vmdk; }
for type in monolithicSparse monolithicFlat streamOptimized; do
    try "convert makes one link of a chain: $type" flat $type
done
raw() { "$VIXDISK" convert -t raw two.vmdk flat.raw && cmp flat.raw model; }
try "convert makes one image of a chain" raw
try "compare: a chain and an image" "$VIXDISK" compare -F raw two.vmdk model

# A write to a parent makes its children invalid; a missing parent is named.
cp base.vmdk kept.vmdk
put base.vmdk 0 1
try "a parent that was changed" fails_with 1 'vixdisk: info: two.vmdk: VIX_E_DISK_CID_MISMATCH \(16008\): .*' \
    "$VIXDISK" info two.vmdk
mv kept.vmdk base.vmdk
try "the chain is valid again with the old one" cmp model <("$VIXDISK" read two.vmdk)
mv one.vmdk away.vmdk
try "a parent that is missing" fails_with 1 'vixdisk: info: two.vmdk: VIX_E_DISK_OPENPARENT \(16012\): .*one\.vmdk.*' \
    "$VIXDISK" info two.vmdk
try "info --single-link of it" "$VIXDISK" info --single-link two.vmdk
