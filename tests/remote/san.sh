#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The library and disks by SAN. VIXDISK names the command of the build under test.
here=$(dirname "$0")
exec env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here/../lib" /usr/bin/python3 "$here/san.py" "$@"
