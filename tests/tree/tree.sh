#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The tree that travels: what it asks of a machine, and that it does its work on machines that have nothing but glibc:
# this one's, and that of Debian 11. nbdkit loads it there.
#   tests/tree/tree.sh FOLDER     FOLDER: what scripts/make-tree made
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/tree/roots.sh
. "$SRC/tests/tree/roots.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
unset LD_LIBRARY_PATH VIXDISK_CONFIG SSL_CERT_FILE

dist=$(cd "$STARTED_IN" && realpath "$1") || { echo "not ok - there is a tree"; exit 1; }
release=$SRC/build/release
dropin=$release/tests/dropin/dropin
version=$("$SRC/scripts/version")
for_machine_of "$dist"
artefact=vixdisk-vddk-$version.$machine
here=() # what runs a program of the tree on this machine
architecture=
if [ ${#emulator[@]} -gt 0 ]; then
    arm64=$("$SRC/scripts/get-arm64") || { echo "not ok - there is a compiler for arm64"; exit 1; }
    compiler=$arm64/cc
    here=("$arm64/run")
    architecture=arm64
    dropin=$SRC/build/arm64/tests/dropin/dropin
fi
tree=$TMP/vmware-vix-disklib-distrib
library=$tree/lib64/libvixDiskLib.so
host_pid=

# shellcheck disable=SC2317 # called at the end by tap.sh
cleanup() {
    if [ -n "$host_pid" ]; then
        kill "$host_pid" 2>/dev/null
        wait "$host_pid"
    fi
}

# ---- the tarball ----

sums() { (cd "$dist" && sha256sum --check --strict SHA256SUMS) && grep -q " $artefact.tar.gz$" "$dist/SHA256SUMS"; }
try "the checksums are those of the files" sums
unpacks() {
    tar -xzf "$dist/$artefact.tar.gz" && [ "$(tar -tf "$dist/$artefact.tar.gz" | cut -d/ -f1 | sort -u)" = "${tree##*/}" ] &&
        diff -r --no-dereference "$tree" "$dist/${tree##*/}"
}
try "the tarball has the folder that programs ask for at its top" unpacks
everybody_can_read() {
    [ -d "$tree" ] && ! find "$tree" ! -type l ! -perm -444 | grep . && ! find "$tree" -perm /7022 ! -type l | grep . &&
        ! find "$tree" -type d ! -perm 755 | grep . && ! find "$tree" -type l -lname '/*' | grep .
}
try "its files are for everybody to read, and nobody else to write" everybody_can_read
names() {
    local end
    [ "$(find "$tree/lib64" -name '*.so*' ! -name 'libvixDiskLib.so*' | wc -l)" -eq 0 ] || return
    for end in '' .5 .6 .7 .8 .9; do
        [ "$(readlink -e "$library$end")" = "$library.$version" ] || return
    done
    file -E "$library" && [ -f "$library.$version" ] && [ ! -L "$library.$version" ]
}
try "the library has all its names, and lies alone" names

# ---- what it asks for ----

needs_glibc_alone() {
    local file needed
    for file in "$library" "$tree/bin64/vixdisk"; do
        needed=$(readelf -dW "$file" | sed -nE 's/.*NEEDED.*\[(.*)\]/\1/p')
        echo "$file: $needed"
        ! grep -vxE 'lib(c|m|pthread|dl)\.so\.[0-9]+|ld-linux[-a-z0-9_]*\.so\.[0-9]|libvixDiskLib\.so\.8' <<<"$needed" || return
        grep -qx 'libpthread.so.0' <<<"$needed" && grep -qx 'libdl.so.2' <<<"$needed" || return
    done
}
try "it needs glibc alone, in the parts that older ones have" needs_glibc_alone
baseline() {
    local file newest
    for file in "$library" "$tree/bin64/vixdisk"; do
        newest=$({ nm -D --with-symbol-versions "$file"; readelf -VW "$file"; } | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -1)
        echo "$file: $newest"
        [ -n "$newest" ] && [ "$(printf '%s\n' "$newest" GLIBC_2.28 | sort -V | tail -1)" = GLIBC_2.28 ] || return
    done
    ! nm -D --undefined-only "$library" | grep -v '@GLIBC_' | grep -vE ' w (_ITM_|__gmon_start__)'
}
try "no symbol newer than glibc 2.28" baseline
try "it exports its own functions only" "$SRC/scripts/check-exports" "$library"
hardened() {
    local file
    for file in "$library" "$tree/bin64/vixdisk"; do
        readelf -lW "$file" | grep -q GNU_RELRO && readelf -lW "$file" | grep 'GNU_STACK.* RW ' &&
            ! readelf -dW "$file" | grep TEXTREL || return
    done
    # Names of files that the build folder sees as ../../src are none, wherever that is.
    ! strings -a "$library" "$tree/bin64/vixdisk" | sed 's,\.\./,,g' | grep -F "$SRC"
}
try "no text relocations, no executable stack, no paths of the build" hardened
# A glibc before 2.34 does not run them for a program that was linked with a newer one's start files.
no_constructors() { readelf -SW "$tree/bin64/vixdisk" | grep -E ' \.init_array +INIT_ARRAY +[0-9a-f]+ [0-9a-f]+ 000008 '; }
[ "$machine" != x86_64 ] || try "the command has no constructors" no_constructors

# ---- the bill of materials ----

bill() {
    /usr/bin/python3 - "$dist/$artefact.spdx.json" "$tree" "$library" "$machine" <<'PYTHON'
import hashlib, json, os, re, sys

bill = json.load(open(sys.argv[1]))
tree, text = sys.argv[2], open(sys.argv[3], "rb").read()
ids = [x["SPDXID"] for x in bill["packages"] + bill["files"]]
assert len(ids) == len(set(ids)) and all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", i) for i in ids)
related = {(r["spdxElementId"], r["relationshipType"], r["relatedSpdxElement"]) for r in bill["relationships"]}
assert all(a in ids + ["SPDXRef-DOCUMENT"] and b in ids for a, _, b in related)
versions = {p["name"]: p["versionInfo"] for p in bill["packages"]}
linked = {b[8:] for a, kind, b in related if a == "SPDXRef-vixdisk" and kind == "STATIC_LINK"}
wanted = {"curl", "expat", "gcc", "glibc", "json-c", "libdeflate", "openssl"} | ({"libisal"} if sys.argv[4] == "x86_64" else set())
assert linked == wanted, linked
# What the code itself says.
for name, pattern in (("openssl", rb"OpenSSL (3\.[0-9.]+) "), ("expat", rb"expat_([0-9.]+)")):
    found = re.search(pattern, text)
    print(name, versions[name], found.group(0))
    assert versions[name].startswith(found.group(1).decode() + "-"), name
told = {f["fileName"]: {c["algorithm"]: c["checksumValue"] for c in f["checksums"]} for f in bill["files"]}
there = {}
for folder, _, names in os.walk(tree):
    for name in names:
        path = os.path.join(folder, name)
        if not os.path.islink(path) and name != "vixdisk.spdx.json":
            content = open(path, "rb").read()
            there["./" + os.path.relpath(path, os.path.dirname(tree))] = {
                "SHA1": hashlib.sha1(content).hexdigest(), "SHA256": hashlib.sha256(content).hexdigest()}
assert told == there, set(told) ^ set(there)
for part in linked:
    assert os.path.getsize(os.path.join(tree, "doc/licences", part)) > 500, part
PYTHON
}
try "the bill of materials tells the parts, their versions and the files" bill

# ---- on this machine ----

# Another program's libraries come first in the order of symbols; these do harm.
cat >harm.c <<'PROGRAM'
#include <stdlib.h>
#define HARM(name) void name(void); void name(void) { abort(); }
HARM(SSL_new) HARM(SSL_CTX_new_ex) HARM(OPENSSL_init_ssl) HARM(EVP_DigestInit_ex) HARM(curl_easy_init)
HARM(curl_global_init_mem) HARM(XML_ParserCreate) HARM(XML_Parse) HARM(isal_deflate) HARM(libdeflate_alloc_compressor)
HARM(libdeflate_alloc_decompressor) HARM(err_set) HARM(disk_read) HARM(json_object_new_object)
PROGRAM
"$compiler" -shared -fPIC -o harm.so harm.c
"$release/daemon/vixdiskd" --init host --listen 127.0.0.1 --name 127.0.0.1 --port 0 --nfc-port 0 >init.txt ||
    { echo "not ok - vixdiskd makes a set-up"; exit 1; }
"$release/daemon/vixdiskd" --config host/vixdiskd.conf 2>daemon.log &
host_pid=$!
for _ in $(seq 200); do
    grep -q 'ready, https' daemon.log && break
    sleep 0.05
done
read -r port nfc_port < <(sed -nE 's/.*ready, https ([0-9]+), nfc ([0-9]+).*/\1 \2/p' daemon.log)
thumbprint=$(sed -n 's/^Thumbprint: //p' init.txt)
store=host/datastore1/vm1
"$SRC/scripts/make-image" image 24 12
"$release/tool/vixdisk" convert -q -f raw -t streamOptimized image "$store/disk.vmdk"

there=(--host 127.0.0.1 --port "$port" --nfc-port "$nfc_port" --user vixdisk --vm '[datastore1] vm1/vm1.vmx')
disk='[datastore1] vm1/disk.vmdk'

not_disturbed() {
    LD_PRELOAD=$PWD/harm.so "${here[@]}" "$tree/bin64/vixdisk" info --json "${there[@]}" --password-file host/password \
        --thumbprint "$thumbprint" "$disk" &&
        LD_PRELOAD=$PWD/harm.so "${here[@]}" "$tree/bin64/vixdisk" convert -q -f raw -t streamOptimized image harm.vmdk &&
        qemu-img compare -q -f raw -F vmdk image harm.vmdk
}
try "other libraries of the process with the same names do not disturb it" not_disturbed
any_client() { "${here[@]}" "$dropin" "$library" >dropin.log || { cat dropin.log; return 1; }; }
try "the client that only knows dlopen" any_client

# ---- in roots ----

in_bare_root() { # ROOT: everything in it but a tree of ours
    local root=$1
    cp -a "$tree" "$root/vmware-vix-disklib-distrib"
    cp image host/password "$root"
    put_emulator "$root"
    vixdisk() { in_root "$root" "${emulator[@]}" /vmware-vix-disklib-distrib/bin64/vixdisk "$@"; }
    what=$2

    try "$what: has none of our libraries" has_nothing_of_ours "$root/lib"
    runs() { vixdisk --version | grep -q "^vixdisk $version$"; }
    try "$what: the command runs" runs
    local type
    copies() {
        vixdisk convert -q -f raw -t "$1" image "$1.vmdk" && qemu-img compare -q -f raw -F vmdk image "$root/$1.vmdk" &&
            rm -f "$root/out" && vixdisk convert -q -t raw "$1.vmdk" out && cmp image "$root/out"
    }
    for type in monolithicSparse streamOptimized twoGbMaxExtentFlat; do
        try "$what: to $type and back" copies "$type"
    done
    from_server() { # options...
        rm -f "$root/out"
        vixdisk convert -q -t raw "${there[@]}" --password-file password "$@" "$disk" out && cmp image "$root/out"
    }
    no_trust() { ! from_server --transport nbd 2>said && cat said && grep -q 'no file of trusted roots' said; }
    try "$what: out of a server, by its thumbprint" from_server --thumbprint "$thumbprint"
    try "$what: over TLS with compression" from_server --thumbprint "$thumbprint" --transport nbdssl --compress zlib
    try "$what: no roots, no trust" no_trust
    place_of_roots() {
        mkdir -p "$(dirname "$root$1")" && cp host/certificate.pem "$root$1" && from_server --transport nbdssl:nbd
        local status=$?
        rm "$root$1"
        return $status
    }
    for place in /etc/ssl/certs/ca-certificates.crt /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem \
        /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
        try "$what: the machine's roots in $place" place_of_roots "$place"
    done
    named_roots() { cp host/certificate.pem "$root/own.pem" && SSL_CERT_FILE=/own.pem from_server --transport nbd; }
    try "$what: roots in SSL_CERT_FILE" named_roots
}

mkdir bare
put_glibc bare
in_bare_root bare "the glibc it was built with"

status=0
old=$("$SRC/scripts/get-old-root" "$architecture") || status=$?
case $status in
    0)
        cp -a "$old" old
        in_bare_root old "glibc of Debian 11"
        ;;
    3) skip "glibc of Debian 11" "the mirror of this machine does not have that release" ;;
    *) try "a root of Debian 11 can be made" false ;;
esac

# ---- nbdkit ----

if [ "$machine" != x86_64 ]; then
    skip "nbdkit's vddk plugin" "upstream builds it for x86-64 only"
    exit
fi
nbdkit_dir=$("$SRC/scripts/get-nbdkit") || { echo "not ok - nbdkit can be built"; exit 1; }
put_program bare "$nbdkit_dir/server/nbdkit"
put_program bare "$nbdkit_dir/plugins/vddk/.libs/nbdkit-vddk-plugin.so"
try "nbdkit's root: has none of our libraries" has_nothing_of_ours bare/lib
mkdir bare/tmp bare/dev
: >bare/dev/null
vddk() { # options...: its socket is bare/socket
    in_root bare /nbdkit --foreground --exit-with-parent --unix /socket --pidfile /pid "$@"
}
plugin=(/nbdkit-vddk-plugin.so libdir=/vmware-vix-disklib-distrib)
dumped() {
    in_root bare /nbdkit "${plugin[@]}" --dump-plugin >dump && cat dump &&
        grep -qx "vddk_dll=/vmware-vix-disklib-distrib/lib64/libvixDiskLib.so.$version" dump
}
try "nbdkit: --dump-plugin names the library" dumped
copied_out() { # plugin's options...
    local status=0
    rm -f bare/socket bare/pid out
    vddk -r "${plugin[@]}" "$@" &
    for _ in $(seq 200); do
        [ -e bare/pid ] && break
        sleep 0.05
    done
    nbdcopy "nbd+unix:///?socket=$PWD/bare/socket" out || status=1
    kill "$(cat bare/pid)"
    wait "$!"
    cmp image out && return $status
}
try "nbdkit: a local disk" copied_out /streamOptimized.vmdk
try "nbdkit: a disk of a server" copied_out server=127.0.0.1 port="$port" nfchostport="$nfc_port" user=vixdisk \
    password=+/password thumbprint="$thumbprint" 'vm=[datastore1] vm1/vm1.vmx' transports=file:nbdssl:nbd file="$disk"
