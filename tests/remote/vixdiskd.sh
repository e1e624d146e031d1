#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The disk host, driven by a client that is written from the protocols' descriptions alone, beside qemu-img.
# VIXDISKD names the host that is tested; else the one that was built with the command VIXDISK.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
: "${VIXDISKD:=$(dirname "${VIXDISK:?names neither VIXDISK nor VIXDISKD}")/../daemon/vixdiskd}"
export VIXDISKD PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/vixdiskd.py"
