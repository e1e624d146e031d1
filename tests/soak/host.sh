#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The short form of host.py for every run of the tests; `make soak` runs the long one.
set -u
here=$(dirname "$0")
export VIXDISKD="${VIXDISKD:-$(dirname "$VIXDISK")/../daemon/vixdiskd}"

for what in "--kills 6" "--minutes 0.1 --sessions 12"; do
    # shellcheck disable=SC2086  # two words and more
    if said=$(/usr/bin/python3 "$here/host.py" $what 2>&1); then
        echo "ok - host $what: $(tail -1 <<<"$said")"
    else
        echo "not ok - host $what"
        echo "# ${said//$'\n'/$'\n'# }"
        failed=1
    fi
done
exit "${failed:-0}"
