#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients that lie, stall, flood and vanish, against the disk host. VIXDISKD as in vixdiskd.sh.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
: "${VIXDISKD:=$(dirname "${VIXDISK:?names neither VIXDISK nor VIXDISKD}")/../daemon/vixdiskd}"
export VIXDISKD PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/hostile.py"
