#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks made by qemu-img in each of its subformats, with writes by qemu-io in between, are the same disk to us.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

"$SRC/scripts/make-image" image 256 100
sectors=$((256 * 2048))

# The same commands for one seed: random runs of sectors, some of them zeros. Only for subformats that take writes.
RANDOM=${VIXDISK_TEST_SEED:-4711}
echo "# seed $RANDOM"
for ((i = 0; i < 200; i++)); do
    length=$((RANDOM % 300 + 1))
    start=$(((RANDOM * 32768 + RANDOM) % (sectors - length)))
    case $((i % 4)) in
        3) echo "write -z $((start * 512)) $((length * 512))" ;;
        *) echo "write -P $((RANDOM % 255 + 1)) $((start * 512)) $((length * 512))" ;;
    esac
done >writes

same_as_qemu_reads() { # file
    rm -f theirs.img ours.img
    qemu-img convert -f vmdk -O raw "$1" theirs.img && "$VIXDISK" convert --quiet -t raw "$1" ours.img && cmp theirs.img ours.img
}
compare_command() { # file
    qemu-img convert -f vmdk -O raw "$1" theirs.img && "$VIXDISK" compare "$1" theirs.img
}
we_write_too() { # file: a disk of qemu's, written by us, is sound and the same to qemu
    "$VIXDISK" read -o 1M -n 3M image2 >piece && "$VIXDISK" write -o 777s "$1" <piece &&
        qemu-img convert -f vmdk -O raw "$1" theirs.img && dd if=piece of=ours.img bs=512 seek=777 conv=notrunc status=none &&
        cmp theirs.img ours.img
}
"$VIXDISK" convert --quiet -f raw -t monolithicSparse image image2 || exit 1

for options in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized \
    monolithicSparse,zeroed_grain=on twoGbMaxExtentSparse,zeroed_grain=on monolithicSparse,compat6=on \
    monolithicSparse,adapter_type=lsilogic,hwversion=10; do
    disk=disk.vmdk
    rm -f disk*
    qemu-img convert -q -f raw -O vmdk -o "subformat=$options" image "$disk" || exit 1
    try "$options: reads the same" same_as_qemu_reads "$disk"
    try "$options: info reads it" "$VIXDISK" info --json "$disk"
    case $options in
        streamOptimized*) continue ;;
    esac
    qemu-io -f vmdk "$disk" <writes >/dev/null || exit 1
    try "$options: reads the same after random writes" same_as_qemu_reads "$disk"
    try "$options: compare finds no difference" compare_command "$disk"
    try "$options: is the same to qemu after we wrote" we_write_too "$disk"
done
