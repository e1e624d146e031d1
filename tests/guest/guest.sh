#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Transports that need the devices of a virtual machine, in one of QEMU. VIXDISK names the command of the build under test.
set -euo pipefail
folder=$(dirname "$0")
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$folder/guest.py" "$("$folder/../../scripts/get-guest-kernel")"
