#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# read, write, map, compare, bench: the contents of disks.
# shellcheck source-path=SCRIPTDIR disable=SC2002 # cat makes a pipe of a file on purpose
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

# A model: 24 MiB with data at grain and at odd sector borders.
truncate -s 24M model
fill model 0 65536 1
fill model $((1048576 + 512)) 1536 2
fill model $((5 * 1048576)) 3000320 3
fill model $((24 * 1048576 - 512)) 512 4

put() { dd if=model bs=512 skip="$2" count="$3" status=none | "$VIXDISK" write -o "$2s" "$1"; }
written() { # file: the model is written in pieces from a pipe and read back
    put "$1" 0 128 && put "$1" 2049 3 && put "$1" 10240 5860 && put "$1" 49151 1 && "$VIXDISK" read "$1" | cmp - model
}
part() { # file
    "$VIXDISK" read -o 5M -n 1024s "$1" | cmp - <(dd if=model bs=1M skip=5 status=none | head -c 524288)
}
totals_agree() { # file: the sums of --totals are the capacity
    "$VIXDISK" map --totals --json "$1" >totals && json totals "sum(r['size'] for r in d) == 24 << 20 and
        abs(sum(r['percent'] for r in d) - 100) < 0.1" && "$VIXDISK" map --totals "$1"
}
for type in $WRITABLE; do
    disk=$type.vmdk
    "$VIXDISK" create -t "$type" -s 24M "$disk"
    try "$type: write pieces, read them back" written "$disk"
    try "$type: read a part" part "$disk"
    try "$type: map --totals" totals_agree "$disk"
    case $type in
        vmfs*) ;;
        *) try "$type: map --json is that of qemu-img" same_map "$disk"
           try "$type: qemu-img reads the same" qemu-img compare -f vmdk -F raw "$disk" model ;;
    esac
done
stream() { # written whole once, read back; a second time is refused
    "$VIXDISK" create -t streamOptimized -s 24M once.vmdk && "$VIXDISK" write once.vmdk <model &&
        "$VIXDISK" read once.vmdk | cmp - model && qemu-img compare -f vmdk -F raw once.vmdk model &&
        ! "$VIXDISK" write once.vmdk <model
}
try "streamOptimized: create and write once" stream
disk=monolithicSparse.vmdk
try "an empty part" cmp /dev/null <("$VIXDISK" read -n 0 $disk)
try "map of a raw image is that of qemu-img" diff <(qemu-img map -f raw --output=json model) \
    <("$VIXDISK" map -f raw --json model)
map_human() { "$VIXDISK" map $disk >out && cat out && grep -qE '^ *0 +65536 data +0 +[0-9]+  .*monolithicSparse.vmdk$' out; }
try "map for people" map_human
try "map of a part" json_of "d[0]['start'] == 1 << 20 and sum(r['length'] for r in d) == 65536" \
    "$VIXDISK" map --json -o 1M -n 64K $disk

# ---- qemu's own zeroed grains, a stream ----
qemu-img create -q -f vmdk -o zeroed_grain=on zeroed.vmdk 8M
qemu-io -f vmdk -c 'write -P 3 1M 128k' -c 'write -P 4 5M 64k' -c 'write -z 6M 64k' zeroed.vmdk >/dev/null
try "zeroed grains: map --json is that of qemu-img" same_map zeroed.vmdk
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized model stream.vmdk
try "streamOptimized of qemu: map --json is that of qemu-img" same_map stream.vmdk
try "streamOptimized of qemu: reads the same" cmp model <("$VIXDISK" read stream.vmdk)

# ---- mistakes ----
range='VIX_E_DISK_OUTOFRANGE \(16007\): .*'
try "read: an offset that is no multiple of 512" fails_with 2 'vixdisk: read: .*not a multiple of 512.*' \
    "$VIXDISK" read -o 100 $disk
try "read: a length that is no multiple of 512" fails_with 2 'vixdisk: read: .*not a multiple of 512.*' \
    "$VIXDISK" read -n 100 $disk
try "read: beyond the end" fails_with 1 "vixdisk: read: $disk: $range" "$VIXDISK" read -o 24M -n 512 $disk
try "read: an offset beyond the end" fails_with 1 "vixdisk: read: $disk: $range" "$VIXDISK" read -o 25M $disk
from() { # file status regex command...
    local file=$1 want=$2 regex=$3 status=0
    shift 3
    "$@" <"$file" >out 2>err || status=$?
    cat err
    [ "$status" -eq "$want" ] && [ ! -s out ] && grep -qxE "$regex" err
}
head -c 1000 /dev/urandom >odd
try "write: a file that is no multiple of 512 is refused" from odd 1 \
    "vixdisk: write: $disk: VIX_E_INVALID_ARG \(3\): .*1000 bytes.*nothing was written" "$VIXDISK" write $disk
head -c 1024 /dev/urandom >two
try "write: a file that does not fit is refused" from two 1 "vixdisk: write: $disk: $range nothing was written" \
    "$VIXDISK" write -o 49151s $disk
try "write: nothing was written" qemu-img compare -f vmdk -F raw $disk model
odd_pipe() {
    local status=0
    cat odd | "$VIXDISK" write -o 8M $disk 2>err || status=$?
    cat err
    [ "$status" -eq 1 ] && grep -q 'the last 488 bytes, at 8389120, were not written' err &&
        cmp -n 512 odd <("$VIXDISK" read -o 8M -n 512 $disk)
}
try "write: a pipe that ends within a sector" odd_pipe
long_pipe() {
    local status=0
    cat two | "$VIXDISK" write -o 49151s $disk 2>err || status=$?
    cat err
    [ "$status" -eq 1 ] && grep -q 'beyond the end of the disk at 25165824' err
}
try "write: a pipe that goes beyond the end" long_pipe
full() { "$VIXDISK" read $disk >/dev/full; }
refuse 1 "read: a full device at standard output" full
closed() {
    "$VIXDISK" read $disk 2>err | head -c 512 >/dev/null
    local status=${PIPESTATUS[0]}
    echo "$status"
    cat err
    [ "$status" -eq 141 ] && [ ! -s err ]
}
try "read: a closed pipe ends it without a word" closed
locked() {
    local status=0
    mkfifo fifo
    "$VIXDISK" write $disk <fifo &
    exec 7>fifo
    head -c 512 model >&7
    sleep 0.5
    fails_with 75 "vixdisk: info: $disk: VIX_E_FILE_ALREADY_LOCKED \(15\): .*" "$VIXDISK" info $disk || status=1
    exec 7>&-
    wait
    return $status
}
try "a disk that another process writes is locked, exit 75" locked

# ---- compare ----
cp model other
fill other $((7 * 1048576)) 512 9
fill other $((9 * 1048576)) 1024 9
"$VIXDISK" create -s 24M base.vmdk && "$VIXDISK" write base.vmdk <model
refuse 0 "compare: VMDK and raw, same" "$VIXDISK" compare -F raw base.vmdk model
refuse 0 "compare: VMDK and VMDK, same" "$VIXDISK" compare base.vmdk stream.vmdk
refuse 1 "compare: different" "$VIXDISK" compare -F raw base.vmdk other
differ() { "$VIXDISK" compare --json -F raw base.vmdk other >out; json out "d['identical'] is False and
    d['first-difference'] == 7 << 20 and d['different-bytes'] == 1536"; }
try "compare: where and how much, as JSON" differ
differ_text() { "$VIXDISK" compare -F raw base.vmdk other >out; cat out; grep -q 'first at offset 7340032' out; }
try "compare: where, for people" differ_text
cp model longer && truncate -s 25M longer
refuse 0 "compare: zeros behind the end are no difference" "$VIXDISK" compare -F raw base.vmdk longer
refuse 1 "compare --strict: they are" "$VIXDISK" compare --strict -F raw base.vmdk longer
fill longer $((24 * 1048576)) 512 9
refuse 1 "compare: data behind the end is" "$VIXDISK" compare -F raw base.vmdk longer
refuse 2 "compare: a missing file is trouble" "$VIXDISK" compare base.vmdk none.vmdk
refuse 2 "compare: wrong usage is trouble" "$VIXDISK" compare base.vmdk
mute() { "$VIXDISK" compare -q -F raw base.vmdk other >out 2>&1; [ $? -eq 1 ] && [ ! -s out ]; }
try "compare --quiet prints nothing" mute

# ---- bench ----
bench() { # expression args...
    local expression=$1
    shift
    json_of "$expression" "$VIXDISK" bench --json "$@"
}
try "bench read, once over the disk" bench "d['count'] == 24 and d['request-size'] == 1 << 20 and
    d['mib-per-second'] > 0 and d['latency']['p50-us'] <= d['latency']['p99-us'] <= d['latency']['max-us']" \
    read base.vmdk
try "bench read, random, deep, threads" bench "d['count'] == 2000 and d['depth'] == 16 and d['threads'] == 2" \
    read --random -d 16 -j 2 -c 2000 -s 4K base.vmdk
try "bench read, unbuffered" bench "d['count'] == 100" read --unbuffered -c 100 -s 64K base.vmdk
try "reading changed nothing" "$VIXDISK" compare -F raw base.vmdk model
try "bench write, deep" bench "d['operation'] == 'write' and d['count'] == 48" write -d 8 -c 48 -s 512K base.vmdk
refuse 1 "bench write has written" "$VIXDISK" compare -F raw base.vmdk model
bench_text() { "$VIXDISK" bench read base.vmdk >out && cat out && grep -q 'MiB/s' out && grep -q '99.9% ' out; }
try "bench for people" bench_text
bench_stops() { # also where no progress is shown
    local depth pid status
    for depth in 1 4; do
        status=0
        "$VIXDISK" bench read -q -d $depth -c 1000000000 -s 4K base.vmdk >out 2>&1 &
        pid=$!
        sleep 0.2
        kill -TERM $pid
        for _ in $(seq 100); do
            kill -0 $pid 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL $pid 2>/dev/null
        wait $pid || status=$?
        echo "depth $depth: $status" && [ $status -eq 143 ] || return 1
    done
}
try "bench ends at the first SIGTERM" bench_stops
refuse 2 "bench of neither" "$VIXDISK" bench erase base.vmdk
refuse 1 "bench: a request larger than the disk" "$VIXDISK" bench read -s 32M base.vmdk

# ---- measure ----
measure() { # type least most
    "$VIXDISK" measure --json -t "$1" -f raw model >out && json out "set(d) == {'required', 'fully-allocated'} and
        $2 <= d['required'] <= $3 and d['required'] <= d['fully-allocated'] and d['fully-allocated'] >= 24 << 20"
}
used=$((65536 * (1 + 1 + 46 + 1)))
try "measure raw: holes need no space" measure raw 3067904 $((3067904 + 65536))
try "measure monolithicFlat" measure monolithicFlat $((24 << 20)) $(((24 << 20) + 65536))
try "measure monolithicSparse" measure monolithicSparse $used $((used + 262144))
measured() { "$VIXDISK" measure -t raw -f raw model | tee out; grep -qE '^required size: [0-9]+$' out && grep -qx 'fully allocated size: 25165824' out; }
try "measure for people" measured
refuse 2 "measure without a type" "$VIXDISK" measure model
