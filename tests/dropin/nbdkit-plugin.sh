#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Our own plugin in Debian's nbdkit, with clients that are not ours, on local disks of each type and on disks of vixdiskd.
#   tests/dropin/nbdkit-plugin.sh TREE VIXDISKD      TREE: <prefix>/lib/vixdisk of make install
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"

tree=$(cd "$STARTED_IN" && realpath "$1") || { echo "not ok - there is an installed tree"; exit 1; }
daemon=$(cd "$STARTED_IN" && realpath "$2") || { echo "not ok - there is a vixdiskd"; exit 1; }
VIXDISK=$(realpath "$tree/bin64/vixdisk")
plugin=$(realpath "$tree/../nbdkit/plugins/nbdkit-vixdisk-plugin.so")
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
unset LD_LIBRARY_PATH VIXDISK_CONFIG

pids=()
# shellcheck disable=SC2317 # called at the end by tap.sh
cleanup() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null
        wait "$pid"
    done
}

serve() { # options and parameters, then --run command
    nbdkit --foreground --exit-with-parent -U - "$plugin" "$@"
}
# A server that goes on, at the socket $PWD/sock: options and parameters
begin() {
    rm -f sock
    nbdkit --foreground --exit-with-parent -U "$PWD/sock" "$plugin" "$@" 2>server.log &
    server_pid=$!
    pids+=("$server_pid")
    for _ in $(seq 200); do
        [ -S sock ] && return
        sleep 0.05
    done
    cat server.log
    return 1
}
stop() { # signal
    kill "-$1" "$server_pid"
    wait "$server_pid" 2>/dev/null
    return 0
}
uri() { echo "nbd+unix:///?socket=$PWD/sock"; }

names_itself() {
    nbdkit "$plugin" --dump-plugin >dump && cat dump &&
        grep -qx 'name=vixdisk' dump && grep -qx 'max_thread_model=parallel' dump &&
        grep -qx "vixdisk_library_version=$("$VIXDISK" --version | sed -n 's/^vixdisk //p')" dump &&
        grep -q '^vixdisk_transport_modes=file:.*nbdssl' dump
}
try "--dump-plugin" names_itself

"$SRC/scripts/make-image" image 48 24
size=$(stat -c %s image)

copy_in() { # type options of nbdcopy...
    rm -f "$1"*.vmdk
    "$VIXDISK" create -q -s "$size" -t "$1" "$1.vmdk" || return
    # shellcheck disable=SC2016 # nbdkit's shell expands $uri
    serve "$1.vmdk" --run "nbdcopy --flush ${*:2}"' image "$uri"' && qemu-img compare -q -f raw -F vmdk image "$1.vmdk"
}
copy_out() { # type
    # shellcheck disable=SC2016
    serve -r "$1.vmdk" --run 'nbdcopy --connections=4 "$uri" out.img' && cmp image out.img
}
# nbdinfo counts the same bytes of the same kinds as the command does.
same_map() { # type
    # shellcheck disable=SC2016
    serve -r "$1.vmdk" --run 'nbdinfo --map --totals --json "$uri"' >nbd.json &&
        "$VIXDISK" map --totals --json "$1.vmdk" >ours.json &&
        /usr/bin/python3 -c 'import json
nbd, ours = ({r["type"]: r["size"] for r in json.load(open(f))} for f in ("nbd.json", "ours.json"))
print(nbd, ours)
assert nbd == ours and 0 < nbd[0] < '"$size"' == sum(nbd.values())'
}
for type in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat vmfs vmfsThin vmfsSparse; do
    try "$type: nbdcopy in, qemu-img reads the image" copy_in $type --connections=4
    try "$type: nbdcopy out gives the image" copy_out $type
    try "$type: nbdinfo --map" same_map $type
done
try "streamOptimized: nbdcopy in, in order" copy_in streamOptimized --synchronous --connections=1
try "streamOptimized: nbdcopy out gives the image" copy_out streamOptimized
try "streamOptimized: nbdinfo --map" same_map streamOptimized

# ---- writes that are on disk when they have been answered ----

fresh() { # type
    rm -f w*.vmdk
    "$VIXDISK" create -q -s 16M -t "$1" w.vmdk
}
holds() { # offset length byte: whether the disk holds it, by a reader that is not ours
    "$VIXDISK" check -q --repair w.vmdk
    qemu-io -r -f vmdk -c "read -P $3 $1 $2" w.vmdk | tee read.log && ! grep -q failed read.log
}
fua() { # type: a write with FUA outlives the server, which is killed
    fresh "$1" && begin w.vmdk || return
    qemu-io -f raw -c 'write -f -P 0x5a 1M 192k' -c 'write -f -P 0x33 2621952 512' "$(uri)" || return
    stop KILL
    holds 1M 192k 0x5a && holds 2621952 512 0x33 && holds 2M 512k 0
}
for type in monolithicSparse vmfsThin vmfsSparse twoGbMaxExtentFlat; do
    try "$type: a write with FUA outlives kill -9" fua $type
done
# What one connection has written, another flushes: that is what multi-conn promises.
flush_by_another() {
    fresh monolithicSparse && begin w.vmdk || return
    /usr/bin/python3 - "$(uri)" <<'PYTHON' || return
import nbd, sys
a, b = nbd.NBD(), nbd.NBD()
a.connect_uri(sys.argv[1])
b.connect_uri(sys.argv[1])
assert a.can_multi_conn() and b.can_multi_conn()
a.pwrite(b"\x77" * 262144, 4 << 20)
assert b.pread(262144, 4 << 20) == b"\x77" * 262144
b.flush()
PYTHON
    stop KILL
    holds 4M 256k 0x77
}
try "a flush by one connection is one for all" flush_by_another

# ---- zeros, and space that is given back ----

zeros() {
    fresh monolithicSparse || return
    local empty
    empty=$(stat -c %s w.vmdk)
    # shellcheck disable=SC2016
    serve w.vmdk --run 'qemu-io -f raw -c "write -z -u 0 16M" "$uri"' && [ "$(stat -c %s w.vmdk)" -eq "$empty" ] &&
        begin w.vmdk || return
    /usr/bin/python3 - "$(uri)" <<'PYTHON' || return
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
fast = nbd.CMD_FLAG_FAST_ZERO
data = (bytes(range(1, 251)) * 1049)[:262144]
h.pwrite(data, 1 << 20)
h.zero(1 << 20, 0, fast)                      # holes: nothing to be done
h.zero(1 << 20, 1 << 20, fast)                # data that can be given back
assert h.pread(262144, 1 << 20) == bytes(262144)
h.pwrite(data, 1 << 20)
h.zero(100 * 512, (1 << 20) + 512)
want = data[:512] + bytes(100 * 512) + data[101 * 512:]
assert h.pread(262144, 1 << 20) == want
h.zero(65536, 8 << 20, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(65536, 8 << 20) == bytes(65536)
h.flush()
h.shutdown()
PYTHON
    stop TERM
    "$VIXDISK" check -q w.vmdk && "$VIXDISK" map --json w.vmdk >map.json &&
        /usr/bin/python3 -c 'import json
held = [(r["start"], r["length"]) for r in json.load(open("map.json")) if r["present"]]
print(held)
assert held == [(1 << 20, 262144)]'
}
try "zeros: holes stay holes, data becomes zeros" zeros

# Random writes, trims and zeros beside a model of what each sector may hold: of a trim, old or zeros; what is read once
# stays so. By libnbd; the disk is read by qemu-img at the end.
trims() { # type
    fresh "$1" && begin w.vmdk || return
    /usr/bin/python3 - "$(uri)" model.img <<'PYTHON' || return
import nbd, random, sys
SIZE = 16 << 20
h = nbd.NBD()
h.connect_uri(sys.argv[1])
assert h.can_trim() and h.can_zero() and h.can_fua()
random.seed(7)
model = bytearray(SIZE)
for step in range(300):
    at = random.randrange(SIZE // 512) * 512
    n = min(random.randrange(1, 600) * 512, SIZE - at)
    if step % 3 == 0:
        data = random.randbytes(n)
        h.pwrite(data, at)
        model[at:at + n] = data
    elif step % 3 == 1:
        h.trim(n, at, nbd.CMD_FLAG_FUA if step % 2 else 0)
        got = h.pread(n, at)
        for i in range(0, n, 512):
            old = bytes(model[at + i:at + i + 512])
            assert got[i:i + 512] in (old, bytes(512)), (step, at + i)
        model[at:at + n] = got
    else:
        h.zero(n, at)
        model[at:at + n] = bytes(n)
assert h.pread(SIZE, 0) == model
h.flush()
h.shutdown()
open(sys.argv[2], "wb").write(model)
PYTHON
    stop TERM
    "$VIXDISK" check -q w.vmdk && qemu-img compare -f raw model.img -F vmdk w.vmdk
}
gives_back() { # type: the space of 8 MiB that were written, and then trimmed, is free again; grains keep their places
    local full
    fresh "$1" && begin w.vmdk && qemu-io -f raw -c 'write -f -P 7 2M 8M' "$(uri)" || return
    full=$(du -c -k w*.vmdk | tail -n 1 | cut -f 1)
    qemu-io -f raw -d unmap -c 'discard 2M 8M' -c 'flush' -c 'read -P 0 2M 8M' "$(uri)" || return
    du -c -k w*.vmdk
    [ "$(du -c -k w*.vmdk | tail -n 1 | cut -f 1)" -le $((full - 7900)) ] || return
    stop KILL
    holds 2M 8M 0
}
for type in monolithicSparse twoGbMaxExtentSparse vmfsThin vmfsSparse monolithicFlat; do
    try "$type: random trims, zeros and writes" trims $type
    try "$type: trim gives space back" gives_back $type
done
child_trims() { # what the parent holds does not show through a trim of the child, and zeros hide it
    rm -f w*.vmdk c*.vmdk
    "$VIXDISK" convert -q -f raw -t monolithicSparse image w.vmdk && "$VIXDISK" snapshot -q w.vmdk c.vmdk &&
        begin c.vmdk || return
    qemu-io -f raw -d unmap -c 'write -P 7 1M 1M' -c 'discard 1M 1M' -c 'read -P 0 1M 1M' -c 'write -z -u 3M 2M' -c 'read -P 0 3M 2M' \
        "$(uri)" >child.log || return
    stop TERM
    cat child.log && ! grep failed child.log && "$VIXDISK" check -q c.vmdk &&
        cp image want.img && dd if=/dev/zero of=want.img bs=1M seek=1 count=1 conv=notrunc status=none &&
        dd if=/dev/zero of=want.img bs=1M seek=3 count=2 conv=notrunc status=none &&
        qemu-img compare -f raw want.img -F vmdk c.vmdk && qemu-img compare -f raw image -F vmdk w.vmdk
}
try "a child: trims and zeros hide what its parent holds" child_trims
# What a single link does not hold is a hole, but not zeros: its parent may hold data there. Zeros that are written are
# stored; to 0 if the disk makes fast ones. PARENT and CHILD: files that are read afterwards.
single_link_zeros() { # PARENT CHILD fast? command that serves the child...
    local parent=$1 child=$2 fast=$3
    shift 3
    # shellcheck disable=SC2016
    "$@" single-link=true --run 'nbdinfo --map --json "$uri" >link.json
        qemu-io -f raw -c "write -z -u 3M 2M" -c "read -P 0 3M 2M" "$uri" &&
        qemu-io -f raw -c "write -z -u -n 6M 1M" "$uri"; echo "fast: $?" >fast.txt' >single.log 2>&1
    cat single.log link.json fast.txt
    ! grep -q '"type": 3' link.json && grep -q '"type": 1' link.json && grep -qx "fast: $fast" fast.txt || return
    cp image want.img && dd if=/dev/zero of=want.img bs=1M seek=3 count=2 conv=notrunc status=none || return
    [ "$fast" -ne 0 ] || dd if=/dev/zero of=want.img bs=1M seek=6 count=1 conv=notrunc status=none
    qemu-img compare -f raw want.img -F vmdk "$child" && qemu-img compare -f raw image -F vmdk "$parent"
}
single_link_child() {
    rm -f w*.vmdk c*.vmdk
    "$VIXDISK" convert -q -f raw -t monolithicSparse image w.vmdk && "$VIXDISK" snapshot -q w.vmdk c.vmdk &&
        single_link_zeros w.vmdk c.vmdk 0 serve c.vmdk && "$VIXDISK" check -q c.vmdk
}
try "a single link: zeros hide what its parent holds" single_link_child
no_trim() { # disk
    # shellcheck disable=SC2016
    serve "$1" --run 'nbdinfo --can trim "$uri"; [ $? -eq 2 ]'
}
"$VIXDISK" create -q -s 16M -t streamOptimized stream.vmdk
try "streamOptimized: no trim" no_trim stream.vmdk

# ---- filters, and many clients ----

parted() {
    rm -f p*.vmdk
    truncate -s 64M parted.img && printf 'label: gpt\n2048,98304\n100352,4096\n' | sfdisk -q parted.img &&
        dd if=image of=parted.img bs=1M seek=1 conv=notrunc,sparse status=none &&
        "$VIXDISK" convert -q -f raw -t monolithicSparse parted.img p.vmdk
}
through_partition() {
    # shellcheck disable=SC2016
    parted && serve --filter=partition -r p.vmdk partition=1 --run 'nbdcopy "$uri" out.img' && cmp image out.img
}
try "--filter=partition shows the file system" through_partition
through_ext2() {
    # The first regular file below the root: its path, from the folders that are first in their lists.
    local name=
    until [ -n "$name" ] && debugfs -R "stat \"$name\"" image 2>/dev/null | grep -q 'Type: regular'; do
        name+=/$(debugfs -R "ls -p \"${name:-/}\"" image 2>/dev/null |
            awk -F/ '$6 != "" && $6 !~ /^(\.|\.\.|lost\+found)$/ { print $6; exit }')
        [ ${#name} -lt 300 ] || return
    done
    debugfs -R "dump \"$name\" file.want" image 2>/dev/null
    # shellcheck disable=SC2016
    serve --filter=blocksize-policy --filter=ext2 --filter=partition -r p.vmdk partition=1 ext2file="$name" \
        blocksize-minimum=1 --run 'nbdcopy "$uri" file.got' &&
        cmp file.want file.got && [ -s file.want ]
}
try "--filter=ext2 shows a file of it" through_ext2
through_cow() {
    cp p.vmdk before.vmdk
    # shellcheck disable=SC2016
    serve --filter=cow p.vmdk --run 'qemu-io -f raw -c "write -P 1 0 4M" -c "read -P 1 0 4M" "$uri"' && cmp p.vmdk before.vmdk
}
try "--filter=cow leaves the disk as it was" through_cow
through_blocksize() {
    fresh monolithicSparse || return
    # shellcheck disable=SC2016
    serve --filter=blocksize w.vmdk minblock=512 --run 'nbdsh -u "$uri" -c "
h.set_strict_mode(0)
h.pwrite(b\"unaligned\", 1000001)
assert h.pread(11, 1000000) == b\"\\0unaligned\\0\""'
}
try "--filter=blocksize serves requests of any size" through_blocksize
refuses_unaligned() {
    # shellcheck disable=SC2016
    serve w.vmdk --run 'nbdsh -u "$uri" -c "
import errno
h.set_strict_mode(0)
assert h.pread(11, 1000000) == b\"\\0unaligned\\0\"
try:
    h.pwrite(bytes(100), 1024)
    raise AssertionError(\"100 bytes\")
except nbd.Error as e:
    assert e.errnum == errno.EINVAL
assert h.get_block_size(nbd.SIZE_MINIMUM) == 512"' 2>errors.txt && cat errors.txt && grep -q 'filter=blocksize' errors.txt
}
try "without it such reads are served, writes refused with a sentence" refuses_unaligned

readers_at_once() {
    local n all=() status=0
    begin -r monolithicSparse.vmdk || return
    for n in 1 2 3 4; do
        nbdcopy --connections=2 "$(uri)" "par$n.img" &
        all+=($!)
    done
    for n in "${all[@]}"; do
        wait "$n" || status=1
    done
    stop TERM
    for n in 1 2 3 4; do
        cmp image "par$n.img" || status=1
        rm -f "par$n.img"
    done
    return $status
}
try "four clients read at once, two connections each" readers_at_once
fio_verify() { # type
    rm -f fio*.vmdk
    "$VIXDISK" create -q -s 64M -t "$1" fio.vmdk || return
    # shellcheck disable=SC2016
    serve fio.vmdk --run '
        fio --name=verify --ioengine=nbd --uri="$uri" --verify=crc32c --verify_fatal=1 --do_verify=1 --size=64M \
            --rw=randwrite --bsrange=512-64k --blockalign=512 --norandommap=0 --iodepth=16 --io_size=32M' &&
        qemu-img check -q -f vmdk fio.vmdk
}
try "fio verifies random writes: monolithicSparse" fio_verify monolithicSparse
writers_at_once() { # two clients, each its half
    fresh monolithicSparse && begin w.vmdk || return
    qemu-io -f raw -c 'write -P 1 0 8M' "$(uri)" &
    qemu-io -f raw -c 'write -P 2 8M 8M' "$(uri)" || return
    wait $! || return
    stop TERM
    holds 0 8M 1 && holds 8M 8M 2
}
try "two clients write at once" writers_at_once
closes_clean() { # the last client has gone: the disk is sound and free while nbdkit runs on
    fresh monolithicSparse && begin w.vmdk || return
    qemu-io -f raw -c 'write -P 9 0 64k' "$(uri)" || return
    for _ in $(seq 100); do
        "$VIXDISK" check -q w.vmdk && break
        sleep 0.05
    done
    "$VIXDISK" write -q -o 1M w.vmdk <image.part && qemu-io -f raw -c 'read -P 9 0 64k' "$(uri)" || return
    stop TERM
}
head -c 65536 image >image.part
try "the disk is closed when the last client has gone" closes_clean

# ---- failures ----

fails_with() { # text command...
    local text=$1
    shift
    if "$@" >/dev/null 2>failed.txt; then
        return 1
    fi
    cat failed.txt
    grep -qF -- "$text" failed.txt
}
# shellcheck disable=SC2016
info='nbdinfo "$uri"'
try "no file" fails_with 'file=... is missing' serve --run true
try "a user without a server" fails_with 'server=... is missing' serve w.vmdk user=x --run true
try "a server without a password" fails_with 'password=+FILE' serve '[a] b.vmdk' server=x user=y --run true
try "a server without a machine" fails_with 'vm=moref=' serve '[a] b.vmdk' server=x user=y password=z --run true
try "an unknown parameter" fails_with "unknown parameter 'fiel'" serve fiel=w.vmdk --run true
try "an unknown compression" fails_with 'none of none, zlib' serve w.vmdk compression=lzma --run true
try "a port that is none" fails_with 'highest port' serve w.vmdk port=65536 --run true
try "a configuration that is not there" fails_with 'No such file' serve w.vmdk config=none --run true
try "a disk that is not there" fails_with 'VIX_E_FILE_NOT_FOUND (4)' serve none.vmdk --run "$info"
try "a file that is no disk" fails_with 'VIX_E_DISK_INVALIDDISK' serve image --run "$info"
in_use() {
    fresh monolithicSparse && begin w.vmdk || return
    /usr/bin/python3 -c 'import nbd, subprocess, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
sys.exit(subprocess.run(sys.argv[2:]).returncode)' "$(uri)" nbdkit --foreground -U - "$plugin" w.vmdk --run "$info"
}
try "a disk that another server writes" fails_with 'VIX_E_FILE_ALREADY_LOCKED' in_use
stop TERM
tells_no_space() {
    # 64 KiB of room and a file that may not grow further
    fresh monolithicSparse || return
    (
        ulimit -f 2048
        trap '' XFSZ
        # shellcheck disable=SC2016
        serve w.vmdk --run 'qemu-io -f raw -c "write -P 1 0 16M" "$uri" && qemu-io -f raw -c "write -P 1 0 16M" "$uri"'
    ) >out.txt 2>&1
    cat out.txt
    grep -q 'error: write: VIX_E_' out.txt && "$VIXDISK" check -q --repair w.vmdk
}
try "a write that fails is told, and the disk is sound" tells_no_space

# ---- disks on a server ----

"$daemon" --init host --listen 127.0.0.1 --name 127.0.0.1 --port 0 --nfc-port 0 >init.txt ||
    { echo "not ok - vixdiskd makes a set-up"; exit 1; }
thumbprint=$(sed -n 's/^Thumbprint: //p' init.txt)
password=$(cat host/password)
"$daemon" --config host/vixdiskd.conf 2>daemon.log &
daemon_pid=$!
pids+=("$daemon_pid")
for _ in $(seq 200); do
    grep -q 'ready, https' daemon.log && break
    sleep 0.05
done
read -r port nfc_port < <(sed -nE 's/.*ready, https ([0-9]+), nfc ([0-9]+).*/\1 \2/p' daemon.log)
store=host/datastore1/vm1
remote() { # transport disk options...
    serve server=127.0.0.1 port="$port" nfchostport="$nfc_port" user=vixdisk password=+host/password \
        thumbprint="$thumbprint" 'vm=[datastore1] vm1/vm1.vmx' transports="$1" file="[datastore1] vm1/$2.vmdk" "${@:3}"
}
there_and_back() { # transport compression
    rm -f "$store"/new*
    "$VIXDISK" create -q -s "$size" -t monolithicSparse "$store/new.vmdk" || return
    # shellcheck disable=SC2016
    remote "$1" new compression="$2" --run 'nbdcopy --flush --connections=4 image "$uri"' &&
        qemu-img compare -q -f raw -F vmdk image "$store/new.vmdk" &&
        remote "$1" new -r compression="$2" --run 'nbdcopy --connections=4 "$uri" out.img' && cmp image out.img
}
try "a server, nbd: there and back" there_and_back nbd none
try "a server, nbdssl, fastlz: there and back" there_and_back nbdssl fastlz
try "a server, transports that do not apply are left out" there_and_back file:nbdssl:nbd none
remote_map() {
    # shellcheck disable=SC2016
    remote nbd new -r --run 'nbdinfo --map --json "$uri"' >remote.json &&
        serve -r "$store/new.vmdk" --run 'nbdinfo --map --json "$uri"' >local.json && cmp remote.json local.json &&
        grep -q '"type": 3' local.json
}
try "a server: nbdinfo --map is that of the local disk" remote_map
remote_writes() {
    # shellcheck disable=SC2016
    remote nbd new --run 'qemu-io -f raw -c "write -f -P 7 5M 1M" -c "write -z -u 6M 1M" -c "read -P 7 5M 1M" "$uri"' &&
        qemu-io -r -f vmdk -c 'read -P 7 5M 1M' -c 'read -P 0 6M 1M' "$store/new.vmdk" >read.log && ! grep failed read.log
}
try "a server: FUA and zeros" remote_writes
single_link_remote() {
    rm -f "$store"/kid* "$store"/new*
    "$VIXDISK" convert -q -f raw -t monolithicSparse image "$store/new.vmdk" &&
        "$VIXDISK" snapshot -q "$store/new.vmdk" "$store/kid.vmdk" &&
        single_link_zeros "$store/new.vmdk" "$store/kid.vmdk" 1 remote nbd kid; local code=$?
    rm -f "$store"/kid*
    return "$code"
}
try "a server, a single link: zeros hide what its parent holds" single_link_remote
# shellcheck disable=SC2016
try "a server: no trim" remote nbd new --run 'nbdinfo --can trim "$uri"; [ $? -eq 2 ]'
try "a server: a disk that is not there" fails_with '127.0.0.1:' remote nbd none --run "$info"
wrong_password() {
    echo wrong >wrong
    remote nbd new password=+wrong --run "$info"
}
try "a server: a wrong password" fails_with 'VIX_E_HOST_USER_PERMISSIONS' wrong_password
no_secret() {
    # shellcheck disable=SC2016
    remote nbdssl new -r --verbose --run 'nbdinfo --size "$uri"' >verbose.txt 2>&1 &&
        grep -q "debug: .*Opened '" verbose.txt && ! grep -F "$password" verbose.txt daemon.log
}
try "a server: --verbose has the library's messages and no password" no_secret
# The host ends and comes back while two clients have the disk open for writing: each goes on.
# The last test, as it ends the host.
writers_get_it_back() {
    rm -f "$store"/two*
    "$VIXDISK" create -q -s 16M -t monolithicSparse "$store/two.vmdk" || return
    sed -E "s/^port *=.*/port = $port/; s/^nfc-port *=.*/nfc-port = $nfc_port/" host/vixdiskd.conf >host/again.conf
    begin --filter=retry retry-delay=1 retry-exponential=no server=127.0.0.1 port="$port" nfchostport="$nfc_port" \
        user=vixdisk password=+host/password thumbprint="$thumbprint" 'vm=[datastore1] vm1/vm1.vmx' transports=nbdssl \
        'file=[datastore1] vm1/two.vmdk' || return
    /usr/bin/python3 - "$(uri)" "$daemon" "$daemon_pid" <<'PYTHON' 9>again.log || { cat server.log again.log; return 1; }
import nbd, os, signal, subprocess, sys, time
clients = [nbd.NBD(), nbd.NBD()]
for c in clients:
    c.connect_uri(sys.argv[1])
    c.pwrite(b"1" * 65536, 0)
os.kill(int(sys.argv[3]), signal.SIGTERM)
while os.path.exists("/proc/" + sys.argv[3]) and open(f"/proc/{sys.argv[3]}/stat").read().split()[2] != "Z":
    time.sleep(0.02)
host = subprocess.Popen([sys.argv[2], "--config", "host/again.conf"], stderr=9)
try:
    for n, c in enumerate(clients):
        c.pwrite(bytes([0x41 + n]) * 65536, (n + 1) << 20)
    clients[0].flush()
    assert clients[0].pread(65536, 2 << 20) == b"B" * 65536
    for c in clients:
        c.shutdown()
finally:
    time.sleep(0.2)
    host.terminate()
    host.wait()
PYTHON
    stop TERM
    qemu-io -r -f vmdk -c 'read -P 0x31 0 64k' -c 'read -P 0x41 1M 64k' -c 'read -P 0x42 2M 64k' "$store/two.vmdk" >read.log
    cat read.log
    ! grep failed read.log
}
try "a server: writers that lose it have the disk again, with --filter=retry" writers_get_it_back
