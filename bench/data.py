#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Data of the measurements: a real file system, and sparse disks with many allocated grains."""
import array
import os
import random
import shutil
import struct
import subprocess
import zlib

FOLDERS = (b"bin", b"share", b"lib/x86_64-linux-gnu", b"include", b"lib/gcc")
CONTENT = 700 << 20
GRAIN_SECTORS = 128
TABLE_ENTRIES = 512
TABLE_SECTORS = TABLE_ENTRIES * 4 // 512


def candidates():
    """Files of /usr up to 8 MiB, in an order that depends on their names only."""
    found = []
    for top in FOLDERS:
        for folder, _, names in os.walk(os.path.join(b"/usr", top)):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) <= 8 << 20:
                    found.append((zlib.crc32(path), os.path.getsize(path), path))
    return sorted(found)


def make_image(out):
    """A 1 GiB ext4 file system with up to 700 MiB of files of /usr, and holes."""
    stage = out + ".stage"
    shutil.rmtree(stage, ignore_errors=True)
    total = 0
    for _, size, path in candidates():
        total += (size + 4095) // 4096 * 4096
        if total > CONTENT:
            break
        target = os.path.join(stage.encode(), path.lstrip(b"/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)
    if os.path.exists(out):
        os.unlink(out)
    with open(out, "wb") as file:
        file.truncate(1 << 30)
    mke2fs = shutil.which("mke2fs", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    subprocess.check_call([mke2fs, "-q", "-F", "-t", "ext4", "-N", "131072", "-b", "4096",
                           "-E", "lazy_itable_init=1", "-d", stage, out])
    shutil.rmtree(stage)


def descriptor(name, sectors):
    return ("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n"
            "# Extent description\nRW %d SPARSE \"%s\"\n\n# The Disk Data Base\n#DDB\n\n"
            "ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"255\"\n"
            "ddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
            % (sectors, name, min(sectors // (255 * 63), 65535))).encode()


def make_grains(out, gib, ngrains, scatter):
    """A monolithicSparse disk with ngrains allocated grains whose data are holes, in order or scattered in the file."""
    sectors = gib << 21
    total = sectors // GRAIN_SECTORS
    tables = (total + TABLE_ENTRIES - 1) // TABLE_ENTRIES
    directory_sectors = (tables * 4 + 511) // 512
    desc, desc_sectors = 1, 20
    rgd = desc + desc_sectors
    rgt = rgd + directory_sectors
    gd = rgt + tables * TABLE_SECTORS
    gt = gd + directory_sectors
    data = (gt + tables * TABLE_SECTORS + GRAIN_SECTORS - 1) // GRAIN_SECTORS * GRAIN_SECTORS
    chance = random.Random(1)
    place = list(range(ngrains))
    if scatter:
        chance.shuffle(place)
    entries = array.array("I", bytes(4 * tables * TABLE_ENTRIES))
    for i, grain in enumerate(sorted(chance.sample(range(total), ngrains))):
        entries[grain] = data + place[i] * GRAIN_SECTORS
    header = struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", 1, 3, sectors, GRAIN_SECTORS, desc, desc_sectors, TABLE_ENTRIES,
                         rgd, gd, data, 0, b"\n \r\n", 0)
    with open(out, "wb") as file:
        file.write(header.ljust(512, b"\0"))
        file.write(descriptor(os.path.basename(out), sectors).ljust(desc_sectors * 512, b"\0"))
        for where, first in ((rgd, rgt), (gd, gt)):
            file.seek(where * 512)
            file.write(struct.pack("<%dI" % tables, *[first + i * TABLE_SECTORS for i in range(tables)]))
            file.seek(first * 512)
            file.write(entries.tobytes())
        file.truncate((data + ngrains * GRAIN_SECTORS) * 512)
