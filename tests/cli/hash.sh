#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vixdisk hash: the digest that Python's and coreutils' SHA-256 give, whatever the type; manifests, also damaged ones.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

# A capacity that is no multiple of any chunk; data at both ends, holes, and a whole chunk of written zeros.
bytes=$((9 * 1048576 + 3 * 512))
truncate -s $bytes disk.img
fill disk.img 0 100000 1
fill disk.img 3145728 1048576 2
fill disk.img $((5 * 1048576 + 512)) 4096 3
fill disk.img $((bytes - 512)) 512 4

want() { # file chunk
    /usr/bin/python3 -c 'import hashlib, sys
data, chunk = open(sys.argv[1], "rb").read(), int(sys.argv[2])
print(hashlib.sha256(b"".join(hashlib.sha256(data[i:i + chunk]).digest() for i in range(0, len(data), chunk))).hexdigest())' "$1" "$2"
}
hashed() { # options... path: the digest, in the one line that is printed
    "$VIXDISK" hash "$@" >line || return
    [ "$(wc -l <line)" -eq 1 ] && sed -nE 's/^sha256-[0-9]+:([0-9a-f]{64})  .*/\1/p' line
}
same() { # file-of-bytes chunk options... path
    local a b
    a=$(want "$1" "$2") && b=$(hashed --chunk "$2" "${@:3}") && echo "$a $b" && [ "$a" = "$b" ]
}
for chunk in 4096 4608 65536 1048576 67108864; do
    try "chunks of $chunk: what Python says" same disk.img $chunk -f raw disk.img
done
try "1 MiB is the default" test "$(want disk.img 1048576)" = "$(hashed -f raw disk.img)"
for type in $WRITABLE streamOptimized vmfsSparse; do
    "$VIXDISK" convert -q -f raw -t "$type" disk.img "$type.vmdk"
    try "$type" same disk.img 65536 "$type.vmdk"
done
for threads in 1 2 7 64; do
    try "$threads threads" same disk.img 4096 -j $threads monolithicSparse.vmdk
done
recipe() { # as the help has it
    [ "$(split -b 1M --filter='sha256sum | cut -c 1-64' disk.img | xxd -r -p | sha256sum | cut -c 1-64)" = "$(hashed vmfs.vmdk)" ] &&
        "$VIXDISK" help hash | grep -qF "split -b 1M --filter='sha256sum | cut -c 1-64' disk.img | xxd -r -p | sha256sum"
}
try "split and sha256sum give the same" recipe
chain() {
    "$VIXDISK" snapshot monolithicSparse.vmdk child.vmdk && cp disk.img child.img && head -c 4096 /dev/zero | tr '\0' x >piece &&
        "$VIXDISK" write -q -o 7M child.vmdk <piece && dd if=piece of=child.img bs=4096 seek=1792 conv=notrunc status=none &&
        "$VIXDISK" write -q -o 3M child.vmdk < <(head -c 65536 /dev/zero) &&
        dd if=/dev/zero of=child.img bs=64k count=1 seek=48 conv=notrunc status=none && same child.img 4096 child.vmdk
}
try "a child with its parent" chain
empty() {
    "$VIXDISK" create -q -s 1T big.vmdk && "$VIXDISK" write -q -o 512G big.vmdk <piece &&
        json_of "d['read-bytes'] == 1048576 and d['data-chunks'] == 1 and d['virtual-size'] == 1 << 40" "$VIXDISK" hash --json big.vmdk
}
try "of 1 TiB with 4 KiB of data, one chunk is read" empty
try "what is told as JSON" json_of "d['digest'] == '$(want disk.img 1048576)' and d['algorithm'] == 'sha256' and
    d['chunk-size'] == 1048576 and d['virtual-size'] == $bytes and d['filename'] == 'vmfs.vmdk' and d['data-chunks'] == 4" \
    "$VIXDISK" hash --json vmfs.vmdk

# ---- manifests ----

written() {
    "$VIXDISK" hash --chunk 64K --manifest list vmfsThin.vmdk && cat list &&
        /usr/bin/python3 - <<'PYTHON'
import hashlib
data = open("disk.img", "rb").read()
lines = ["vixdisk-manifest 1 sha256", "capacity %d" % len(data), "chunk 65536"]
tree = hashlib.sha256()
for i in range(0, len(data), 65536):
    digest = hashlib.sha256(data[i:i + 65536])
    tree.update(digest.digest())
    if any(data[i:i + 65536]):
        lines.append("%d %s" % (i, digest.hexdigest()))
lines.append("digest " + tree.hexdigest())
assert open("list").read() == "\n".join(lines) + "\n"
PYTHON
}
try "a manifest has the chunks that are not zeros" written
for type in streamOptimized monolithicFlat; do
    try "$type is as in it" "$VIXDISK" hash --check list "$type.vmdk"
done
found() { # a chunk that was zeros, two neighbours that have changed, one that is zeros now, and the last one
    cp disk.img other.img && fill other.img $((2 * 1048576)) 10 5 && fill other.img $((3 * 1048576 + 65530)) 12 6 &&
        dd if=/dev/zero of=other.img bs=64k seek=1 count=1 conv=notrunc status=none && fill other.img $((bytes - 1)) 1 7
    "$VIXDISK" hash --check list -f raw other.img >said
    [ $? -eq 1 ] && cat said && [ "$(grep -c '^differs: ' said)" -eq 4 ] && grep -qx 'differs: 65536 bytes at 65536' said &&
        grep -qx 'differs: 65536 bytes at 2097152' said && grep -qx 'differs: 131072 bytes at 3145728' said &&
        grep -qx "differs: 1536 bytes at $((9 * 1048576))" said
    "$VIXDISK" hash --json --check list -f raw other.img >json
    [ $? -eq 1 ] && json json "not d['identical'] and d['different-bytes'] == 4 * 65536 + 1536 and
        [r['start'] for r in d['differences']] == [65536, 2097152, 3145728, $((9 * 1048576))]"
}
try "what differs from it is found" found
other_size() { truncate -s 8M small.img && "$VIXDISK" hash --check list -f raw small.img; }
refuse 1 "another capacity" other_size

damaged() { # sed-script
    sed "$1" list >bad
    ! cmp -s list bad && fails_with 2 'vixdisk: hash: bad: VIX_E_INVALID_ARG .*: line [0-9]+ .*' "$VIXDISK" hash --check bad vmfs.vmdk
}
n=0
# shellcheck disable=SC2016 # scripts of sed
for script in 1d 2d 3d '$d' '5d' '4,$d' '1s/1/2/' '2s/.*/capacity x/' '3s/65536/65537/' '3s/65536/512/' '3s/65536/99999999999/' \
    '4s/0/1/' '5s/^[0-9]*/0/' '5s/^[0-9]*/99999999999999999999/' '5s/^[0-9]*/655360000000/' '5s/ [0-9a-f]*/ x/' '5s/.$//' \
    '5s/$/0/' '5s/ .*//' '6s/ [0-9a-f]\{4\}/ 0000/' '$s/ .*/ 00/' '$s/[0-9a-f]\{4\}$/0000/' '$s/digest/digits/' '5h;5G' '6s/.*//'; do
    n=$((n + 1))
    try "a damaged manifest, $n: $script" damaged "$script"
done
no_text() { head -c 100000 /dev/urandom >bad && fails_with 2 'vixdisk: hash: bad: .*' "$VIXDISK" hash --check bad vmfs.vmdk; }
try "a file that is no manifest" no_text
huge() { # a capacity that is not the disk's is not gone through
    sed '2s/.*/capacity 18446744073709551104/; $d' list >bad
    timeout 10 "$VIXDISK" hash --check bad vmfs.vmdk
}
refuse 1 "a manifest of a disk of 16 EiB" huge

# ---- failures ----

try "a disk that is not there" fails_with 2 'vixdisk: hash: none.vmdk: VIX_E_FILE_NOT_FOUND .*' "$VIXDISK" hash none.vmdk
try "a manifest that is not there" fails_with 2 'vixdisk: hash: none: VIX_E_FILE_NOT_FOUND .*' "$VIXDISK" hash --check none vmfs.vmdk
try "--chunk with --check" fails_with 2 'vixdisk: hash: --chunk: .*' "$VIXDISK" hash --chunk 1M --check list vmfs.vmdk
try "a chunk that is too small" fails_with 2 'vixdisk: hash: --chunk: .*' "$VIXDISK" hash --chunk 512 vmfs.vmdk
try "a chunk that is too large" fails_with 2 'vixdisk: hash: --chunk: .*' "$VIXDISK" hash --chunk 128M vmfs.vmdk
full() { fails_with 2 'vixdisk: hash: /dev/full: .*' "$VIXDISK" hash --manifest /dev/full vmfs.vmdk; }
try "a manifest that cannot be written" full
torn() { # a grain that cannot be inflated
    cp streamOptimized.vmdk torn.vmdk && poke torn.vmdk $((200 * 512)) ffffffffffffffffffffffffffffffff &&
        fails_with 2 'vixdisk: hash: torn.vmdk: VIX_E_.*' "$VIXDISK" hash --manifest left torn.vmdk && [ ! -e left ]
}
try "a disk that cannot be read, and no manifest of it" torn
