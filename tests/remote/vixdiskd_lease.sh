#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vixdiskd with a volume of VMFS: NFC, leases, and the library by SAN on the same LUNs. VIXDISK names the command of the
# build under test.
here=$(dirname "$0")
: "${VIXDISKD:=$(dirname "${VIXDISK:?names neither VIXDISK nor VIXDISKD}")/../daemon/vixdiskd}"
exec env VIXDISKD="$VIXDISKD" PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here/../lib" /usr/bin/python3 "$here/vixdiskd_lease.py"
