#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The command and the disk host together, as `vixdiskd --init` leaves them: the printed command line works, and disks go
# to the host and back, over nbd and nbdssl, with every compression, and are the same to qemu-img.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
VIXDISKD=$(realpath "${VIXDISKD:-$(dirname "$VIXDISK")/../daemon/vixdiskd}")

cleanup() {
    if [ -n "${host_pid:-}" ]; then
        kill "$host_pid" 2>/dev/null
        wait "$host_pid" 2>/dev/null
    fi
}

"$VIXDISKD" --init host --name localhost --port 0 --nfc-port 0 >said || exit 1
"$VIXDISKD" --config host/vixdiskd.conf 2>log &
host_pid=$!
for ((i = 0; i < 200; i++)); do
    grep -q 'vixdiskd: ready' log && break
    sleep 0.1
done
ports=$(sed -nE 's/.*ready, https ([0-9]+), nfc ([0-9]+).*/\1 \2/p' log)
[ -n "$ports" ] || { cat log; exit 1; }

# The line as it was printed, with the command under test and the ports that were free.
printed=$(grep -E '^ *vixdisk info' said)
printed=${printed/vixdisk info/"\"\$VIXDISK\" info"}
printed=${printed/--port 0/--port ${ports% *}}
printed=${printed/--nfc-port 0/--nfc-port ${ports#* }}
info() { eval "$printed"; }
info_shows() { info | grep -q '1073741824 bytes'; }
try "the printed command line shows the disk" info_shows

there='[datastore1] vm1'
server=(--host localhost --port "${ports% *}" --nfc-port "${ports#* }" --user vixdisk --password-file host/password
    --thumbprint "$(sed -n 's/^Thumbprint: //p' said)" --vm "$there/vm1.vmx")
remote() { # command options...
    "$VIXDISK" "$1" "${server[@]}" "${@:2}"
}
files=host/datastore1/vm1

"$SRC/scripts/make-image" image 24 6
list_shows() { "$VIXDISK" ls "${server[@]:0:12}" | grep -qF "$there/vm1.vmdk"; }
try "ls shows the machine's disk" list_shows

there_and_back() { # transport compression type
    local name=$1-$2
    remote convert -q --transport "$1" --compress "$2" -f raw -t "$3" image "$there/$name.vmdk" &&
        qemu-img compare -f raw image -F vmdk "$files/$name.vmdk" &&
        remote convert -q --transport "$1" --compress "$2" -t raw "$there/$name.vmdk" "$name.raw" &&
        cmp image "$name.raw" &&
        remote convert -q --transport "$1" --compress "$2" -t streamOptimized "$there/$name.vmdk" "$name.vmdk" &&
        qemu-img compare -f raw image -F vmdk "$name.vmdk" && rm -f "$name.raw" "$name.vmdk"
}
for transport in nbd nbdssl; do
    for compression in none zlib fastlz skipz; do
        type=vmfsThin
        [ $compression != zlib ] || type=vmfs
        try "$transport, $compression: there and back is the same" there_and_back $transport $compression $type
    done
done

pieces() {
    local i at
    RANDOM=${VIXDISK_TEST_SEED:-4711}
    for ((i = 0; i < 6; i++)); do
        at=$((RANDOM % 40000 * 512))
        head -c $(((RANDOM % 500 + 1) * 512)) /dev/urandom >piece
        remote write --offset $at "$there/nbd-none.vmdk" <piece && dd if=piece of=image bs=512 seek=$((at / 512)) conv=notrunc status=none ||
            return 1
    done
    qemu-img compare -f raw image -F vmdk "$files/nbd-none.vmdk"
}
try "pieces are written in place" pieces

same() { remote compare -q "$there/nbd-none.vmdk" "$there/nbdssl-none.vmdk"; }
refuse 1 "compare tells that the disks differ" same
marked() {
    remote meta "$there/nbd-none.vmdk" some.key "some value" && grep -qF 'ddb.some.key = "some value"' "$files/nbd-none.vmdk"
}
try "a key of the disk database is set" marked
grown() {
    remote grow -q --size 64M "$there/nbd-zlib.vmdk" && remote info --json "$there/nbd-zlib.vmdk" | grep -q 67108864
}
try "a disk grows" grown
hashes() { [ "$(remote hash --json "$there/nbd-none.vmdk" | grep '"digest"')" = "$("$VIXDISK" hash --json "$files/nbd-none.vmdk" | grep '"digest"')" ]; }
try "its digest is that of the file on the host" hashes
# A disk of the host as files. Where FUSE is not, tests/cli/mount.sh says so.
mounted() { # options of mount...
    local i
    mkdir -p m && remote mount "$@" "$there/nbd-none.vmdk" m && qemu-img compare -f raw m/disk -F vmdk "$files/nbd-none.vmdk" || return
    [ $# -eq 0 ] || dd if=piece of=m/disk bs=512 seek=1001 conv=notrunc,fsync status=none || return
    cp m/disk mounted.raw && fusermount3 -u m || return
    for ((i = 0; i < 100; i++)); do # closed on the host
        remote compare -q "$there/nbd-none.vmdk" "$there/nbd-none.vmdk" && break
        sleep 0.1
    done
}
if true <>/dev/fuse; then
    try "a disk is mounted" mounted
    mounted_cow() { mounted --cow over.vmdk && ! cmp -s image mounted.raw && qemu-img compare -f raw image -F vmdk "$files/nbd-none.vmdk"; }
    try "and with a local child over it" mounted_cow
    mounted_writable() { mounted -w && qemu-img compare -f raw mounted.raw -F vmdk "$files/nbd-none.vmdk" && cp mounted.raw image; }
    try "and to be written" mounted_writable
fi
removed() { remote rm "$there/nbd-zlib.vmdk" && ! ls $files/nbd-zlib*; }
try "a disk is removed with its files" removed

wrong() { "$VIXDISK" info "${server[@]}" --password-file wrong "$there/vm1.vmdk"; }
echo wrong >wrong
fails() { ! "$@" 2>errors; }
says() { fails "${@:2}" && grep -q "$1" errors; }
try "a wrong password is said to be one" says InvalidLogin wrong
own=$(sed -n 's/^Thumbprint: //p' said)
first=$([ "${own%%:*}" = AA ] && echo BB || echo AA)
other() { "$VIXDISK" info "${server[@]}" --thumbprint "$first:${own#*:}" "$there/vm1.vmdk"; }
refused() { says "$first:${own#*:}" other && grep -q "$own" errors; }
try "another certificate is refused with both thumbprints" refused
try "a disk that is not there is said not to be" says 'nowhere.vmdk' remote info "$there/nowhere.vmdk"
no_secret() { ! grep -qF "$(cat host/password)" log errors; }
try "no password is in a log" no_secret
ends() { kill -TERM $host_pid && wait $host_pid && grep -q 'vixdiskd: ended' log; }
try "the host ends in order" ends
