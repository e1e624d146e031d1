#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The short form of run.py for every run of the tests; `make differential` runs the long one.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/run.py" --seeds 16 --damages 9
