#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every rule of the formats that 'vixdisk check' knows, broken once. A case is a folder:
#   name        what is wrong, one line
#   make-image  python, in an empty folder: makes disk.vmdk, and reference.raw where the data is known (../image.py)
#   options     of check, if any
#   expect.1    result of the first run, which repairs: exit status, then a line for each kind of problem and what became
#               of it (repaired, left, note)
#   expect.2    result of the second run, which only looks
# Before the first run a check that only looks finds the same and changes nothing. What the disk holds stays as it was.
# Folders or single cases can be named as arguments.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
export VIXDISK PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
export PYTHONPATH=$SRC/tests/check PYTHONDONTWRITEBYTECODE=1

# What a check says, in the form of the expect files.
look() { # case options...
    local case=$1 status=0
    shift
    mapfile -t more < <(cat "$case/options" 2>/dev/null)
    "$VIXDISK" check --json "${more[@]}" "$@" disk.vmdk >check.json || status=$?
    echo "exit $status"
    python3 -c 'import json
d = json.load(open("check.json"))
for p in d.get("problems", [d]):
    state = "repaired" if p.get("repaired") else "note" if p.get("note") else "left"
    print(p["name"], state)' | sort -u
    rm -f check.json
}

# What a check finds, whatever becomes of it.
names() {
    sed -n '2,$s/ .*//p' "$1" | sort -u
}

sums() {
    find . -type f ! -name '*.raw' -print0 | sort -z | xargs -0 sha256sum
}

check_case() { # folder
    local case=$1
    mkdir image && cd image || return 1
    python3 "$case/make-image" || return 1
    sums >../before.sums
    look "$case" >../out.0
    echo "a run that only looks:"
    cat ../out.0
    sums | diff ../before.sums - || return 1
    diff <(names "$case/expect.1") <(names ../out.0) || return 1
    look "$case" --repair >../out.1
    echo "the first run:"
    diff "$case/expect.1" ../out.1 || return 1
    look "$case" >../out.2
    echo "the second run:"
    diff "$case/expect.2" ../out.2 || return 1
    if grep -q ' repaired$' "$case/expect.1"; then
        echo "the data:"
        [ -e reference.raw ] && "$VIXDISK" compare disk.vmdk reference.raw || return 1
    else
        sums | diff ../before.sums -
    fi
}

in_folder() { # folder
    mkdir -p "$TMP/work" && cd "$TMP/work" && check_case "$1"
}

cases=("$@")
if [ ${#cases[@]} -eq 0 ]; then
    cases=("$SRC"/tests/check/*/)
fi
for case in "${cases[@]}"; do
    case=$(cd "$STARTED_IN" && cd "$case" && pwd) || exit 1
    try "$(basename "$case"): $(cat "$case/name")" in_folder "$case"
    cd "$TMP" && rm -rf "$TMP/work"
done
