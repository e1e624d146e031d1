#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks that are attached to the machine that the library runs in. VIXDISK names the command of the build under test.
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname "$0")/hotadd.py"
