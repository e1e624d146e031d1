#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Chains: those that we make are read by qemu-img as we read them, at every depth from 1 to 20 links above the base; those
# that qemu makes, writes and commits are the same disks to us; links of different types in one chain.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

"$SRC/scripts/make-image" image 16 6
sectors=$((16 * 2048))
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
sound() { # vmdk: every file of the chain
    "$VIXDISK" check --chain "$1"
}
pick_range() { # most: start and length, in sectors; often at the edge of a grain
    length=$((RANDOM % $1 + 1))
    start=$(((RANDOM * 32768 + RANDOM) % (sectors - length)))
    if ((RANDOM % 3 == 0)); then
        start=$((start / 128 * 128))
    fi
}
# The same random writes to a disk and to a raw image, some of zeros: vmdk raw count
we_write() {
    local i start length
    for ((i = 0; i < $3; i++)); do
        pick_range 300
        if ((i % 3 == 2)); then
            head -c $((length * 512)) /dev/zero >piece
        else
            head -c $((length * 512)) /dev/urandom >piece
        fi
        "$VIXDISK" write -o "${start}s" "$1" <piece || return 1
        dd if=piece of="$2" bs=512 seek="$start" conv=notrunc status=none || return 1
    done
}
qemu_writes() { # vmdk raw count
    local i start length
    for ((i = 0; i < $3; i++)); do
        pick_range 300
        if ((i % 4 == 3)); then
            echo "write -z $((start * 512)) $((length * 512))"
        else
            echo "write -P $((RANDOM % 255 + 1)) $((start * 512)) $((length * 512))"
        fi
    done >writes
    qemu-io -f vmdk "$1" <writes >/dev/null && qemu-io -f raw "$2" <writes >/dev/null
}
links() { # vmdk count
    [ "$("$VIXDISK" info --json "$1" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["chain"]))')" = "$2" ]
}

# ---- made by us, to the depth of 20

# name-of-base type-of-base types-of-children...: each child is written, read by both, and is the next one's parent
deep_chain() {
    local base=$1 type=$2 depth parent name
    shift 2
    local types=("$@")
    cp image "$base.raw"
    try "$base: import" "$VIXDISK" convert --quiet -f raw -t "$type" image "$base.vmdk"
    parent=$base.vmdk
    for ((depth = 1; depth <= 20; depth++)); do
        name=$base-$(printf '%06d' $depth).vmdk
        "$VIXDISK" snapshot -t "${types[depth % ${#types[@]}]}" "$parent" "$name" || exit 1
        we_write "$name" "$base.raw" 3 || exit 1
        try "$base: qemu-img reads $depth links above the base" theirs "$name" "$base.raw"
        parent=$name
    done
    try "$base: we read 20 links above the base" ours "$parent" "$base.raw"
    try "$base: the chain has 21 links" links "$parent" 21
    try "$base: every file of the chain is sound" sound "$parent"
    try "$base: the base is what it was" ours "$base.vmdk" image
}
deep_chain sparse monolithicSparse monolithicSparse
deep_chain flat monolithicFlat twoGbMaxExtentSparse monolithicSparse
deep_chain vm vmfs vmfsSparse

# Merged link by link from the top down: the same disk at each step.
merge_down() { # name-of-base
    local depth name
    for ((depth = 20; depth > 0; depth--)); do
        name=$1-$(printf '%06d' $depth).vmdk
        "$VIXDISK" commit --quiet "$name" || return 1
        [ ! -e "$name" ] || return 1
        if ((depth == 11 || depth == 1)); then
            name=$1-$(printf '%06d' $((depth - 1))).vmdk
            [ $depth -gt 1 ] || name=$1.vmdk
            theirs "$name" "$1.raw" && sound "$name" || return 1
        fi
    done
}
for base in vm flat; do
    try "$base: 20 links merged one after the other, qemu-img reads the same" merge_down $base
    left=$(find . -name "$base-0*" | wc -l)
    try "$base: no file of a merged link is left" [ "$left" -eq 0 ]
done
rm -f ./*.vmdk ./*.raw

# ---- made by qemu

for options in monolithicSparse twoGbMaxExtentSparse monolithicSparse,zeroed_grain=on; do
    rm -f q*.vmdk
    cp image model
    qemu-img convert -q -f raw -O vmdk -o subformat=monolithicSparse image q0.vmdk || exit 1
    for ((depth = 1; depth <= 10; depth++)); do
        qemu-img create -q -f vmdk -o "subformat=$options" -b q$((depth - 1)).vmdk -F vmdk q$depth.vmdk || exit 1
        qemu_writes q$depth.vmdk model 10 || exit 1
        try "$options by qemu: we read $depth links above the base" ours q$depth.vmdk model
    done
    try "$options by qemu: qemu-img and we agree" theirs q10.vmdk model
    try "$options by qemu: every file of the chain is sound" sound q10.vmdk
    # -d: the child is left as it is; what was its parent has it all
    qemu-img commit -q -d -f vmdk q10.vmdk || exit 1
    try "$options by qemu: the parent after qemu-img commit" ours q9.vmdk model
    rm -f q10*.vmdk
    qemu_writes q9.vmdk model 20 || exit 1
    try "$options by qemu: written again by qemu-io" ours q9.vmdk model
    we_write q9.vmdk model 10 || exit 1
    try "$options by qemu: written by us" theirs q9.vmdk model
    try "$options by qemu: merged by us" "$VIXDISK" commit --quiet q9.vmdk
    try "$options by qemu: after our merge qemu-img reads the same" theirs q8.vmdk model
    try "$options by qemu: after our merge all is sound" sound q8.vmdk
done

# qemu cannot rebase a VMDK; by hand it is the name and the content ID in the descriptor. The new parent is another type
# and has the same content.
rebased() {
    local cid
    rm -f r*.vmdk
    cp image model
    qemu-img convert -q -f raw -O vmdk image r0.vmdk &&
        qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse -b r0.vmdk -F vmdk r1.vmdk &&
        qemu_writes r1.vmdk model 20 &&
        qemu-img convert -q -f vmdk -O vmdk -o subformat=monolithicFlat r0.vmdk rnew.vmdk || return 1
    cid=$(sed -n 's/^CID=//p' rnew.vmdk)
    sed -i "s/^parentCID=.*/parentCID=$cid/; s/^parentFileNameHint=.*/parentFileNameHint=\"rnew.vmdk\"/" r1.vmdk
    rm r0.vmdk
    theirs r1.vmdk model && ours r1.vmdk model
}
try "rebased: a chain of qemu's on another parent" rebased

# ---- mixed

# vmdk raw: all of us think the same of it, also after more writes from both sides
all_agree() {
    theirs "$1" "$2" && ours "$1" "$2" && we_write "$1" "$2" 5 && theirs "$1" "$2" && sound "$1"
}
for base in monolithicFlat twoGbMaxExtentFlat streamOptimized vmfs vmfsThin; do
    for child in monolithicSparse twoGbMaxExtentSparse vmfsSparse; do
        case $base-$child in
            vmfs*-* | *-monolithicSparse | *-twoGbMaxExtentSparse) ;;
            *) continue ;; # redo logs of ESX stand on its own disks only
        esac
        rm -f m*.vmdk
        cp image model
        "$VIXDISK" convert --quiet -f raw -t $base image m0.vmdk && "$VIXDISK" snapshot -t $child m0.vmdk m1.vmdk || exit 1
        we_write m1.vmdk model 5 || exit 1
        try "$child on $base: qemu-img and we agree" all_agree m1.vmdk model
        "$VIXDISK" snapshot m1.vmdk m2.vmdk && we_write m2.vmdk model 5 || exit 1
        try "monolithicSparse on $child on $base: qemu-img and we agree" all_agree m2.vmdk model
        if [ $child != vmfsSparse ]; then
            qemu-img create -q -f vmdk -b m2.vmdk -F vmdk m3.vmdk && qemu_writes m3.vmdk model 10 || exit 1
            try "a child of qemu's on monolithicSparse on $child on $base" all_agree m3.vmdk model
        fi
    done
done
