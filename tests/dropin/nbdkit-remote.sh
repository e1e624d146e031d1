#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's vddk plugin with the installed tree as its libdir, and vixdiskd as the server: everything between the
# plugin's parameters and the host's disk is ours, what reads and writes is not.
#   tests/dropin/nbdkit-remote.sh TREE VIXDISKD
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"

tree=$(cd "$STARTED_IN" && realpath "$1") || { echo "not ok - there is an installed tree"; exit 1; }
daemon=$(cd "$STARTED_IN" && realpath "$2") || { echo "not ok - there is a vixdiskd"; exit 1; }
VIXDISK=$(realpath "$tree/bin64/vixdisk")
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
unset LD_LIBRARY_PATH VIXDISK_CONFIG

if [ "$(uname -m)" != x86_64 ]; then
    skip "nbdkit's vddk plugin" "upstream builds it for x86-64 only"
    exit 0
fi
nbdkit_dir=$("$SRC/scripts/get-nbdkit") || { echo "not ok - nbdkit can be built"; exit 1; }
nbdkit=$nbdkit_dir/nbdkit

pid=
# shellcheck disable=SC2317 # called at the end by tap.sh
cleanup() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null
        wait "$pid"
    fi
}

"$daemon" --init host --listen 127.0.0.1 --name 127.0.0.1 --port 0 --nfc-port 0 >init.txt ||
    { echo "not ok - vixdiskd makes a set-up"; exit 1; }
thumbprint=$(sed -n 's/^Thumbprint: //p' init.txt)
password=$(cat host/password)
"$daemon" --config host/vixdiskd.conf 2>daemon.log &
pid=$!
for _ in $(seq 200); do
    grep -q 'ready, https' daemon.log && break
    sleep 0.05
done
port=$(sed -nE 's/.*ready, https ([0-9]+), nfc .*/\1/p' daemon.log)
nfc_port=$(sed -nE 's/.*ready, https [0-9]+, nfc ([0-9]+).*/\1/p' daemon.log)
store=host/datastore1/vm1

"$SRC/scripts/make-image" image 96 64
size=$(stat -c %s image)
"$VIXDISK" convert -q -f raw -t monolithicSparse image "$store/sparse.vmdk"
"$VIXDISK" convert -q -f raw -t vmfs image "$store/flat.vmdk"

# A disk of the host: transport name-of-disk options... --run command
vddk() {
    local transport=$1 disk=$2
    shift 2
    "$nbdkit" --foreground --exit-with-parent vddk libdir="$tree" server=127.0.0.1 port="$port" nfchostport="$nfc_port" \
        user=vixdisk password=+host/password thumbprint="$thumbprint" 'vm=[datastore1] vm1/vm1.vmx' \
        transports="$transport" file="[datastore1] vm1/$disk.vmdk" "$@"
}

copy_out() { # transport disk options...
    # shellcheck disable=SC2016 # nbdkit's shell expands $uri
    vddk "$1" "$2" -r "${@:3}" --run 'nbdcopy --connections=4 "$uri" out.img' && cmp image out.img
}
for transport in nbd nbdssl; do
    for compression in none zlib fastlz skipz; do
        try "$transport, compression=$compression: nbdcopy out gives the image" copy_out "$transport" sparse \
            compression="$compression"
    done
done
try "out of a flat disk" copy_out nbdssl flat
try "transports that do not apply are left out" copy_out file:nbdssl:nbd sparse

copy_in() { # transport type options...
    rm -f "$store"/new*
    "$VIXDISK" create -q -s "$size" -t "$2" "$store/new.vmdk" || return
    # shellcheck disable=SC2016
    vddk "$1" new "${@:3}" --run 'nbdcopy --flush --connections=4 image "$uri"' &&
        qemu-img compare -q -f raw -F vmdk image "$store/new.vmdk"
}
for transport in nbd nbdssl; do
    for compression in none zlib fastlz skipz; do
        try "$transport, compression=$compression: nbdcopy in, qemu-img reads the image" copy_in "$transport" \
            monolithicSparse compression="$compression"
    done
done
try "in, and unbuffered" copy_in nbdssl vmfs unbuffered=true

# What the plugin learns from QueryAllocatedBlocks, in chunks of 64 KiB, is what the file has.
same_map() {
    # shellcheck disable=SC2016
    vddk nbd sparse -r --run 'nbdinfo --map --json "$uri"' >remote.json &&
        "$nbdkit" --foreground --exit-with-parent vddk libdir="$tree" -r "$PWD/$store/sparse.vmdk" \
            --run 'nbdinfo --map --json "$uri"' >local.json && cmp remote.json local.json && grep -q '"type": 3' local.json
}
try "nbdinfo --map is that of the local disk" same_map

fio_verify() { # transport
    rm -f "$store"/fio*
    "$VIXDISK" create -q -s 64M -t monolithicSparse "$store/fio.vmdk" || return
    # shellcheck disable=SC2016
    vddk "$1" fio --run '
        fio --name=verify --ioengine=nbd --uri="$uri" --verify=crc32c --verify_fatal=1 --do_verify=1 --size=64M \
            --rw=randwrite --bsrange=512-64k --blockalign=512 --norandommap=0 --iodepth=16 --io_size=48M' &&
        qemu-img check -q -f vmdk "$store/fio.vmdk"
}
try "fio verifies random writes over nbd" fio_verify nbd
try "fio verifies random writes over nbdssl" fio_verify nbdssl

# Four plugins, each with a disk of its own, at once; and four readers of one disk.
four_at_once() {
    local n pids=() status=0
    for n in 1 2 3 4; do
        rm -f "$store/par$n"*
        "$VIXDISK" create -q -s "$size" -t monolithicSparse "$store/par$n.vmdk" || return
    done
    for n in 1 2 3 4; do
        # shellcheck disable=SC2016
        vddk nbdssl "par$n" --run 'nbdcopy --flush image "$uri"' &
        pids+=($!)
        # shellcheck disable=SC2016
        vddk nbd sparse -r --run 'nbdcopy "$uri" '"par$n.img" &
        pids+=($!)
    done
    for n in "${pids[@]}"; do
        wait "$n" || status=1
    done
    for n in 1 2 3 4; do
        cmp image "par$n.img" && qemu-img compare -q -f raw -F vmdk image "$store/par$n.vmdk" || status=1
    done
    return $status
}
try "four writers and four readers at once" four_at_once

fails_with() { # text command...
    local text=$1
    shift
    if "$@"; then
        return 1
    fi 2>failed.txt
    cat failed.txt
    grep -qF "$text" failed.txt
}
wrong_password() {
    echo wrong >wrong
    # shellcheck disable=SC2016
    "$nbdkit" --foreground --exit-with-parent vddk libdir="$tree" server=127.0.0.1 port="$port" nfchostport="$nfc_port" \
        user=vixdisk password=+wrong thumbprint="$thumbprint" 'vm=[datastore1] vm1/vm1.vmx' \
        file="[datastore1] vm1/sparse.vmdk" --run 'nbdinfo "$uri"'
}
try "a wrong password is told" fails_with "127.0.0.1:$port" wrong_password
# shellcheck disable=SC2016
try "a disk that is not there is told" fails_with "127.0.0.1:" vddk nbd none -r --run 'nbdinfo "$uri"'

password_is_nowhere() { ! grep -rF "$password" daemon.log; }
try "the password is not in the host's log" password_is_nowhere
verbose_tells_no_password() {
    # shellcheck disable=SC2016
    vddk nbdssl sparse -r --verbose -D vddk.stats=1 --run 'nbdinfo --size "$uri"' >verbose.txt 2>&1 &&
        grep -q 'Opened .vpxa-nfcssl://\|Opened .ha-nfcssl://' verbose.txt && ! grep -F "$password" verbose.txt
}
try "nbdkit's verbose log has the link line and no password" verbose_tells_no_password

ends() {
    kill -TERM "$pid" && wait "$pid"
}
try "vixdiskd ends when it is told to" ends
pid=
