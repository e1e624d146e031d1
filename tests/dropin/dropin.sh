#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The program that only knows dlopen, against the installed tree: plainly by each name of the library, and under valgrind.
#   tests/dropin/dropin.sh TREE       TREE: <prefix>/lib/vixdisk of make install
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"

tree=$(cd "$STARTED_IN" && realpath "$1") || { echo "not ok - there is an installed tree"; exit 1; }
program=$SRC/build/release/tests/dropin/dropin

for end in '' .5 .6 .7 .8 .9 ".$("$SRC/scripts/version")"; do
    try "loads by the name libvixDiskLib.so$end" "$program" "$tree/lib64/libvixDiskLib.so$end" 'rule 8'
done

# Each test of the program is a process of its own: its findings make it fail, and are shown.
memcheck() {
    valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect,possible \
        --errors-for-leak-kinds=definite,indirect,possible --child-silent-after-fork=no \
        "$program" "$tree/lib64/libvixDiskLib.so.8" 2>&1 | sed 's/^\(ok\|not ok\) - /&valgrind: /'
    return "${PIPESTATUS[0]}"
}
if ! memcheck >memcheck.log; then
    tap_failed=$((tap_failed + 1))
fi
sed '/^ok\|^not ok/!s/^/# /' memcheck.log
tap_ran=$((tap_ran + $(grep -cE '^(ok|not ok) - ' memcheck.log)))
