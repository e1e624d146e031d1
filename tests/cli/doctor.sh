#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vixdisk doctor --for: the library as other programs look for it, in trees with one thing wrong. What needs a server is
# in tests/remote/changes.py.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"
unset VIXDISK_HOST GOVC_URL

# steps STATUS EXPRESSION OPTION...: its exit status, and what must hold of the steps d and of found and bad, by step.
steps() {
    local want=$1 expression=$2 status=0
    shift 2
    "$VIXDISK" doctor --json "$@" >steps.json || status=$?
    cat steps.json
    [ "$status" -eq "$want" ] && json steps.json "(lambda found, bad: $expression)(
        {s['step']: s['found'] for s in d}, [s['step'] for s in d if not s['ok'] and s['advice']])"
}
same_file() { # the library that runs is the one of this build
    library=$("$VIXDISK" doctor --json --for nbdkit --libdir / | /usr/bin/python3 -c 'import json, sys
print(json.load(sys.stdin)[0]["found"].split(", ")[1])') && [ "$library" -ef "$(ldd "$VIXDISK" | sed -n 's/.*libvixDiskLib[^ ]* => \([^ ]*\).*/\1/p')" ]
}
same_file || { echo "not ok - the file of the library that runs"; exit 1; }
try "the file of the library that runs" same_file
version=$("$VIXDISK" --version | sed -n '1s/vixdisk //p')

tree() { # name: a sound one
    rm -rf "$1"
    mkdir -p "$1/lib64"
    cp "$library" "$1/lib64/libvixDiskLib.so.$version"
    local end
    for end in '' .6 .7 .8 .9; do
        ln -s "libvixDiskLib.so.$version" "$1/lib64/libvixDiskLib.so$end"
    done
}
tree sound
real=$(realpath sound)/lib64/libvixDiskLib.so.$version
for consumer in nbdkit cdi xo; do
    try "$consumer: a sound tree" steps 0 "bad == [] and found['library'].startswith('vixdisk $version, ') and
        found['soname'].endswith('libvixDiskLib.so.8 is $real') and found['load'].endswith('starts: vixdisk $version') and
        ('plain name' in found) == ('$consumer' != 'nbdkit')" --for "$consumer" --libdir sound
done
lines() {
    "$VIXDISK" doctor --for=xo --libdir=sound >out && [ "$(wc -l <out)" -eq 5 ] && [ "$(grep -c '^ok      ' out)" -eq 5 ]
}
try "a line for each step" lines

# bareos wants this machine to have SCSI disks and a list of mounts.
bareos() {
    local wrong='' status=1
    if [ ! -e /sys/class/scsi_disk ]; then wrong="'scsi disks'"; elif [ ! -r /etc/mtab ]; then wrong="'mounts'"; else status=0; fi
    steps "$status" "bad == [$wrong] and found['soname'].endswith('.9 is $real') and 'load' in found" --for bareos --libdir sound
}
try "bareos: a sound tree, and what its wrapper asks of the machine" bareos

try "a folder that is not there" steps 1 "bad == ['folder'] and list(found) == ['library', 'folder']" --for nbdkit --libdir none
try "a folder that is a file" steps 1 "bad == ['folder']" --for nbdkit --libdir "$library"
try "lib64 in the place of the tree has no lib64" steps 1 "bad == ['plain name']" --for xo --libdir sound/lib64
try "which nbdkit takes all the same" steps 0 "bad == [] and found['soname'].startswith('sound/lib64/libvix')" --for nbdkit --libdir sound/lib64
try "but bareos does not" steps 1 "bad == ['soname']" --for bareos --libdir sound/lib64

tree plain
rm plain/lib64/libvixDiskLib.so
for consumer in cdi xo; do
    try "$consumer: no plain name" steps 1 "bad == ['plain name'] and 'No such file' in found['plain name']" --for "$consumer" --libdir plain
done
try "nbdkit does without the plain name" steps 0 "bad == []" --for nbdkit --libdir plain
ln -s libvixDiskLib.so.1 plain/lib64/libvixDiskLib.so
try "a plain name that is a broken link" steps 1 "bad == ['plain name'] and 'is a link to libvixDiskLib.so.1' in found['plain name']" \
    --for cdi --libdir plain
tree sonames
rm sonames/lib64/libvixDiskLib.so.[678]
try "nbdkit: no soname that all its versions look for" steps 1 "bad == ['soname'] and 'libvixDiskLib.so.8' in found['soname']" \
    --for nbdkit --libdir sonames
ln -s gone sonames/lib64/libvixDiskLib.so.8
try "a soname that is a broken link" steps 1 "bad == ['soname'] and 'is a link to gone' in found['soname']" --for nbdkit --libdir sonames
ln -s "libvixDiskLib.so.$version" sonames/lib64/libvixDiskLib.so.7
try "nbdkit takes the next one" steps 0 "bad == [] and '.so.7 is ' in found['soname']" --for nbdkit --libdir sonames
tree folder
rm folder/lib64/libvixDiskLib.so
mkdir folder/lib64/libvixDiskLib.so
try "a folder by the name of the library" steps 1 "bad == ['plain name'] and 'not a file' in found['plain name']" --for xo --libdir folder

tree other
loads() { # what the only name leads to
    ln -sfn "$1" other/lib64/libvixDiskLib.so.8
}
echo "no library" >text && loads "$PWD/text"
try "not a library" steps 1 "bad == ['load'] and 'file too short' in found['load']" --for nbdkit --libdir other
head -c 4096 "$library" >short && loads "$PWD/short"
try "a library that was cut short" steps 1 "bad == ['load']" --for nbdkit --libdir other
echo 'int a_function(void) { return 1; }' >other.c && gcc -shared -fPIC -o other.so other.c && loads "$PWD/other.so"
try "another library" steps 1 "bad == ['load'] and 'has no VixDiskLib_InitEx' in found['load']" --for nbdkit --libdir other
echo '#include <stdlib.h>
__attribute__((constructor)) static void begin(void) { abort(); }' >dies.c && gcc -shared -fPIC -o dies.so dies.c && loads "$PWD/dies.so"
try "a library that dies" steps 1 "bad == ['load'] and 'Aborted' in found['load']" --for nbdkit --libdir other
gcc -shared -fPIC -o libneeded.so other.c && gcc -shared -fPIC -o needs.so -x c /dev/null -Wl,--no-as-needed -L. -lneeded &&
    loads "$PWD/needs.so"
rm libneeded.so
try "a library that misses one" steps 1 "bad == ['load'] and 'libneeded.so' in found['load']" --for nbdkit --libdir other

usage='vixdisk: doctor: .* \(see .vixdisk help doctor.\)'
try "a program that is not known" fails_with 2 "$usage" "$VIXDISK" doctor --for qemu
try "a folder for no program" fails_with 2 "$usage" "$VIXDISK" doctor --libdir sound
try "a server that is not named" fails_with 2 "vixdisk: doctor: .*" "$VIXDISK" doctor --for nbdkit --libdir sound '[a] b/c.vmdk'
