#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The tests' own host and client of SOAP and NFC, which are written from the protocols' descriptions alone, against one
# another.
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname "$0")/peers.py"
