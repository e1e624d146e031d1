#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The library and disks of a server. VIXDISK names the command of the build under test.
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname "$0")/disks.py"
