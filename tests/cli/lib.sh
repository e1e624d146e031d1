# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the tests of the command share; after ../lib/tap.sh.

export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

# fails_with STATUS REGEX COMMAND...: ends with that status, says nothing on standard output and exactly one line on
# standard error, which matches the whole REGEX.
fails_with() {
    local want=$1 regex=$2 status=0
    shift 2
    "$@" >"$TMP/.stdout" 2>"$TMP/.stderr" </dev/null || status=$?
    echo "status $status of $want, standard error:"
    cat "$TMP/.stderr"
    [ "$status" -eq "$want" ] && [ ! -s "$TMP/.stdout" ] && [ "$(wc -l <"$TMP/.stderr")" -eq 1 ] &&
        grep -qxE "$regex" "$TMP/.stderr"
}

# json FILE EXPRESSION: whether the Python expression over the document d holds.
json() {
    /usr/bin/python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
ok = eval("(" + sys.argv[2] + ")")
if not ok:
    print(json.dumps(d, indent=1))
sys.exit(not ok)' "$1" "$2"
}

# json_of EXPRESSION COMMAND...: whether it holds over what the command prints.
json_of() {
    local expression=$1
    shift
    "$@" >"$TMP/.json" && json "$TMP/.json" "$expression"
}

# fill FILE OFFSET LENGTH [SEED]: bytes that do not compress into a raw image, sizes in bytes.
fill() {
    /usr/bin/python3 -c 'import random, sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    file.write(random.Random(int(sys.argv[4])).randbytes(int(sys.argv[3])))' "$1" "$2" "$3" "${4:-1}"
}

# poke FILE OFFSET HEX: overwrites bytes.
poke() {
    /usr/bin/python3 -c 'import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    file.write(bytes.fromhex(sys.argv[3]))' "$1" "$2" "$3"
}

files_like() { # pattern: how many files there are
    find . -maxdepth 1 -name "$1" | wc -l
}

# same_shape FILE: all that qemu-img info tells, we tell too, with the same value
same_shape() {
    qemu-img info --output=json -f vmdk "$1" >theirs && "$VIXDISK" info --json "$1" >ours &&
        /usr/bin/python3 - <<'PYTHON'
import json, sys
def check(theirs, ours, at):
    if isinstance(theirs, dict):
        for key in theirs:
            if key not in ours:
                sys.exit("%s.%s is missing" % (at, key))
            check(theirs[key], ours[key], at + "." + key)
    elif isinstance(theirs, list):
        assert len(theirs) == len(ours), at
        for i, pair in enumerate(zip(theirs, ours)):
            check(pair[0], pair[1], "%s[%d]" % (at, i))
    elif theirs != ours and not (at.endswith(".format") and theirs == ""):
        sys.exit("%s: %r there, %r here" % (at, theirs, ours))
check(json.load(open("theirs")), json.load(open("ours")), "")
PYTHON
}
# same_map FILE: exactly the array that qemu-img map prints
same_map() {
    qemu-img map -f vmdk --output=json "$1" >theirs && "$VIXDISK" map --json "$1" >ours && diff theirs ours
}

disk_files() { # name without .vmdk: how many files the disk has
    find . -maxdepth 1 -name "$1.vmdk" -o -maxdepth 1 -name "$1-*" | wc -l
}

WRITABLE='monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat vmfs vmfsThin'
# For scripts that have no use for it.
export WRITABLE
