#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The commands that change the files of a disk: grow (resize), shrink, defrag, commit. Exit statuses and sentences.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

truncate -s 16M model
fill model 1048576 262144 1
fill model 8388608 131072 2

same_as_model() { # vmdk: the disk is the model, followed by zeros
    "$VIXDISK" compare -F raw "$1" model && qemu-img compare -f vmdk -F raw "$1" model && "$VIXDISK" check "$1"
}
capacity_is() { # vmdk bytes
    json_of "d['virtual-size'] == $2" "$VIXDISK" info --json "$1"
}

# ---- grow

for type in $WRITABLE; do
    "$VIXDISK" convert --quiet -f raw -t "$type" model disk.vmdk || exit 1
    try "grow: $type" "$VIXDISK" grow -s 20M disk.vmdk
    try "grow: $type has the capacity" capacity_is disk.vmdk $((20 << 20))
    try "grow: $type has its content, then zeros" same_as_model disk.vmdk
    "$VIXDISK" rm disk.vmdk || exit 1
done
"$VIXDISK" convert --quiet -f raw -t monolithicSparse model disk.vmdk || exit 1
try "resize is grow" "$VIXDISK" resize -g -s 17M disk.vmdk
try "resize made it larger" capacity_is disk.vmdk $((17 << 20))
try "grow to the capacity it has" "$VIXDISK" grow -s 17M disk.vmdk
try "grow without a size" fails_with 2 "vixdisk: grow: the size is missing: -s SIZE .*" "$VIXDISK" grow disk.vmdk
try "grow to a part of a sector" fails_with 2 'vixdisk: grow: --size: 33000001 is not a multiple of 512 bytes .*' \
    "$VIXDISK" grow -s 33000001 disk.vmdk
try "grow does not make smaller" fails_with 1 \
    'vixdisk: grow: disk.vmdk: VIX_E_INVALID_ARG \(3\): .* has 34816 sectors, it cannot be made smaller \(16384\)' \
    "$VIXDISK" grow -s 8M disk.vmdk
try "grow beyond what the type can hold" fails_with 1 'vixdisk: grow: disk.vmdk: VIX_E_FILE_TOO_BIG \(21\): .*' \
    "$VIXDISK" grow -s 1000T disk.vmdk
try "grow what is not there" fails_with 1 'vixdisk: grow: no.vmdk: VIX_E_FILE_NOT_FOUND \(4\): .*' \
    "$VIXDISK" grow -s 8M no.vmdk
"$VIXDISK" convert --quiet -t streamOptimized disk.vmdk stream.vmdk || exit 1
try "grow a stream" fails_with 1 'vixdisk: grow: stream.vmdk: VIX_E_NOT_SUPPORTED \(6\): .* type streamOptimized cannot grow.*' \
    "$VIXDISK" grow -s 32M stream.vmdk
"$VIXDISK" snapshot disk.vmdk child.vmdk || exit 1
try "grow a parent" fails_with 1 \
    'vixdisk: grow: disk.vmdk: VIX_E_DISK_PARTIALCHAIN \(16003\): .*disk.vmdk is the parent of .*/child.vmdk, .*' \
    "$VIXDISK" grow -s 32M disk.vmdk
try "grow a child" fails_with 1 'vixdisk: grow: child.vmdk: VIX_E_DISK_PARTIALCHAIN \(16003\): .* has a parent: .*' \
    "$VIXDISK" grow -s 32M child.vmdk
not_grown() { ! "$VIXDISK" grow --json -s 32M child.vmdk; }
try "an error of grow as JSON" json_of "d['code'] == 16003 and d['name'] == 'VIX_E_DISK_PARTIALCHAIN' and
    not d['retryable']" not_grown
try "nothing of this changed the capacity" capacity_is child.vmdk $((17 << 20))
"$VIXDISK" rm child.vmdk || exit 1

# ---- shrink, defrag

head -c 1M /dev/urandom | "$VIXDISK" write -o 0 disk.vmdk && head -c 1M /dev/zero | "$VIXDISK" write -o 0 disk.vmdk || exit 1
length=$(stat -c %s disk.vmdk)
try "defrag" "$VIXDISK" defrag disk.vmdk
try "defrag changed no content" same_as_model disk.vmdk
try "defrag keeps what is allocated" [ "$(stat -c %s disk.vmdk)" -gt $((length - 262144)) ]
in_order() {
    json_of "sorted(r['offset'] for r in d if 'offset' in r) == [r['offset'] for r in d if 'offset' in r]" \
        "$VIXDISK" map --json disk.vmdk
}
try "defrag put the grains in order" in_order
try "shrink" "$VIXDISK" shrink disk.vmdk
try "shrink changed no content" same_as_model disk.vmdk
try "shrink made the file shorter" [ "$(stat -c %s disk.vmdk)" -le $((length - 1048576)) ]
percents() {
    "$VIXDISK" defrag --progress=3 disk.vmdk 3>steps && tail -1 steps && [ "$(tail -1 steps)" = 100/100 ]
}
try "defrag --progress=FD" percents
"$VIXDISK" convert --quiet -t monolithicFlat disk.vmdk flat.vmdk || exit 1
sha256sum flat* >flat.sum
try "defrag of a flat disk does nothing" "$VIXDISK" defrag flat.vmdk
try "shrink of a flat disk" fails_with 1 \
    'vixdisk: shrink: flat.vmdk: VIX_E_NOT_SUPPORTED \(6\): .* type monolithicFlat is taken for good: .*' \
    "$VIXDISK" shrink flat.vmdk
try "the flat disk is untouched" sha256sum --check flat.sum
try "defrag of a stream" fails_with 1 'vixdisk: defrag: stream.vmdk: VIX_E_[A-Z_]+ \([0-9]+\): .*' \
    "$VIXDISK" defrag stream.vmdk
try "shrink what is not there" fails_with 1 'vixdisk: shrink: no.vmdk: VIX_E_FILE_NOT_FOUND \(4\): .*' "$VIXDISK" shrink no.vmdk
refuse 2 "shrink without a disk" "$VIXDISK" shrink
refuse 2 "defrag of two disks" "$VIXDISK" defrag disk.vmdk flat.vmdk
"$VIXDISK" snapshot disk.vmdk child.vmdk || exit 1
try "shrink of a child" fails_with 1 'vixdisk: shrink: child.vmdk: VIX_E_DISK_CANTSHRINK \(16009\): .* has a parent: .*' \
    "$VIXDISK" shrink child.vmdk
try "defrag of a child" "$VIXDISK" defrag child.vmdk

# A child whose zeros, which are entries only, hide what its parent has.
zeros_hide() {
    fill disk.raw 0 1048576 && "$VIXDISK" convert -q --overwrite -f raw -t monolithicSparse disk.raw below.vmdk &&
        qemu-img create -q -f vmdk -o zeroed_grain=on -b below.vmdk -F vmdk above.vmdk &&
        qemu-io -f vmdk -c 'write -P 7 512k 64k' -c 'write -z 64k 192k' -c 'write -P 8 0 64k' above.vmdk &&
        qemu-img convert -f vmdk -O raw above.vmdk want.raw && "$VIXDISK" compare -F raw above.vmdk want.raw
}
truncate -s 4M disk.raw
try "a child with entries for zeros" zeros_hide
try "defrag of it" "$VIXDISK" defrag above.vmdk
try "its zeros still hide the parent" "$VIXDISK" compare -F raw above.vmdk want.raw
try "qemu-img agrees" qemu-img compare -f vmdk -F raw above.vmdk want.raw
try "check finds nothing" "$VIXDISK" check above.vmdk

# ---- the owner's

# Whoever changes a disk, root too, leaves it to those who could use it. Only root can try the owner.
belongs() { # prefix: of each file owner, group and bits are those of nobody's
    local file
    for file in "$1"*.vmdk; do
        [ "$(stat -c %u:%g:%a "$file")" = 65534:65534:660 ] || { stat -c '%n %u:%g:%a' "$file" && return 1; }
    done
}
try_as_owned() { # name command...: on own.vmdk and its extents
    if [ "$(id -u)" = 0 ]; then
        chown 65534:65534 own*.vmdk
    fi
    chmod 660 own*.vmdk
    try "$1" "${@:2}"
    if [ "$(id -u)" = 0 ]; then
        try "$1: the files are still their owner's" belongs own
    else
        try "$1: the files have their rights" test -z "$(find . -name 'own*.vmdk' ! -perm 660)"
    fi
}
for type in monolithicSparse monolithicFlat twoGbMaxExtentSparse; do
    (umask 022 && "$VIXDISK" convert -q -f raw -t $type model own.vmdk) || exit 1
    umask 077
    try_as_owned "$type: meta" "$VIXDISK" meta own.vmdk comment "a longer one than there was"
    try_as_owned "$type: grow" "$VIXDISK" grow -s 18M own.vmdk
    try_as_owned "$type: defrag" "$VIXDISK" defrag own.vmdk
    try_as_owned "$type: rename" "$VIXDISK" rename own.vmdk owner.vmdk
    umask 022
    "$VIXDISK" rm owner.vmdk || exit 1
done

# ---- commit

truncate -s 17M model
fill model 300032 98304 3
dd if=model bs=512 skip=586 count=192 status=none | "$VIXDISK" write -o 586s child.vmdk || exit 1
"$VIXDISK" snapshot -t twoGbMaxExtentSparse child.vmdk top.vmdk || exit 1
fill model 1048576 65536 4
dd if=model bs=64K skip=16 count=1 status=none | "$VIXDISK" write -o 1M top.vmdk || exit 1
try "commit a disk that has a child" fails_with 1 \
    'vixdisk: commit: child.vmdk: VIX_E_DISK_PARTIALCHAIN \(16003\): .*child.vmdk is the parent of .*/top.vmdk: .*' \
    "$VIXDISK" commit child.vmdk
"$VIXDISK" snapshot child.vmdk other.vmdk || exit 1
try "commit beside another child" fails_with 1 \
    'vixdisk: commit: top.vmdk: VIX_E_DISK_PARTIALCHAIN \(16003\): .*child.vmdk is the parent of .*/other.vmdk too, .*' \
    "$VIXDISK" commit top.vmdk
"$VIXDISK" rm other.vmdk || exit 1
try "the chain is as it was" same_as_model top.vmdk
ln -s top.vmdk link.vmdk && ln -s child.vmdk link2.vmdk || exit 1
try "commit a symbolic link" fails_with 1 \
    'vixdisk: commit: link.vmdk: VIX_E_INCORRECT_FILE_TYPE \([0-9]+\): .* is a symbolic link to .*/top.vmdk: .*' \
    "$VIXDISK" commit link.vmdk
ln top.vmdk hard.vmdk
try "commit beside a hard link, which would be spoilt" fails_with 1 \
    'vixdisk: commit: top.vmdk: VIX_E_DISK_PARTIALCHAIN \(16003\): .*child.vmdk is the parent of .*/hard.vmdk too, .*' \
    "$VIXDISK" commit top.vmdk
rm hard.vmdk
try "the chain is still as it was" same_as_model link.vmdk
try "commit beside links to the two" "$VIXDISK" commit --progress top.vmdk
try "commit removed the child's files" [ "$(files_like 'top*')" -eq 0 ]
rm link.vmdk link2.vmdk
try "commit: the parent has it all" same_as_model child.vmdk
try "commit the next" "$VIXDISK" commit child.vmdk
try "commit: the base has it all" same_as_model disk.vmdk
try "commit of a disk without parent" fails_with 1 'vixdisk: commit: disk.vmdk: VIX_E_DISK_ATTACH_ROOTLINK \(16069\): .*' \
    "$VIXDISK" commit disk.vmdk
try "commit what is not there" fails_with 1 'vixdisk: commit: no.vmdk: VIX_E_FILE_NOT_FOUND \(4\): .*' "$VIXDISK" commit no.vmdk
refuse 2 "commit without a disk" "$VIXDISK" commit
"$VIXDISK" snapshot stream.vmdk on-stream.vmdk || exit 1
try "commit to a stream" fails_with 1 'vixdisk: commit: on-stream.vmdk: VIX_E_[A-Z_]+ \([0-9]+\): .*' "$VIXDISK" commit on-stream.vmdk
try "no temporary file is left by all this" [ "$(files_like '*tmp*')" -eq 0 ]
