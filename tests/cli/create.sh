#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# create, info, meta, rename, rm: a disk's life without contents.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

info_is() { # file expression
    json_of "$2" "$VIXDISK" info --json "$1"
}
for type in $WRITABLE streamOptimized; do
    try "$type: create" "$VIXDISK" create -t "$type" -s 20M "$type.vmdk"
    [ "$type" = streamOptimized ] && continue # a stream that was never written has no end yet
    recorded=${type%Thin} # vmfsThin is vmfs with a mark
    try "$type: info" info_is "$type.vmdk" "d['virtual-size'] == 20 << 20 and d['format'] == 'vmdk' and
        d['format-specific']['data']['create-type'] == '$recorded' and d['adapter-type'] == 'lsilogic' and
        d.get('thin-provisioned', False) == ('$type' == 'vmfsThin')"
    try "$type: reads as zeros" cmp -n 20971520 <("$VIXDISK" read "$type.vmdk") /dev/zero
    case $type in
        vmfs*) ;; # qemu-img knows these, but calls them by another name
        *) try "$type: qemu-img reads it" qemu-img info -f vmdk "$type.vmdk" ;;
    esac
    try "$type: never replaces a file" fails_with 1 \
        "vixdisk: create: $type.vmdk: VIX_E_FILE_ALREADY_EXISTS \(12\): .*" "$VIXDISK" create -t "$type" -s 1M "$type.vmdk"
    try "$type: it is still there" info_is "$type.vmdk" "d['virtual-size'] == 20 << 20"
done

spelling() { # spelling type
    rm -f s*.vmdk
    "$VIXDISK" create -t "$1" s.vmdk 1M && info_is s.vmdk "d['format-specific']['data']['create-type'] == '$2'"
}
try "type monolithic-sparse" spelling monolithic-sparse monolithicSparse
try "type MONOLITHICFLAT" spelling MONOLITHICFLAT monolithicFlat
try "type split-flat" spelling split-flat twoGbMaxExtentFlat
try "type 2gbsparse" spelling 2gbsparse twoGbMaxExtentSparse
try "type vmfs-thin" spelling vmfs-thin vmfs
try "type vmfs-flat" spelling vmfs-flat vmfs
rm -f s*.vmdk

adapter() { # word
    rm -f a.vmdk
    "$VIXDISK" create -a "$1" -H 7 a.vmdk 1M && info_is a.vmdk "d['adapter-type'] == '$1' and d['hw-version'] == '7'"
}
for word in ide buslogic lsilogic; do
    try "adapter $word, hardware 7" adapter $word
done

try "an unknown folder" fails_with 1 'vixdisk: create: none/x.vmdk: VIX_E_FILE_NOT_FOUND \(4\): .*' \
    "$VIXDISK" create none/x.vmdk 1M
try "a hosted disk over 2 TB needs to be allowed" fails_with 1 \
    'vixdisk: create: big.vmdk: VIX_E_FILE_TOO_BIG \(21\): .*vixdisk\.allowHostedOver2TB.*' \
    "$VIXDISK" create -t monolithicFlat big.vmdk 3T
try "a monolithicSparse disk cannot be that large" fails_with 1 \
    'vixdisk: create: big.vmdk: VIX_E_FILE_TOO_BIG \(21\): .*[0-9]+.*' "$VIXDISK" create big.vmdk 3T
try "nothing is left of it" test "$(files_like 'big*')" -eq 0
too_big_json() {
    local status=0
    "$VIXDISK" create --json big.vmdk 3T >out 2>err || status=$?
    cat out err
    [ "$status" -eq 1 ] && [ ! -s err ] && json out "d['code'] == 21 and d['name'] == 'VIX_E_FILE_TOO_BIG' and
        'big.vmdk' in d['message'] and d['retryable'] is False and len(d) == 4"
}
try "a failure as JSON" too_big_json

# ---- info for people ----
human() { "$VIXDISK" info "$1" >out && cat out && grep -q '20 MiB (20971520 bytes)' out && grep -q "$2" out; }
try "info for people" human monolithicSparse.vmdk 'monolithicSparse, CID'
try "info for people: extents" human twoGbMaxExtentFlat.vmdk 'RW *FLAT .*twoGbMaxExtentFlat-f001.vmdk'
try "info of a file that is not there" fails_with 1 'vixdisk: info: none.vmdk: VIX_E_FILE_NOT_FOUND \(4\): .*' \
    "$VIXDISK" info none.vmdk

for type in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat; do
    try "$type: info --json has all that qemu-img tells" same_shape "$type.vmdk"
done

# ---- meta ----
disk=monolithicSparse.vmdk
meta_is() { [ "$("$VIXDISK" meta "$1" "$2")" = "$3" ]; }
try "meta reads a key" meta_is $disk adapterType lsilogic
try "meta writes a key" "$VIXDISK" meta $disk comment 'two words'
try "meta reads it back" meta_is $disk comment 'two words'
try "meta replaces a key" "$VIXDISK" meta $disk comment other
try "meta reads the new value" meta_is $disk comment other
try "meta lists as JSON" json_of "d['comment'] == 'other' and 'uuid' in d" "$VIXDISK" meta --json $disk
meta_list() { "$VIXDISK" meta $disk >out && cat out && grep -qx 'comment = other' out; }
try "meta lists for people" meta_list
try "meta of an unknown key" fails_with 1 "vixdisk: meta: $disk: VIX_E_DISK_KEY_NOTFOUND \(16052\): .*" \
    "$VIXDISK" meta $disk nokey
refuse 1 "meta refuses a value with a line end" "$VIXDISK" meta $disk comment $'a\nb'
try "the disk has the old value then" meta_is $disk comment other
try "qemu-img still reads the disk" qemu-img info $disk

# ---- rename, rm ----
mkdir sub
for type in $WRITABLE; do
    before=$(disk_files "$type")
    try "$type: rename" "$VIXDISK" rename "$type.vmdk" "new-$type.vmdk"
    try "$type: all its files have new names" test "$(disk_files "new-$type")" -eq "$before" -a \
        ! -e "$type.vmdk"
    try "$type: opens under the new name" info_is "new-$type.vmdk" "d['virtual-size'] == 20 << 20"
    try "$type: mv into a folder" "$VIXDISK" mv "new-$type.vmdk" "sub/$type.vmdk"
    try "$type: opens there" info_is "sub/$type.vmdk" "d['virtual-size'] == 20 << 20"
    try "$type: rm" "$VIXDISK" rm "sub/$type.vmdk"
    try "$type: no file is left" test -z "$(ls -A sub)"
done
"$VIXDISK" create one.vmdk 1M
"$VIXDISK" create two.vmdk 1M
try "rename does not replace" fails_with 1 'vixdisk: rename: one.vmdk: VIX_E_FILE_ALREADY_EXISTS \(12\): .*' \
    "$VIXDISK" rename one.vmdk two.vmdk
try "rename of what is not there" fails_with 1 'vixdisk: rename: none.vmdk: VIX_E_FILE_NOT_FOUND \(4\): .*' \
    "$VIXDISK" rename none.vmdk other.vmdk

# A symbolic link is no disk: the files beside it are those of the disk that it leads to.
mkdir linked elsewhere real && ln -s real way || exit 1
for type in $WRITABLE; do
    "$VIXDISK" create -t "$type" -s 4M linked/x.vmdk && ln -s x.vmdk linked/l.vmdk &&
        ln -s ../linked/x.vmdk elsewhere/l.vmdk || exit 1
    find linked elsewhere -type f -exec sha256sum {} + >linked.sum
    for link in linked/l.vmdk elsewhere/l.vmdk; do
        try "$type: rm of a symbolic link, $link" fails_with 1 \
            "vixdisk: rm: $link: VIX_E_INCORRECT_FILE_TYPE \\([0-9]+\\): .* is a symbolic link to .*/linked/x.vmdk: .*" \
            "$VIXDISK" rm "$link"
        try "$type: rename of a symbolic link, $link" fails_with 1 \
            "vixdisk: rename: $link: VIX_E_INCORRECT_FILE_TYPE \\([0-9]+\\): .* is a symbolic link to .*/linked/x.vmdk: .*" \
            "$VIXDISK" rename "$link" linked/n.vmdk
    done
    try "$type: the disk, its files and the links are there" eval 'sha256sum --quiet -c linked.sum &&
        [ -h linked/l.vmdk -a -h elsewhere/l.vmdk -a ! -e linked/n.vmdk ]'
    "$VIXDISK" rename linked/x.vmdk real/y.vmdk && rm linked/l.vmdk elsewhere/l.vmdk || exit 1
    try "$type: rename in a folder that a link leads to" "$VIXDISK" rename way/y.vmdk way/z.vmdk
    try "$type: rm there" "$VIXDISK" rm way/z.vmdk
    try "$type: nothing is left there" [ -z "$(find real linked elsewhere -mindepth 1)" ]
done

# Names of extents are in the encoding that the descriptor names, those of files in UTF-8.
truncate -s 1M model
printf 'some data' | dd of=model conv=notrunc status=none
"$VIXDISK" convert -q -f raw -t monolithicFlat model coded.vmdk
mv coded-flat.vmdk größe-flat.vmdk
LC_ALL=C sed -i 's/encoding="UTF-8"/encoding="windows-1252"/; s/coded-flat/gr\xf6\xdfe-flat/' coded.vmdk
try "rename of a disk whose names are not in UTF-8" "$VIXDISK" rename coded.vmdk size.vmdk
try "its extent has the new name" test -e size-flat.vmdk -a ! -e größe-flat.vmdk
try "and its data" "$VIXDISK" compare -F raw size.vmdk model
mv size-flat.vmdk größe-flat.vmdk
LC_ALL=C sed -i 's/size-flat/.\/gr\xf6\xdfe-flat/' size.vmdk
try "rm of it" "$VIXDISK" rm size.vmdk
try "no file of it is left" test ! -e size.vmdk -a ! -e größe-flat.vmdk

# A snapshot of ESXi, which is only read otherwise.
mkdir esx
VIXDISK=$VIXDISK PYTHONPATH=$SRC/tests/check PYTHONDONTWRITEBYTECODE=1 python3 -c 'import os
os.chdir("esx")
from image import SeSparse
SeSparse()'
try "seSparse: rename" "$VIXDISK" rename esx/disk.vmdk esx/moved.vmdk
try "seSparse: its files have new names" test -e esx/moved-sesparse.vmdk -a ! -e esx/disk-sesparse.vmdk -a ! -e esx/disk.vmdk
try "seSparse: its data" "$VIXDISK" compare -F raw esx/moved.vmdk esx/reference.raw
try "seSparse: map with holes" "$VIXDISK" map --json esx/moved.vmdk
try "rm removes several" "$VIXDISK" rm one.vmdk two.vmdk
try "both are gone" test ! -e one.vmdk -a ! -e two.vmdk
echo text >text
refuse 1 "rm refuses what is no disk" "$VIXDISK" rm text
try "and leaves it" test -e text

# Another descriptor of the same data: removing or replacing that disk would take the data.
twins() { "$VIXDISK" create -t monolithicFlat data.vmdk 8M && sed 's/monolithicFlat/vmfs/;s/ FLAT / VMFS /' data.vmdk >twin.vmdk &&
    "$VIXDISK" read -o 0 twin.vmdk >/dev/null; }
try "two descriptors of one file of data" twins
refuse 1 "rm of one of them is refused" "$VIXDISK" rm twin.vmdk
refuse 1 "and of the other" "$VIXDISK" rm data.vmdk
refuse 1 "and so is replacing it" "$VIXDISK" convert --overwrite -f raw -t monolithicSparse text twin.vmdk
try "the data is there" test -e data-flat.vmdk -a -e data.vmdk -a -e twin.vmdk
rm -f twin.vmdk
try "a single descriptor takes the data with it" "$VIXDISK" rm data.vmdk
try "as it should" test ! -e data-flat.vmdk -a ! -e data.vmdk
