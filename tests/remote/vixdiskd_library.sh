#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The library and the disk host, both of the build of the command VIXDISK.
: "${VIXDISK:?names no command}"
export VIXDISKD=${VIXDISKD:-$(dirname "$VIXDISK")/../daemon/vixdiskd} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/vixdiskd_library.py"
