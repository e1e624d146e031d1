#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vixdisk sync on local chains: what qemu-io writes, compared by qemu-img; targets that others touch; kill -9.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

write() { qemu-io -f vmdk -c "write -P 0x$4 $2 $3" "$1" >/dev/null; }
same() { qemu-img compare -q -f vmdk -F "$3" "$1" "$2"; }
sync() { "$VIXDISK" sync --json "$@" >said; }
delta() { json said "d['mode'] == 'delta' and d['changed-bytes'] == $1"; }
whole() { json said "d['mode'] == 'full' and '$1' in d['reason']"; }

qemu-img create -q -f vmdk base.vmdk 64M
write base.vmdk 0 1M 11
write base.vmdk 40M 3M 12

first() { sync base.vmdk copy.raw && whole 'no state' && same base.vmdk copy.raw raw && [ "$(stat -c %s copy.raw)" = 67108864 ]; }
try "sync: the first pass copies everything" first
holes() { [ "$(du -k copy.raw | cut -f1)" -le 4200 ]; }
try "sync: holes stay holes" holes
nothing() { sync base.vmdk copy.raw && delta 0 && json copy.raw.vixstate "d['complete']"; }
try "sync: nothing has changed" nothing

child() {
    qemu-img create -q -f vmdk -b base.vmdk -F vmdk one.vmdk && write one.vmdk 10M 192k 21 && write one.vmdk 40M 64k 0 &&
        sync --verify changed one.vmdk copy.raw && delta $((256 * 1024)) && same one.vmdk copy.raw raw
}
try "sync: what a child has" child
grandchild() {
    qemu-img create -q -f vmdk -b one.vmdk -F vmdk two.vmdk && write two.vmdk 20M 64k 31 &&
        sync --verify full two.vmdk copy.raw && delta 65536 && same two.vmdk copy.raw raw
}
try "sync: what a grandchild has, verified in full" grandchild
written() {
    write two.vmdk 21M 64k 32 && refuse_full two.vmdk && sync two.vmdk copy.raw && whole 'no link' &&
        same two.vmdk copy.raw raw
}
refuse_full() { "$VIXDISK" sync --no-full "$1" copy.raw; [ $? = 3 ]; }
try "sync: a top link that was written to; --no-full" written
back() { sync one.vmdk copy.raw && whole 'no link' && same one.vmdk copy.raw raw && sync two.vmdk copy.raw && delta 131072 && same two.vmdk copy.raw raw; }
try "sync: back to an earlier link, and forth" back
trim() {
    qemu-img create -q -f vmdk -b two.vmdk -F vmdk three.vmdk && write three.vmdk 0 1M 0 && write three.vmdk 41M 1M 0 &&
        sync three.vmdk copy.raw && delta $((2 << 20)) && same three.vmdk copy.raw raw && json said "d['zeroed-bytes'] > 0"
}
try "sync: zeros are written over data" trim

touched() { printf x | dd of=copy.raw bs=1 seek=5M conv=notrunc status=none && sync three.vmdk copy.raw && whole 'by others' && same three.vmdk copy.raw raw; }
try "sync: a copy that others wrote to" touched
replaced() { cp copy.raw other && mv other copy.raw && sync three.vmdk copy.raw && whole 'another file'; }
try "sync: another file in its place" replaced
gone() { rm copy.raw && sync three.vmdk copy.raw && whole 'gone' && same three.vmdk copy.raw raw; }
try "sync: the copy is gone" gone
exists() { truncate -s 1M else.raw && fails_with 1 '.*else.raw.*--overwrite.*' "$VIXDISK" sync base.vmdk else.raw && sync --overwrite base.vmdk else.raw && same base.vmdk else.raw raw; }
try "sync: writes over nothing without being told" exists
exists_full() { truncate -s 1M more.raw && fails_with 1 '.*more.raw.*--overwrite.*' "$VIXDISK" sync --full base.vmdk more.raw; }
try "sync: not with --full either" exists_full
bad_state() { echo '{}' >else.raw.vixstate && fails_with 1 '.*else.raw.vixstate.*not a state.*' "$VIXDISK" sync base.vmdk else.raw && sync --full base.vmdk else.raw && sync base.vmdk else.raw && delta 0; }
try "sync: a state that is none" bad_state

# What a repair puts back was not there for the copy: under the content ID that the copy knows it would stay so.
damage() { # entries of four grains in the primary tables
    PYTHONPATH=$SRC/tests/check PYTHONDONTWRITEBYTECODE=1 VIXDISK=$VIXDISK python3 -c 'from image import *
disk = Sparse("hurt.vmdk")
for grain in range(4):
    disk.set_gte(PRIMARY, grain, 0)'
}
cid() { json_of "open('$2', 'w').write(str([l['cid'] for l in d['chain']]))" "$VIXDISK" info --json "$1"; }
with_cid() { # FILE CID: in as many digits as are given
    python3 -c 'import re, sys
with open(sys.argv[1], "r+b") as f:
    f.seek(512)
    area = f.read(20 * 512)
    f.seek(512)
    f.write(re.sub(rb"\bCID=\w+", b"CID=" + sys.argv[2].encode(), area, count=1)[:len(area)].ljust(len(area), b"\0"))' "$@"
}
repaired() {
    rm -f hurt.* && qemu-img create -q -f vmdk hurt.vmdk 16M && write hurt.vmdk 0 1M 41 && damage && with_cid hurt.vmdk "$1" && sync hurt.vmdk hurt.raw &&
        cid hurt.vmdk before && "$VIXDISK" check hurt.vmdk
    [ $? = 4 ] && cid hurt.vmdk looked && cmp before looked && ! "$VIXDISK" check --repair hurt.vmdk &&
        cid hurt.vmdk after && ! cmp -s before after && "$VIXDISK" check hurt.vmdk && sync hurt.vmdk hurt.raw &&
        same hurt.vmdk hurt.raw raw
}
try "sync: data that a repair has put back, content ID without leading zeros" repaired a9572c
try "sync: data that a repair has put back" repaired 0da9572c
parent() {
    "$VIXDISK" snapshot hurt.vmdk kid.vmdk && damage && cid hurt.vmdk before && "$VIXDISK" check --repair --json hurt.vmdk >said
    json said "[p['name'] for p in d['problems'] if p['note']] == ['content-id-kept'] and
        any('kid.vmdk' in p['detail'] for p in d['problems'])" && cid hurt.vmdk after && cmp before after &&
        same kid.vmdk hurt.raw raw
}
try "check: a parent's content ID stays for its child, which is told" parent
unread() { # a child that only its owner may read
    local us=$TMP/unread
    rm -rf "$us" && mkdir "$us" && damage && cp hurt.vmdk kid.vmdk "$us" && chown nobody "$us" "$us/hurt.vmdk" &&
        chmod 600 "$us/kid.vmdk" && chmod 755 "$TMP" && cid "$us/hurt.vmdk" before || return
    as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
    as_nobody "$VIXDISK" check --repair --json "$us/hurt.vmdk" >said
    json said "[p['name'] for p in d['problems'] if p['note']] == ['content-id-kept'] and
        any('kid.vmdk: cannot open: Permission denied' in p['detail'] for p in d['problems'])" &&
        cid "$us/hurt.vmdk" after && cmp before after && same "$us/kid.vmdk" hurt.raw raw &&
        fails_with 1 'vixdisk: grow: .*VIX_E_FILE_ACCESS_ERROR.*: what cannot be read may be a child of .*/hurt.vmdk: .*' \
            as_nobody "$VIXDISK" grow -s 32M "$us/hurt.vmdk"
}
if [ "$(id -u)" -eq 0 ]; then
    try "a child that cannot be read keeps the content ID, and its parent from growing" unread
fi
apart() {
    mkdir -p apart && "$VIXDISK" snapshot hurt.vmdk apart/kid.vmdk && rm kid.vmdk && damage &&
        "$VIXDISK" check --repair --chain --allow-outside --json apart/kid.vmdk >said
    json said "any(p['name'] == 'content-id-kept' for p in d['problems'])" && same apart/kid.vmdk hurt.raw raw
}
try "check: so it does for the disk above it in the chain" apart

for type in monolithicSparse monolithicFlat twoGbMaxExtentSparse vmfsThin; do
    to_vmdk() {
        sync -t "$type" base.vmdk "to-$type.vmdk" && "$VIXDISK" compare base.vmdk "to-$type.vmdk" && sync --verify full two.vmdk "to-$type.vmdk" &&
            delta $((384 * 1024)) && "$VIXDISK" compare two.vmdk "to-$type.vmdk" && "$VIXDISK" check "to-$type.vmdk"
    }
    try "sync: to $type" to_vmdk
done
stream() { fails_with 2 '.*streamOptimized.*' "$VIXDISK" sync -t streamOptimized base.vmdk s.vmdk; }
try "sync: streamOptimized is refused" stream
grown() {
    "$VIXDISK" create -q -s 8M small.vmdk && sync small.vmdk grown.raw && "$VIXDISK" grow -q -s 9M small.vmdk && fill_vmdk small.vmdk 8M &&
        sync small.vmdk grown.raw && [ "$(stat -c %s grown.raw)" = 9437184 ] && same small.vmdk grown.raw raw
}
fill_vmdk() { head -c 65536 /dev/urandom | "$VIXDISK" write -o "$2" "$1"; }
try "sync: a disk that has grown" grown
dry() { cp copy.raw.vixstate before && sync --dry-run base.vmdk copy.raw && whole 'no link' && cmp before copy.raw.vixstate && same three.vmdk copy.raw raw; }
try "sync: --dry-run changes nothing" dry
locked() { ( flock 9; ! "$VIXDISK" sync three.vmdk copy.raw 2>err && grep -q 'another sync' err ) 9>copy.raw.vixstate.lock; }
try "sync: one at a time" locked

# A copy that somebody else has open: nothing becomes of its state, and what they have written is noticed.
refused() {
    local status=0
    cp h.raw.vixstate before
    "$VIXDISK" sync -q "$@" h.vmdk h.raw 2>err || status=$?
    cat err && [ $status -eq 75 ] && cmp before h.raw.vixstate
}
held_by_writer() {
    "$VIXDISK" create -q -s 8M h.vmdk && fill_vmdk h.vmdk 0 && sync h.vmdk h.raw && mkfifo pipe || return 1
    "$VIXDISK" write -q -f raw h.raw <pipe &
    local pid=$! refused=0
    exec 8>pipe
    head -c 1M /dev/urandom >&8 # more than a pipe holds: it is being read, so the copy is open
    refused || refused=$?
    exec 8>&-
    wait $pid && [ $refused -eq 0 ] && sync h.vmdk h.raw && whole 'by others' && same h.vmdk h.raw raw
}
try "sync: a copy that is being written by another" held_by_writer
held_by_reader() {
    "$VIXDISK" read -q -f raw h.raw >pipe 2>/dev/null &
    local pid=$! refused=0
    exec 8<pipe
    head -c 512 <&8 >/dev/null
    refused --full || refused=$?
    exec 8<&-
    wait $pid
    [ $refused -eq 0 ] && sync h.vmdk h.raw && delta 0
}
try "sync: --full of a copy that is being read by another" held_by_reader
# A run that fails half-way notes how it leaves the copy: gone on with if it is so, copied anew if it is not.
fails_half_way() { ( trap '' XFSZ && ulimit -f 4096 && ! "$VIXDISK" sync -q "$1" h.raw ); }
failed() {
    "$VIXDISK" snapshot -q h.vmdk h1.vmdk && fill_vmdk h1.vmdk 6M && fails_half_way h1.vmdk && sync h1.vmdk h.raw &&
        delta 65536 && same h1.vmdk h.raw raw
}
try "sync: a run that failed is gone on with" failed
failed_touched() {
    "$VIXDISK" snapshot -q h1.vmdk h2.vmdk && fill_vmdk h2.vmdk 7M && fails_half_way h2.vmdk &&
        printf x | dd of=h.raw bs=1 seek=1M conv=notrunc status=none && sync h2.vmdk h.raw && whole 'by others' &&
        same h2.vmdk h.raw raw
}
try "sync: a run that failed, and others write" failed_touched
extents() { # every file of the copy is looked at
    local type
    for type in monolithicFlat twoGbMaxExtentSparse; do
        rm -f e*.vmdk e.vmdk.vixstate
        sync -t $type base.vmdk e.vmdk && sync base.vmdk e.vmdk && delta 0 && fill "$(ls e-*.vmdk)" 1048576 512 &&
            sync --dry-run base.vmdk e.vmdk && whole 'by others' && sync base.vmdk e.vmdk && whole 'by others' &&
            "$VIXDISK" compare base.vmdk e.vmdk && sync base.vmdk e.vmdk && delta 0 || return 1
    done
}
try "sync: others write to an extent of the copy" extents

# Killed at any moment, the next run is right: random writes, random kills, with a checkpoint at each 4 MiB.
killed() {
    local round kills=0
    "$VIXDISK" create -q -s 192M k0.vmdk && head -c 96M /dev/urandom | "$VIXDISK" write -o 8M k0.vmdk || return 1
    for round in 1 2 3; do
        for _ in 1 2; do
            "$VIXDISK" sync -q --checkpoint 4M "k$((round - 1)).vmdk" k.raw &
            sleep "0.0$((RANDOM % 10))"
            kill -9 $! 2>/dev/null
            wait $! 2>/dev/null || kills=$((kills + 1))
        done
        sync --checkpoint 4M "k$((round - 1)).vmdk" k.raw && "$VIXDISK" compare "k$((round - 1)).vmdk" k.raw || return 1
        "$VIXDISK" snapshot "k$((round - 1)).vmdk" "k$round.vmdk" >/dev/null || return 1
        for _ in 1 2 3 4 5 6; do
            head -c 5M /dev/urandom | "$VIXDISK" write -o "$((RANDOM % 180))M" "k$round.vmdk" || return 1
        done
    done
    echo "$kills killed"
    [ "$kills" -gt 0 ]
}
try "sync: kill -9 at any moment" killed
# The source goes back to an earlier time after a run was killed half-way: what that had copied has to go.
reverted() {
    "$VIXDISK" create -q -s 64M r0.vmdk && head -c 8M /dev/zero | tr '\0' a | "$VIXDISK" write r0.vmdk && sync r0.vmdk r.raw &&
        "$VIXDISK" snapshot r0.vmdk r1.vmdk && head -c 60M /dev/zero | tr '\0' b | "$VIXDISK" write r1.vmdk || return 1
    "$VIXDISK" sync -q --checkpoint 1M r1.vmdk r.raw & sleep 0.04; kill -9 $!; wait $! 2>/dev/null
    sync r0.vmdk r.raw && "$VIXDISK" compare r0.vmdk r.raw
}
try "sync: a source that went back" reverted
