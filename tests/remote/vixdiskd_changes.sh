#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Change tracking of vixdiskd, and copies that are kept up to date from it. VIXDISK names the command of the build under
# test.
here=$(dirname "$0")
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
: "${VIXDISKD:=$(dirname "${VIXDISK:?names neither VIXDISK nor VIXDISKD}")/../daemon/vixdiskd}"
exec env VIXDISKD="$VIXDISKD" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/vixdiskd_changes.py"
