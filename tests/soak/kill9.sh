#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The short form of kill9.py for every run of the tests; `make soak` runs the long one.
exec /usr/bin/python3 "$(dirname "$0")/kill9.py" --kills "${VIXDISK_TEST_KILLS:-40}"
