#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# All disks of a machine in govmomi's simulator, which is built first if it is not there.
set -e
folder=$(dirname "$0")
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$folder/sync_all.py" "$("$folder/../../scripts/get-simulator")"
