#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Changed areas and incremental copies against govmomi's simulator, which is built first if it is not there.
set -e
folder=$(dirname "$0")
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$folder/changes.py" "$("$folder/../../scripts/get-simulator")"
