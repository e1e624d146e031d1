#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What is wrong with a disk is said in one line, with its own code and the figures.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

"$VIXDISK" create -s 64M good.vmdk
"$VIXDISK" create -s 8M -t monolithicFlat flat.vmdk
"$VIXDISK" create -s 8M -t twoGbMaxExtentSparse split.vmdk
head -c 1M /dev/urandom >data
"$VIXDISK" write good.vmdk <data

# says FILE NAME CODE WORDS: info fails with one line that has the code and, as an extended regex, the words
says() { fails_with "${5:-1}" "vixdisk: info: $1: $2 \($3\): .*$4.*" "$VIXDISK" info "$1"; }
# read_fails FILE: it opens, but read ends with one line that has a figure
read_fails() {
    local status=0
    "$VIXDISK" read "$1" >/dev/null 2>err || status=$?
    cat err
    [ $status -eq 1 ] && [ "$(wc -l <err)" -eq 1 ] && grep -qE "^vixdisk: read: $1: VIX_E_[A-Z_]+ \([0-9]+\): .*[0-9]" err
}
# edit FILE SED: a copy of the flat disk's descriptor, changed
edit() { sed "$2" flat.vmdk >"$1"; }

: >empty.vmdk
try "an empty file" says empty.vmdk VIX_E_DISK_INVALIDDISK 16063 ''
head -c 4096 /dev/urandom >noise.vmdk
try "noise" says noise.vmdk VIX_E_DISK_INVALIDDISK 16063 ''
echo 'hello, world' >text.vmdk
try "text" says text.vmdk VIX_E_DISK_INVALIDDISK 16063 ''
head -c 300 good.vmdk >short.vmdk
try "a header that is cut off" says short.vmdk 'VIX_E_[A-Z_]+' '[0-9]+' ''
head -c 70000 good.vmdk >cut.vmdk
try "a sparse file that is cut off in its tables" read_fails cut.vmdk
mkdir folder.vmdk
try "a folder" says folder.vmdk 'VIX_E_[A-Z_]+' '[0-9]+' ''
mkfifo fifo.vmdk
try "a pipe" says fifo.vmdk 'VIX_E_[A-Z_]+' '[0-9]+' ''
try "a device that is none" says /dev/null 'VIX_E_[A-Z_]+' '[0-9]+' ''
try "no file" says none.vmdk VIX_E_FILE_NOT_FOUND 4 ''
try "an empty name" fails_with 1 'vixdisk: info: .*' "$VIXDISK" info ''

header() { # name offset hex code number words
    cp good.vmdk "$1.vmdk"
    poke "$1.vmdk" "$2" "$3"
    says "$1.vmdk" "$4" "$5" "$6"
}
any='VIX_E_DISK_[A-Z]+'
try "an unknown version of the header" header version 4 09000000 VIX_E_DISK_UNSUPPORTEDDISKVERSION 16011 9
try "a grain of 3 sectors" header grain 20 0300000000000000 "$any" '[0-9]+' 3
try "a grain of no sectors" header grain0 20 0000000000000000 "$any" '[0-9]+' '[0-9]+'
coded() { # a compressed disk with a method that nobody knows
    cp good.vmdk coded.vmdk
    poke coded.vmdk 8 03000100
    poke coded.vmdk 77 0700
    says coded.vmdk "$1" "$2" "$3"
}
try "a huge grain" header grainx 20 0000000000000001 "$any" '[0-9]+' '[0-9]+'
try "a huge capacity" header capacity 12 ffffffffffffff7f "$any" '[0-9]+' '[0-9]+'
try "no entries in a grain table" header entries 44 00000000 "$any" '[0-9]+' '[0-9]+'
try "a million entries in a grain table" header entriesx 44 00001000 "$any" '[0-9]+' '[0-9]+'
try "a grain directory behind the end" header directory 56 ffffff0000000000 "$any" '[0-9]+' '[0-9]+'
try "a descriptor behind the end" header descriptor 28 ffffff0000000000 "$any" '[0-9]+' '[0-9]+'
try "a descriptor of 2 GiB" header descriptorx 36 0000400000000000 "$any" '[0-9]+' '[0-9]+'
try "an unknown compression" coded "$any" '[0-9]+' 7
try "line ends changed by a file transfer" header lines 73 0d0a0d0a "$any" '[0-9]+' ''

edit nonsense.vmdk 's/^RW.*/RW many FLAT "flat-flat.vmdk" 0/'
try "an extent line that is nonsense" says nonsense.vmdk "$any" '[0-9]+' ''
edit access.vmdk 's/^RW/WR/'
try "an extent with an unknown access" says access.vmdk "$any" '[0-9]+' ''
edit kind.vmdk 's/ FLAT / ROUND /'
try "an extent of an unknown kind" says kind.vmdk "$any" '[0-9]+' ''
edit none2.vmdk '/^RW/d'
try "a descriptor without extents" says none2.vmdk "$any" '[0-9]+' ''
edit huge.vmdk 's/^RW [0-9]*/RW 99999999999999999999/'
try "an extent of more than 64 bits" says huge.vmdk "$any" '[0-9]+' ''
edit version7.vmdk 's/^version=.*/version=7/'
try "an unknown version of the descriptor" says version7.vmdk VIX_E_DISK_UNSUPPORTEDDISKVERSION 16011 7
sed 's/^parentCID=.*/parentCID=12345678\nparentFileNameHint="gone.vmdk"/' split.vmdk >parent.vmdk
try "a parent that is missing" says parent.vmdk "$any" '[0-9]+' 'gone.vmdk'
edit encrypted.vmdk 's/^CID=/encryptionKeys="vmware:key\/list"\nCID=/'
try "an encrypted disk" says encrypted.vmdk VIX_E_DISK_NEEDKEY 16014 ''
cp flat.vmdk nofile.vmdk && sed -i 's/flat-flat/gone-flat/' nofile.vmdk
try "a missing extent" says nofile.vmdk 'VIX_E_[A-Z_]+' '[0-9]+' 'gone-flat.vmdk'
edit small.vmdk 's/^RW [0-9]*/RW 99999/'
try "an extent that is shorter than its line says" says small.vmdk "$any" '[0-9]+' '[0-9]+'
rm split-s001.vmdk
try "a missing extent of a split disk" says split.vmdk 'VIX_E_[A-Z_]+' '[0-9]+' 'split-s001.vmdk'

mkdir -p outside inside
"$VIXDISK" create -s 1M -t monolithicFlat outside/o.vmdk
sed 's/"o-flat.vmdk"/"..\/outside\/o-flat.vmdk"/' outside/o.vmdk >inside/i.vmdk
sed "s,\"o-flat.vmdk\",\"$TMP/outside/o-flat.vmdk\"," outside/o.vmdk >inside/a.vmdk
try "a path outside the folder" says inside/i.vmdk 'VIX_E_[A-Z_]+' '[0-9]+' 'outside'
try "an absolute path outside the folder" says inside/a.vmdk 'VIX_E_[A-Z_]+' '[0-9]+' 'outside'
try "is followed with --allow-outside" "$VIXDISK" info --allow-outside inside/i.vmdk
try "or with the setting" "$VIXDISK" info --set vixdisk.allowOutsidePaths=1 inside/a.vmdk

if [ "$(id -u)" -ne 0 ]; then
    chmod 000 good.vmdk
    try "a file without permission" says good.vmdk VIX_E_FILE_ACCESS_ERROR 13 ''
    chmod 644 good.vmdk
fi
mkdir flat.vmdk.lck
echo x >flat.vmdk.lck/M12345.lck
try "a disk that another product has locked" says flat.vmdk VIX_E_FILE_ALREADY_LOCKED 15 'flat.vmdk.lck' 75
rm -r flat.vmdk.lck

json_error() {
    local status=0
    "$VIXDISK" info --json noise.vmdk >out 2>err || status=$?
    cat out err
    [ $status -eq 1 ] && [ ! -s err ] && json out "d['code'] == 16063 and d['name'] == 'VIX_E_DISK_INVALIDDISK' and
        d['retryable'] is False and 'noise.vmdk' in d['message']"
}
try "a failure as JSON" json_error

# A damaged grain: the line names the place.
"$VIXDISK" convert -f raw -t streamOptimized data stream.vmdk
size=$(stat -c %s stream.vmdk)
cp stream.vmdk damaged.vmdk
poke damaged.vmdk $((size / 2)) 00000000000000000000000000000000
try "a damaged compressed grain" read_fails damaged.vmdk
head -c $((size / 2)) stream.vmdk >cutstream.vmdk
refuse 1 "a stream that is cut off" "$VIXDISK" read cutstream.vmdk
