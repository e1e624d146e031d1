#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes a monolithicSparse disk with a given number of allocated grains whose data are holes of the file.

usage: mkgrains.py OUT.vmdk CAPACITY_GIB GRAINS [seq|scatter]

Which grains are allocated is random (always the same), their places in the file ascend or are scattered."""
import array
import os
import random
import struct
import sys

GRAIN = 128  # sectors
ENTRIES = 512
DESCRIPTOR = 20  # sectors

TEXT = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
"""


def main():
    out, gib, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    order = sys.argv[4] if len(sys.argv) > 4 else "seq"
    capacity = gib << 21
    grains = capacity // GRAIN
    tables = (grains + ENTRIES - 1) // ENTRIES
    directory = (tables * 4 + 511) // 512
    rgd = 1 + DESCRIPTOR
    rgt = rgd + directory
    gd = rgt + tables * 4
    gt = gd + directory
    data = (gt + tables * 4 + GRAIN - 1) // GRAIN * GRAIN

    rand = random.Random(1)
    allocated = sorted(rand.sample(range(grains), count))
    place = list(range(count))
    if order == "scatter":
        rand.shuffle(place)
    entries = array.array("I", bytes(4 * tables * ENTRIES))
    for i, grain in enumerate(allocated):
        entries[grain] = data + place[i] * GRAIN
    if sys.byteorder == "big":
        entries.byteswap()

    text = (TEXT % (capacity, os.path.basename(out), min(capacity // (255 * 63), 65535))).encode()
    header = struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", 1, 3, capacity, GRAIN, 1, DESCRIPTOR, ENTRIES,
                         rgd, gd, data, 0, b"\n \r\n", 0).ljust(512, b"\0")
    with open(out, "wb") as f:
        f.write(header)
        f.write(text.ljust(DESCRIPTOR * 512, b"\0"))
        for where, first in ((rgd, rgt), (gd, gt)):
            f.seek(where * 512)
            f.write(struct.pack("<%dI" % tables, *[first + i * 4 for i in range(tables)]))
            f.seek(first * 512)
            f.write(entries.tobytes())
        f.truncate((data + count * GRAIN) * 512)


if __name__ == "__main__":
    main()
