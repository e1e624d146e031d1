#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# convert: a small real file system to every type and back, streams, targets that exist, progress, interruption.
# shellcheck source-path=SCRIPTDIR disable=SC2002 # cat makes a pipe of a file on purpose
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

"$SRC/scripts/make-image" image 64 24 || exit 1

back() { rm -f back.raw && "$VIXDISK" convert -t raw "$1" back.raw && cmp image back.raw; }
data_file() { # type: the file that has the data
    local file
    for file in "$1"-?001.vmdk "$1-flat.vmdk" "$1.vmdk"; do
        [ -e "$file" ] && echo "$file" && return
    done
}
holes_stay() { # a sparse result takes no more than its source and tables
    local used=$(($(stat -c '%b * 512' "$1"))) source=$(($(stat -c '%b * 512' image)))
    echo "$used bytes, the source has $source"
    [ "$used" -le $((source + source / 8 + 1048576)) ]
}
for type in $WRITABLE streamOptimized; do
    disk=$type.vmdk
    try "$type: convert" "$VIXDISK" convert -f raw -t "$type" image "$disk"
    try "$type: the way back" back "$disk"
    try "$type: compare" "$VIXDISK" compare -F raw "$disk" image
    try "$type: qemu-img compare" qemu-img compare -f raw -F vmdk image "$disk"
    case $type in
        monolithicFlat | twoGbMaxExtentFlat | vmfs) ;; # preallocated
        *) try "$type: holes stay holes" holes_stay "$(data_file "$type")" ;;
    esac
    case $type in
        monolithicSparse | twoGbMaxExtentSparse | streamOptimized)
            try "$type: qemu-img check" qemu-img check -f vmdk "$disk" ;;
    esac
done
try "the raw image has holes" holes_stay back.raw

# Every type to every other, by way of what was made above.
for from in monolithicSparse twoGbMaxExtentFlat streamOptimized vmfsThin; do
    for to in monolithicSparse monolithicFlat twoGbMaxExtentSparse streamOptimized vmfs; do
        rm -f pair*
        pair() { "$VIXDISK" convert -t "$to" "$from.vmdk" pair.vmdk && "$VIXDISK" compare -F raw pair.vmdk image; }
        try "$from to $to" pair
    done
done
rm -f pair*

# ---- options ----
without_ids() { LC_ALL=C sed -E 's/^CID=[0-9a-f]*//; s/^ddb\.(uuid|longContentID) = .*//' "$1"; }
stream_is_same() {
    mkdir -p one two
    "$VIXDISK" convert --overwrite -f raw -t streamOptimized -j 1 image one/x.vmdk &&
        "$VIXDISK" convert --overwrite -f raw -t streamOptimized -j 3 image two/x.vmdk &&
        cmp <(without_ids one/x.vmdk) <(without_ids two/x.vmdk)
}
try "streamOptimized: the same bytes for any number of threads" stream_is_same
smaller() {
    rm -f l?.vmdk
    "$VIXDISK" convert -f raw -t streamOptimized -l 0 image l0.vmdk &&
        "$VIXDISK" convert -f raw -t streamOptimized -l 1 image l1.vmdk &&
        "$VIXDISK" convert -f raw -t streamOptimized -l 9 image l9.vmdk && ls -l l?.vmdk &&
        [ "$(stat -c %s l9.vmdk)" -lt "$(stat -c %s l1.vmdk)" ] && [ "$(stat -c %s l1.vmdk)" -lt "$(stat -c %s l0.vmdk)" ] &&
        "$VIXDISK" compare -F raw l0.vmdk image && "$VIXDISK" compare -F raw l1.vmdk image
}
try "streamOptimized: a higher level is smaller" smaller
info_is() { json_of "$2" "$VIXDISK" info --json "$1"; }
carried() {
    rm -f ide.vmdk kept.vmdk set.vmdk
    "$VIXDISK" convert -f raw -t monolithicSparse -a ide -H 7 image ide.vmdk &&
        "$VIXDISK" convert -t monolithicFlat ide.vmdk kept.vmdk &&
        info_is kept.vmdk "d['adapter-type'] == 'ide' and d['hw-version'] == '7'" &&
        "$VIXDISK" convert -t monolithicSparse -a buslogic -H 10 ide.vmdk set.vmdk &&
        info_is set.vmdk "d['adapter-type'] == 'buslogic' and d['hw-version'] == '10'"
}
try "adapter and hardware version are kept, or set" carried
refuse 2 "a level for what is not compressed" "$VIXDISK" convert -f raw -t monolithicSparse -l 3 image x.vmdk
refuse 2 "a level that does not exist" "$VIXDISK" convert -f raw -t streamOptimized -l 13 image x.vmdk
refuse 2 "no type" "$VIXDISK" convert -f raw image x.vmdk
refuse 2 "--no-create for a VMDK" "$VIXDISK" convert -n -f raw -t monolithicSparse image x.vmdk
refuse 2 "--target-is-zero alone" "$VIXDISK" convert --target-is-zero -f raw -t raw image x.raw

# ---- what a source is ----
cp image image.img && cp image image.vmdk && cp image image.dat
try "a raw image by its name" "$VIXDISK" convert -t monolithicSparse image.img byname.vmdk
try "a file that is no VMDK names -f raw" fails_with 1 \
    'vixdisk: convert: image.dat: VIX_E_DISK_INVALIDDISK \(16063\): .*-f raw.*' \
    "$VIXDISK" convert -t monolithicSparse image.dat x.vmdk
try "also one that is called .vmdk" fails_with 1 \
    'vixdisk: convert: image.vmdk: VIX_E_DISK_INVALIDDISK \(16063\): .*-f raw.*' \
    "$VIXDISK" convert -t monolithicSparse image.vmdk x.vmdk
cp monolithicSparse.vmdk odd.img
try "a VMDK that is called .img needs -f" fails_with 1 \
    'vixdisk: convert: odd.img: VIX_E_INCORRECT_FILE_TYPE \(9\): .*-f raw or -f vmdk.*' \
    "$VIXDISK" convert -t raw odd.img x.raw
try "and is taken with it" "$VIXDISK" convert -f vmdk -t raw odd.img x.raw
try "nothing is left of refusals" test ! -e x.vmdk
rm -f image.img image.vmdk image.dat odd.img x.raw byname.vmdk

# ---- targets that exist ----
echo precious >there
try "an existing target is refused" fails_with 1 'vixdisk: convert: there: VIX_E_FILE_ALREADY_EXISTS \(12\): .*' \
    "$VIXDISK" convert -f raw -t raw image there
try "an existing target is refused, VMDK" fails_with 1 \
    'vixdisk: convert: there: VIX_E_FILE_ALREADY_EXISTS \(12\): .*' "$VIXDISK" convert -f raw -t monolithicSparse image there
try "it is untouched" grep -qx precious there
try "--overwrite replaces a raw file" "$VIXDISK" convert --overwrite -f raw -t raw image there
try "with the new contents" cmp image there
replace() { "$VIXDISK" convert --overwrite -f raw -t "$1" image over.vmdk && "$VIXDISK" compare -F raw over.vmdk image; }
"$VIXDISK" create -s 1M -t twoGbMaxExtentFlat over.vmdk
try "--overwrite replaces a VMDK by one of another type" replace monolithicFlat
try "the old one's extents are gone" test ! -e over-f001.vmdk
try "--overwrite replaces it by a single file" replace monolithicSparse
try "the flat extent is gone" test ! -e over-flat.vmdk
try "the source itself is no target" fails_with 1 'vixdisk: convert: image: VIX_E_INVALID_ARG \(3\): .*SRC.*' \
    "$VIXDISK" convert --overwrite -f raw -t raw image image
try "the source is untouched" cmp image back.raw
"$VIXDISK" convert -f raw -t monolithicFlat image own.vmdk && cp own.vmdk same.vmdk || exit 1
try "a disk that names a file of the source is no target" fails_with 1 \
    'vixdisk: convert: same.vmdk: VIX_E_INVALID_ARG \(3\): .*names .*own-flat.vmdk, a file of the source.*' \
    "$VIXDISK" convert --overwrite -t monolithicSparse own.vmdk same.vmdk
try "and the source has its data" "$VIXDISK" compare -F raw own.vmdk image
rm -f same.vmdk own*
into() { head -c 67108864 /dev/urandom >old && "$VIXDISK" convert -n -t raw monolithicSparse.vmdk old && cmp image old; }
try "--no-create writes into an existing file, zeros too" into
into_zeros() { rm -f old && truncate -s 64M old && "$VIXDISK" convert -n --target-is-zero -t raw monolithicSparse.vmdk old &&
    cmp image old; }
try "--target-is-zero writes only data" into_zeros
refuse 1 "--no-create needs a file" "$VIXDISK" convert -n -t raw monolithicSparse.vmdk none.raw
rm -f old there over*

# ---- block devices ----
device_tests() { # device of 64 MiB with noise on it
    try "a block device is not written without being asked for" fails_with 1 \
        "vixdisk: convert: $1: VIX_E_FILE_ALREADY_EXISTS \(12\): .*--no-create.*" \
        "$VIXDISK" convert --overwrite -t raw monolithicSparse.vmdk "$1"
    try "a block device as target" "$VIXDISK" convert -n -t raw monolithicSparse.vmdk "$1"
    try "it has the contents" cmp image "$1"
    try "a block device as source is raw by itself" "$VIXDISK" convert -t streamOptimized "$1" device.vmdk
    try "the disk made of it" "$VIXDISK" compare -F raw device.vmdk image
    try "compare with a block device" "$VIXDISK" compare "$1" monolithicSparse.vmdk
    "$VIXDISK" create -s 65M larger.vmdk
    refuse 1 "a block device that is too small" "$VIXDISK" convert -n -t raw larger.vmdk "$1"
}
head -c 64M /dev/urandom >noise
device=
cleanup() { [ -z "$device" ] || losetup -d "$device"; }
if device=$(losetup -f --show noise 2>/dev/null) && [ -w "$device" ]; then
    device_tests "$device"
    losetup -d "$device"
else
    skip "block devices" "no loop device"
fi
device=
rm -f noise device.vmdk

# ---- streams ----
raw_in() { rm -f in.vmdk; cat image | "$VIXDISK" convert -f raw -s 64M -t monolithicSparse - in.vmdk &&
    "$VIXDISK" compare -F raw in.vmdk image; }
try "raw from a pipe" raw_in
raw_file_in() { rm -f in.vmdk; "$VIXDISK" convert -f raw -t streamOptimized - in.vmdk <image &&
    "$VIXDISK" compare -F raw in.vmdk image; }
try "raw from a file at standard input needs no size" raw_file_in
no_size() { local status=0; cat image | "$VIXDISK" convert -f raw -t raw - x.raw || status=$?; [ $status -eq 2 ]; }
try "raw from a pipe needs a size" no_size
short_in() { local status=0; head -c 1M image | "$VIXDISK" convert -f raw -s 64M -t monolithicSparse - short.vmdk || status=$?
    [ $status -eq 1 ] && [ "$(files_like 'short*')" -eq 0 ]; }
try "a pipe that ends early leaves nothing" short_in
long_in() { local status=0; head -c 1M image | "$VIXDISK" convert -f raw -s 512K -t raw - long.raw 2>err || status=$?
    cat err && [ $status -eq 1 ] && grep -q 'OUTOFRANGE.*goes on.*524288' err && [ "$(files_like 'long*')" -eq 0 ]; }
try "a pipe that goes on beyond its size leaves nothing" long_in
long_file_in() { head -c 1M image >longer && fails_in "$VIXDISK" convert -f raw -s 512K -t raw - long.raw <longer &&
    "$VIXDISK" convert -f raw -s 1M -t raw - long.raw <longer && cmp longer long.raw; }
fails_in() { local status=0; "$@" 2>err || status=$?
    cat err && [ $status -eq 1 ] && grep -q '1048576.*524288.*nothing' err && [ "$(files_like 'long.*')" -eq 0 ]; }
try "nor is a part taken of a file at standard input" long_file_in
raw_out() { "$VIXDISK" convert -t raw streamOptimized.vmdk - | cmp - image; }
try "raw to a pipe" raw_out
stream_out() { rm -f out.vmdk; "$VIXDISK" convert -f raw -t streamOptimized image - | cat >out.vmdk &&
    "$VIXDISK" compare -F raw out.vmdk image && qemu-img compare -f raw -F vmdk image out.vmdk; }
try "streamOptimized to a pipe" stream_out
stream_in() { cat streamOptimized.vmdk | TMPDIR=/nowhere "$VIXDISK" convert -f vmdk -t raw - - | cmp - image; }
try "streamOptimized from a pipe, without a temporary file" stream_in
qemu_stream_in() { qemu-img convert -f raw -O vmdk -o subformat=streamOptimized image q-stream.vmdk && rm -f in.vmdk &&
    cat q-stream.vmdk | TMPDIR=/nowhere "$VIXDISK" convert -f vmdk -t monolithicSparse - in.vmdk &&
    qemu-img compare -f raw -F vmdk image in.vmdk; }
try "streamOptimized of qemu-img from a pipe" qemu_stream_in
cut_stream_in() { local status=0; head -c "$(($(stat -c %s streamOptimized.vmdk) / 2))" streamOptimized.vmdk |
    "$VIXDISK" convert -f vmdk -t monolithicSparse - cut.vmdk || status=$?
    [ $status -eq 1 ] && [ "$(files_like 'cut*')" -eq 0 ]; }
try "a streamOptimized pipe that ends early leaves nothing" cut_stream_in
sparse_in() { cat monolithicSparse.vmdk | TMPDIR=$TMP "$VIXDISK" convert -f vmdk -t raw - - | cmp - image; }
try "a sparse VMDK from a pipe, by way of a temporary file" sparse_in
stream_file_in() { "$VIXDISK" convert -f vmdk -t raw - - <streamOptimized.vmdk | cmp - image; }
try "streamOptimized from a file at standard input" stream_file_in
whole_way() { "$VIXDISK" convert -f raw -t streamOptimized image - |
    TMPDIR=/nowhere "$VIXDISK" convert -f vmdk -t raw - - | cmp - image; }
try "through two pipes" whole_way
refuse 2 "a sparse VMDK to a pipe" "$VIXDISK" convert -f raw -t monolithicSparse image -
unsaid() { local status=0; "$VIXDISK" convert -t raw - x.raw <image || status=$?; [ $status -eq 2 ]; }
try "what comes from a pipe must be said" unsaid
full() { "$VIXDISK" convert -t raw monolithicSparse.vmdk - >/dev/full; }
refuse 1 "a full device at standard output" full

# ---- progress ----
lines() { rm -f p.raw; "$VIXDISK" convert --progress=5 -t raw monolithicSparse.vmdk p.raw 5>lines 2>err &&
    cat lines && [ ! -s err ] && ! grep -qvE '^[0-9]+/100$' lines && [ "$(tail -1 lines)" = 100/100 ] &&
    sort -n -c lines; }
try "--progress=FD writes lines N/100 that rise to 100" lines
readable() { rm -f p.raw; "$VIXDISK" convert --progress -t raw monolithicSparse.vmdk p.raw 2>err && cat err &&
    grep -qE '^convert: 100\.0%  64 MiB of 64 MiB  .*/s' err; }
try "--progress shows share and rate" readable
quiet() { rm -f p.raw; "$VIXDISK" convert -q --progress -t raw monolithicSparse.vmdk p.raw >out 2>err && [ ! -s err ] &&
    [ ! -s out ]; }
try "--quiet shows nothing" quiet
closed_fd() { rm -f p.raw; { "$VIXDISK" convert --progress=5 -t raw monolithicSparse.vmdk p.raw 5>&1 >&2 | true; } && cmp p.raw image; }
try "a closed progress descriptor does not end the work" closed_fd
refuse 2 "a progress descriptor that is none" "$VIXDISK" convert --progress=x -t raw monolithicSparse.vmdk q.raw

# ---- interruption: the source is a pipe that never ends, so the command is surely in the middle ----
interrupted() { # signal type status file
    local status=0 pid
    mkfifo endless
    "$VIXDISK" convert -f raw -s 1G -t "$2" - "$4" <endless 2>err &
    pid=$!
    exec 8>endless
    head -c 32M image >&8
    sleep 0.3
    kill -"$1" $pid
    exec 8>&-
    wait $pid || status=$?
    rm -f endless
    cat err
    ls
    [ "$status" -eq "$3" ] && [ "$(files_like "${4%.*}*")" -eq 0 ]
}
# A background command of a script ignores SIGINT unless job control is on.
set -m
try "SIGTERM leaves nothing of a sparse disk" interrupted TERM monolithicSparse 143 cut.vmdk
try "SIGTERM leaves nothing of a split flat disk" interrupted TERM twoGbMaxExtentFlat 143 cut.vmdk
try "SIGTERM leaves nothing of a stream" interrupted TERM streamOptimized 143 cut.vmdk
try "SIGTERM leaves nothing of a raw image" interrupted TERM raw 143 cut.raw
try "Ctrl-C leaves nothing" interrupted INT monolithicSparse 130 cut.vmdk
kept_on_stop() {
    cp image keep.raw
    mkfifo endless
    "$VIXDISK" convert --overwrite -f raw -s 1G -t raw - keep.raw <endless 2>err &
    local pid=$! status=0
    exec 8>endless
    head -c 16M /dev/zero >&8
    sleep 0.3
    kill -TERM $pid
    exec 8>&-
    wait $pid || status=$?
    rm -f endless
    ls
    [ $status -eq 143 ] && cmp image keep.raw && [ "$(files_like '*keep*')" -eq 1 ]
}
try "with --overwrite the old file is still there after SIGTERM" kept_on_stop
status_line() {
    mkfifo endless
    "$VIXDISK" convert -f raw -s 64M -t monolithicSparse - usr1.vmdk <endless 2>err &
    local pid=$! status=0
    exec 8>endless
    head -c 32M image >&8
    sleep 0.3
    kill -USR1 $pid
    tail -c +33554433 image >&8
    exec 8>&-
    wait $pid || status=$?
    rm -f endless
    cat err
    [ $status -eq 0 ] && grep -qE '^convert: +[0-9.]+%  .* of 64 MiB' err
}
try "SIGUSR1 prints a status line" status_line
set +m
