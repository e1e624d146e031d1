#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What the disk host gives up when it starts, and how systemd runs it.
# VIXDISKD names the host that is tested; else the one that was built with the command VIXDISK.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
: "${VIXDISKD:=$(dirname "${VIXDISK:?names neither VIXDISK nor VIXDISKD}")/../daemon/vixdiskd}"
export VIXDISKD PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/confined.py"
