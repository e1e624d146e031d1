#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The command line itself: help, version, mistakes, sizes, tables.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

says() { # regex command...: exit 0, and a line of standard output matches
    local regex=$1
    shift
    "$@" >out && cat out && grep -qE "$regex" out
}
try "--version names program and licence" says 'Licence: BSD-3-Clause' "$VIXDISK" --version
try "--version has a version" says '^vixdisk [0-9]+\.[0-9]+\.[0-9]+$' "$VIXDISK" --version
try "help lists convert" says '^  convert ' "$VIXDISK" help
try "--help is help" says '^  convert ' "$VIXDISK" --help
refuse 2 "no command" "$VIXDISK"
refuse 2 "unknown command" "$VIXDISK" frobnicate
refuse 2 "help of an unknown command" "$VIXDISK" help frobnicate

every_command_has_help() {
    local name
    for name in $("$VIXDISK" help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
        echo "$name"
        says "^Usage: vixdisk $name " "$VIXDISK" "$name" --help || return 1
        "$VIXDISK" help "$name" >out2 && cmp out out2 || return 1
        [ "$(awk 'length($0) > 120' out | wc -l)" -eq 0 ] || return 1
    done
}
try "every command tells about itself, the same way twice" every_command_has_help
try "aliases reach their commands" says '^Also:  vixdisk mv' "$VIXDISK" mv --help

usage='vixdisk: create: .* \(see .vixdisk help create.\)'
try "a missing size" fails_with 2 "$usage" "$VIXDISK" create x.vmdk
try "a size given twice" fails_with 2 "$usage" "$VIXDISK" create -s 1M x.vmdk 1M
try "an unknown option" fails_with 2 "$usage" "$VIXDISK" create --frob x.vmdk 1M
try "an unknown letter" fails_with 2 "$usage" "$VIXDISK" create -Z x.vmdk 1M
try "an option without its value" fails_with 2 "$usage" "$VIXDISK" create x.vmdk -s
try "a value for a flag" fails_with 2 "$usage" "$VIXDISK" create --json=yes x.vmdk 1M
try "too many arguments" fails_with 2 "$usage" "$VIXDISK" create x.vmdk 1M y
try "an unknown type" fails_with 2 "$usage" "$VIXDISK" create -t round x.vmdk 1M
try "an unknown adapter" fails_with 2 "$usage" "$VIXDISK" create -a isa x.vmdk 1M
try "a hardware version that is no number" fails_with 2 "$usage" "$VIXDISK" create -H ten x.vmdk 1M
try "a hardware version too high" fails_with 2 "$usage" "$VIXDISK" create -H 65536 x.vmdk 1M
try "an output format that does not exist" fails_with 2 "$usage" "$VIXDISK" create --output=xml x.vmdk 1M
try "a setting without a value" fails_with 2 "$usage" "$VIXDISK" create --set vixdisk.threads x.vmdk 1M
# What is no number at all is tried on the function that reads them; here is what follows from the value.
for size in '' 0 -1 511 0.1K 1GB 16384P; do
    try "size '$size' is refused" fails_with 2 'vixdisk: create: .*' "$VIXDISK" create -s "$size" x.vmdk
    try "size '$size' after the path is refused" fails_with 2 'vixdisk: create: .*' "$VIXDISK" create -- x.vmdk "$size"
done
try "nothing was made by mistakes" test ! -e x.vmdk

makes() { # size bytes
    rm -f x.vmdk
    "$VIXDISK" create -s "$1" x.vmdk && json_of "d['virtual-size'] == $2" "$VIXDISK" info --json x.vmdk
}
try "size 1048576" makes 1048576 1048576
try "size 64K" makes 64K 65536
try "size 1.5M" makes 1.5M 1572864
try "size 0.5K" makes 0.5K 512
try "size 2048s" makes 2048s 1048576
try "size 1T" makes 1T 1099511627776
rm -f x.vmdk

try "errors lists all codes" says '^16063  VIX_E_DISK_INVALIDDISK ' "$VIXDISK" errors
try "errors has no fewer than 274" test "$("$VIXDISK" errors | wc -l)" -ge 274
try "errors by number" says '^    8  VIX_E_DISK_FULL ' "$VIXDISK" errors 8
try "errors by name" says '^    8  VIX_E_DISK_FULL ' "$VIXDISK" errors vix_e_disk_full
try "errors by short name" says '^    8  VIX_E_DISK_FULL ' "$VIXDISK" errors DISK_FULL
try "errors as JSON" json_of "all(set(e) == {'code', 'name', 'message', 'retryable'} for e in d) and
    [e['name'] for e in d if e['code'] == 15] == ['VIX_E_FILE_ALREADY_LOCKED']" "$VIXDISK" errors --json
refuse 2 "errors of an unknown code" "$VIXDISK" errors 99999
try "transports" says '^file$' "$VIXDISK" transports
try "transports as JSON" json_of "'file' in d" "$VIXDISK" transports --output=json

full() { "$@" >/dev/full; }
refuse 1 "a full device at standard output is noticed" full "$VIXDISK" errors
closed_pipe() { "$VIXDISK" errors | head -1; return "${PIPESTATUS[0]}"; }
quiet_end() {
    closed_pipe 2>err
    local status=$?
    cat err
    { [ "$status" -eq 141 ] || [ "$status" -eq 0 ]; } && [ ! -s err ]
}
try "a closed pipe ends the command without a word" quiet_end

closed_output() { "$VIXDISK" create x.vmdk 1M && "$VIXDISK" info --json x.vmdk >before && cp x.vmdk copy &&
    { "$VIXDISK" info x.vmdk >&-; [ $? -eq 1 ]; } && { "$VIXDISK" read x.vmdk >&-; [ $? -eq 1 ]; } &&
    { "$VIXDISK" meta x.vmdk a b >&- 2>&- <&-; } && "$VIXDISK" info x.vmdk && rm x.vmdk; }
try "closed standard descriptors do no harm to a disk" closed_output
try "a configuration file that is not there" fails_with 1 \
    'vixdisk: info: none.conf: VIX_E_FILE_NOT_FOUND \(4\): .*' "$VIXDISK" info --config none.conf x.vmdk
printf -- '-|\nvixdisk.threads = 1\n' >odd.conf
"$VIXDISK" create x.vmdk 1M
try "a configuration file with a line of junk" "$VIXDISK" info --config odd.conf x.vmdk
chatty() { "$VIXDISK" info -v x.vmdk 2>err >/dev/null && grep -q VixDiskLib err; }
try "--verbose prints the library's messages" chatty
silent() { "$VIXDISK" info x.vmdk 2>err >/dev/null && [ ! -s err ]; }
try "nothing is printed on standard error otherwise" silent
