# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What every shell test begins with:  . "$(dirname "$0")/../lib/tap.sh"
#
#   try "what must hold" COMMAND ARG...     runs it; ok if it exits 0, else not ok, and what it printed
#   refuse STATUS "what must hold" COMMAND...   ok if it exits with exactly that status
#   skip "what" "why"                       neither; CI counts it
#
# Each prints a line "ok - ..." or "not ok - ...". The script's exit status is 0 only if something ran and nothing failed.
# $TMP is a folder of the test's own, removed at the end; it is the present folder at the start.
# $VIXDISK is the command under test, $SRC the source tree, $STARTED_IN the folder in which the script was started.

set -u
SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${VIXDISK:=$SRC/build/release/tool/vixdisk}"
VIXDISK=$(realpath "$VIXDISK")
export STARTED_IN=$PWD
TMP=$(mktemp -d "${TMPDIR:-/tmp}/vixdisk-test.XXXXXX")
cd "$TMP" || exit 1
tap_ran=0
tap_failed=0

tap_end() {
    local status=$?
    if [ -n "$(type -t cleanup)" ]; then
        cleanup
    fi
    cd / && rm -rf "$TMP"
    if [ "$status" -ne 0 ] || [ "$tap_ran" -eq 0 ] || [ "$tap_failed" -ne 0 ]; then
        echo "# $tap_failed of $tap_ran failed, exit status $status"
        exit 1
    fi
}
trap tap_end EXIT
trap 'exit 130' INT TERM HUP

tap_result() { # status name output-file
    tap_ran=$((tap_ran + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok - $2"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok - $2"
        tail -n 40 "$3" | tr -d '\000' | sed 's/^/# /'
    fi
}

try() {
    local name=$1 status=0
    shift
    "$@" >"$TMP/.out" 2>&1 </dev/null || status=$?
    tap_result "$status" "$name" "$TMP/.out"
}

refuse() {
    local want=$1 name=$2 status=0
    shift 2
    "$@" >"$TMP/.out" 2>&1 </dev/null || status=$?
    if [ "$status" -eq "$want" ]; then
        tap_result 0 "$name" "$TMP/.out"
    else
        echo "exit status $status, $want was to be" >>"$TMP/.out"
        tap_result 1 "$name" "$TMP/.out"
    fi
}

skip() {
    tap_ran=$((tap_ran + 1))
    echo "ok - $1 # SKIP $2"
}
