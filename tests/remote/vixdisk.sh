#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The command and disks of a server. VIXDISK names the command under test.
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname "$0")/vixdisk.py"
