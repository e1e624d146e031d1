#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vixdisk changes on local chains: what the links above one hold, beside what qemu-io has written.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/cli/lib.sh
. "$SRC/tests/cli/lib.sh"

write() { qemu-io -f vmdk -c "write -P 0x$4 $2 $3" "$1" >/dev/null; }

qemu-img create -q -f vmdk base.vmdk 64M
write base.vmdk 0 1M 11
qemu-img create -q -f vmdk -b base.vmdk -F vmdk one.vmdk
write one.vmdk 3M 64k 22
write one.vmdk 10M 128k 22
qemu-img create -q -f vmdk -b one.vmdk -F vmdk two.vmdk
write two.vmdk 10112k 64k 33
write two.vmdk 0 64k 33

areas() { json_of "[(a['start'] // 1024, a['length'] // 1024) for a in d['areas']] == $1" "$VIXDISK" changes --json "${@:2}"; }
nothing_above_the_top() { areas '[]' --since two.vmdk two.vmdk; }
above_the_middle() { areas '[(0, 64), (10112, 64)]' --since one.vmdk two.vmdk; }
above_the_base() { areas '[(0, 64), (3072, 64), (10112, 64), (10240, 128)]' --since ./base.vmdk two.vmdk; }
one_child() { areas '[(3072, 64), (10240, 128)]' --since base.vmdk one.vmdk; }
totals() { [ "$("$VIXDISK" changes --totals --since base.vmdk two.vmdk)" = "4 areas, 320 KiB of 64 MiB" ]; }
no_link() { fails_with 1 '.*other.vmdk is no link of this disk.s chain' "$VIXDISK" changes --since other.vmdk two.vmdk; }
needs_a_time() { fails_with 2 '.*give one of --since and --state.*' "$VIXDISK" changes two.vmdk; }
no_state() { echo '{"version": 9}' >bad.state; fails_with 1 '.*bad.state.*not a state.*' "$VIXDISK" changes --state bad.state two.vmdk; }

try "changes: nothing above the top" nothing_above_the_top
try "changes: above the middle link" above_the_middle
try "changes: above the base" above_the_base
try "changes: one child" one_child
try "changes: totals" totals
try "changes: a file that is no link" no_link
try "changes: a time is needed" needs_a_time
try "changes: what is no state" no_state
