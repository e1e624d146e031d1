#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vixdisk mount: the disk and its partitions as files, read by e2fsck, debugfs, cmp and others; what is written to them
# is read by qemu-img.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

# shellcheck disable=SC2317 # called at the end by tap.sh
cleanup() { fusermount3 -q -u -z "$TMP/m"; }

# The device is a matter of the machine; containers often lack it, and root may be kept from making it.
[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229
if ! true <>/dev/fuse; then
    skip "mounts" "/dev/fuse cannot be opened here (a container without it, or a kernel without FUSE)"
    exit 0
fi

"$SRC/scripts/make-image" image 24 2
truncate -s 40M disk.img
printf 'label: gpt\nstart=2048,size=49152,type=L,name="root"\nstart=53248,size=8192,type=L\n' | sfdisk -q disk.img
dd if=image of=disk.img bs=1M seek=1 conv=notrunc,sparse status=none
"$VIXDISK" convert -q -f raw -t monolithicSparse disk.img disk.vmdk
mkdir m

appears() { # what is mounted in the background of this script
    local i
    for ((i = 0; i < 200; i++)); do
        [ -e m/disk ] && return
        sleep 0.05
    done
    return 1
}
ended() { # the process of the mount has gone, and the disk is free
    local i
    fusermount3 -u m || return
    for ((i = 0; i < 200; i++)); do
        "$VIXDISK" check -q "${1:-disk.vmdk}" && return
        sleep 0.05
    done
    return 1
}

shows() {
    "$VIXDISK" mount disk.vmdk m || return
    ls -l m && cmp m/disk disk.img && cmp m/p1 image && cmp -n 4194304 m/p2 /dev/zero && [ "$(stat -c %s m/p2)" -eq 4194304 ] &&
        [ "$(ls m)" = "$(printf 'disk\ninfo.json\np1\np2')" ] && grep -q ' fuse.vixdisk ro,' /proc/mounts
}
try "disk and partitions of a GPT are files with the same bytes" shows
try "info.json" json_of "d['partition-table'] == 'gpt' and d['virtual-size'] == 41943040 and d['read-only'] and
    [(p['filename'], p['start'], p['length'], p['label']) for p in d['partitions']] ==
    [('p1', 1048576, 25165824, 'root'), ('p2', 27262976, 4194304, '')]" cat m/info.json
try "e2fsck finds the file system sound" e2fsck -fn m/p1
same_files() {
    mkdir out want && debugfs -R 'rdump / out' m/p1 && debugfs -R 'rdump / want' image && diff -r out want && [ -n "$(ls want)" ]
}
try "debugfs gets the same files out of it" same_files
parallel() {
    local i pids=() status=0
    for i in 1 2 3 4; do
        cmp m/disk disk.img &
        pids+=($!)
        dd if=m/p1 bs=$((i * 4096 + 512)) iflag=direct,fullblock status=none | cmp - image &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || status=1
    done
    return $status
}
try "eight readers at once" parallel
holes() { cp --sparse=auto m/disk copy.img && cmp copy.img disk.img && [ "$(du -k copy.img | cut -f 1)" -lt 20480 ]; }
try "holes are holes: a copy of it is sparse" holes
refused_write() { ! (echo x >m/p1) && ! (: >m/new) && ! chmod 600 m/p1 && cmp m/disk disk.img; }
try "nothing can be written without -w" refused_write
try "the disk cannot be mounted for writing meanwhile" fails_with 75 'vixdisk: mount: .*VIX_E_FILE_ALREADY_LOCKED.*' \
    "$VIXDISK" mount -w disk.vmdk m
try "fusermount3 -u ends it" ended

# ---- writing ----

written() {
    "$VIXDISK" mount -w disk.vmdk m || return
    dd if=/dev/urandom of=new bs=1M count=2 status=none
    # whole sectors, pieces of sectors, by way of both files
    dd if=new of=m/p2 bs=64k conv=notrunc,fsync status=none && dd if=new of=disk.img bs=64k seek=416 conv=notrunc status=none &&
        dd if=new of=m/disk bs=1000 count=77 seek=31333 conv=notrunc,fsync status=none &&
        dd if=new of=disk.img bs=1000 count=77 seek=31333 conv=notrunc status=none &&
        dd if=new of=m/p2 bs=1 count=1 seek=4194303 conv=notrunc status=none &&
        dd if=new of=disk.img bs=1 count=1 seek=31457279 conv=notrunc status=none &&
        cmp m/disk disk.img && ended && qemu-img compare -f raw disk.img -F vmdk disk.vmdk
}
try "-w: qemu-img reads what was written" written
holes_made() { # fallocate of util-linux, on whole sectors and on parts of them; the space is free again
    local full
    full=$(du -k disk.vmdk | cut -f 1)
    "$VIXDISK" mount -w disk.vmdk m || return
    fallocate -p -o 0 -l 1500000 m/p2 && fallocate -p -o 1999999 -l 3 m/p2 && fallocate -z -o 2000100 -l 70001 m/p2 &&
        cp disk.img before.img && fallocate -p -o 27262976 -l 1500000 disk.img && fallocate -p -o 29262975 -l 3 disk.img &&
        fallocate -p -o 29263076 -l 70001 disk.img && ! cmp -s before.img disk.img && cmp m/disk disk.img || return
    ! fallocate -l 100000 m/p2 && ! fallocate -p -o 0 -l 100 m/info.json && ended &&
        qemu-img compare -f raw disk.img -F vmdk disk.vmdk && [ "$(du -k disk.vmdk | cut -f 1)" -le $((full - 1300)) ]
}
try "-w: holes that are made there give space back" holes_made
bounds() {
    "$VIXDISK" mount -w disk.vmdk m || return
    ! dd if=new of=m/p2 bs=4096 seek=1024 count=1 conv=notrunc status=none && ! truncate -s 1G m/p2 && ! truncate -s 1k m/p2 &&
        ! rm -f m/p2 && [ "$(stat -c %s m/p2)" -eq 4194304 ] && cmp m/disk disk.img && ended
}
try "-w: nothing is written behind the end, no length is changed" bounds
file_system() { # a file system that is changed in place by e2fsprogs
    "$VIXDISK" mount -w disk.vmdk m && debugfs -w -R 'write new added' m/p1 && e2fsck -fn m/p1 && ended || return
    "$VIXDISK" convert -q -t raw --overwrite disk.vmdk disk.img &&
        dd if=disk.img of=part.img bs=1M skip=1 count=24 status=none && debugfs -R 'dump added got' part.img && cmp new got
}
try "-w: debugfs writes a file into ext4" file_system
killed() { # what fsync has returned for is there after kill -9, and the folder is free
    local pid i
    "$VIXDISK" mount -f -w disk.vmdk m &
    pid=$!
    appears || return
    /usr/bin/python3 -c 'import os
fd = os.open("m/p2", os.O_WRONLY)
os.pwrite(fd, b"\xa5" * 300000, 1000000)
os.fsync(fd)
os.pwrite(fd, b"\x77" * 300000, 2000000)' || return
    kill -KILL "$pid"
    wait "$pid"
    for ((i = 0; i < 100; i++)); do
        grep -q " $TMP/m " /proc/mounts || break
        sleep 0.05
    done
    [ -z "$(ls -A m)" ] && "$VIXDISK" check -q --repair disk.vmdk
    [ $? -le 1 ] && qemu-io -r -f vmdk -c "read -P 0xa5 $((27262976 + 1000000)) 300000" disk.vmdk | tee read.log && ! grep -q failed read.log &&
        "$VIXDISK" mount disk.vmdk m && [ "$(stat -c %s m/p2)" -eq 4194304 ] && ended
}
try "-w: an fsync that returned outlives kill -9, and the folder can be used again" killed

# ---- copy on write ----

cow() {
    "$VIXDISK" convert -q -t raw --overwrite disk.vmdk disk.img && cp disk.vmdk before.vmdk &&
        "$VIXDISK" mount --cow child.vmdk disk.vmdk m && dd if=new of=m/p2 bs=64k count=3 seek=9 conv=notrunc,fsync status=none &&
        cp disk.img over.img && dd if=new of=over.img bs=64k count=3 seek=425 conv=notrunc status=none && cmp m/disk over.img &&
        ended && cmp disk.vmdk before.vmdk
}
try "--cow: what is written is there, the disk is as it was" cow
again() {
    "$VIXDISK" mount --cow child.vmdk disk.vmdk m && cmp m/disk over.img && ended && cmp disk.vmdk before.vmdk &&
        qemu-img compare -f raw over.img -F vmdk child.vmdk
}
try "--cow: it is there the next time, and FILE is a child disk to qemu-img" again
other_parent() {
    "$VIXDISK" write -q -o 39M disk.vmdk <new.part &&
        fails_with 1 'vixdisk: mount: child.vmdk: .*' "$VIXDISK" mount --cow child.vmdk disk.vmdk m && [ -z "$(ls -A m)" ]
}
head -c 65536 new >new.part
try "--cow: not on a disk that has changed since" other_parent
refuse 2 "-w with --cow" "$VIXDISK" mount -w --cow x.vmdk disk.vmdk m
try "no file is left of that" test ! -e x.vmdk

# ---- other tables, other formats ----

logical() {
    truncate -s 24M mbr.img && printf 'label: dos\n2048,4096,83\n8192,,5\n10240,2048,82\n14336,8192,7\n' | sfdisk -q mbr.img &&
        fill mbr.img $((14336 * 512)) 100000 && "$VIXDISK" convert -q -f raw -t vmfsThin mbr.img mbr.vmdk && "$VIXDISK" mount mbr.vmdk m || return
    cat m/info.json
    sfdisk --json mbr.img >theirs.json
    # the extended partition itself is no file
    json_of "[(p['start'] // 512, p['length'] // 512, int(p['type'], 16)) for p in d['partitions']] ==
        [(p['start'], p['size'], int(p['type'], 16)) for p in json.load(open('theirs.json'))['partitiontable']['partitions'] if p['type'] != '5']
        and len(d['partitions']) == 3" cat m/info.json &&
        tail -c +$((14336 * 512 + 1)) mbr.img | head -c $((8192 * 512)) | cmp - m/p6 && ended mbr.vmdk
}
try "an MBR with logical partitions, as sfdisk reads it" logical
backup() {
    poke disk.img 512 00 && "$VIXDISK" convert -q -f raw -t vmfs disk.img damaged.vmdk && "$VIXDISK" mount damaged.vmdk m 2>said || return
    cat said
    grep -q 'first copy' said && cmp m/p1 <(tail -c +1048577 disk.img | head -c 25165824) && ended damaged.vmdk
}
try "a GPT whose first copy is damaged" backup
raw() { "$VIXDISK" mount --format raw image m && cmp m/disk image && [ ! -e m/p1 ] && fusermount3 -u m; }
try "a raw image without a table" raw

# ---- the end ----

foreground() { # signal
    "$VIXDISK" mount -f disk.vmdk m &
    local pid=$!
    appears || return
    (cd m && kill "-$1" $pid && sleep 0.5 && cmp -n 1000 disk ../disk.img) || return # in use: it goes on
    kill "-$1" $pid && wait $pid && [ -z "$(ls -A m)" ]
}
"$VIXDISK" convert -q -t raw --overwrite disk.vmdk disk.img
try "-f: SIGINT unmounts, unless it is in use" foreground INT
try "-f: SIGTERM too" foreground TERM
by_nobody() { # without root, whom others cannot look at; the device is for all, as udev makes it, also where there is none
    local us=$TMP/nobody
    rm -rf "$us" && mkdir -p "$us/m" "$us/dev" && cp disk.vmdk disk.img "$us" && chown -R nobody "$us" && chmod 755 "$TMP" || return
    # shellcheck disable=SC2016 # expanded by the shell that is started
    unshare --mount bash -ec 'cd "$2"
        mount -t tmpfs none dev && mknod -m 666 dev/fuse c 10 229 && mount --bind dev/fuse /dev/fuse
        exec setpriv --reuid nobody --regid nogroup --clear-groups bash -ec "
            \"\$0\" mount disk.vmdk m && cmp m/disk disk.img && fusermount3 -u m" "$1"' bash "$VIXDISK" "$us"
}
if [ "$(id -u)" -eq 0 ]; then
    try "a user who is not root mounts" by_nobody
fi
try "a disk that is not there" fails_with 1 'vixdisk: mount: none.vmdk: VIX_E_FILE_NOT_FOUND .*' "$VIXDISK" mount none.vmdk m
try "a folder that is not there" fails_with 1 'vixdisk: mount: none: .*no folder to mount on.*' "$VIXDISK" mount disk.vmdk none
try "a file in the place of the folder" fails_with 1 'vixdisk: mount: image: .*no folder.*' "$VIXDISK" mount disk.vmdk image
alone() { # where vixdisk-mount is not installed
    mkdir alone && cp "$VIXDISK" alone/ &&
        LD_LIBRARY_PATH=$(dirname "$VIXDISK")/../src/api fails_with 1 'vixdisk: mount: .*vixdisk-mount: VIX_E_NOT_SUPPORTED .*' \
            alone/vixdisk mount disk.vmdk m
}
try "without vixdisk-mount there is a sentence" alone
