# SPDX-License-Identifier: BSD-3-Clause
"""Our volumes and our reader beside Debian's vmfs-tools and vmfs6-tools, which know neither: the same names and bytes,
of files that those can read."""
import os
import re
import shutil
import subprocess
import tempfile

import tap
from vmfs_image import MIB, PE, Volume, pattern
from vmfs_probe import Probe

os.environ["PATH"] += ":/usr/sbin:/sbin"
folder = tempfile.mkdtemp(prefix="vixdisk-vmfs-")


def fill(v):
    v.folder("vm")
    v.folder("vm/deep", blocks=True)
    v.resident("vm/deep/y.txt", b"deep down")
    v.resident("vm/small.txt", b"resident " * 60)
    v.sub_blocks("vm/x.vmdk", pattern("x", 0, 700))
    v.sub_blocks("vm/three.log", pattern("three", 0, 2 * v.sub_size + 777))
    v.blocks("vm/x-flat.vmdk", 4 * v.fbs - 1000 * 512, {i: "data" for i in range(4)})
    v.blocks("vm/edge.vmdk", 4 * v.fbs, {i: "data" for i in range(4)}, at=PE // v.fbs - 2)
    v.blocks("vm/edge2.vmdk", 4 * v.fbs, {i: "data" for i in range(4)}, at=2 * PE // v.fbs - 2)
    n = v.array[1] + 40  # more than the descriptor has room for
    v.blocks("vm/pointers.vmdk", n * v.fbs, {i: "data" for i in (0, 1, n - 1)}, levels=1)
    if v.version == 6:
        v.large("vm/large.vmdk", 300 * MIB, 2, {0: pattern("large", 0, MIB), 299 * MIB: pattern("large", 9, MIB)}, True)
    else:
        v.blocks("vm/holes.vmdk", 9 * v.fbs, {1: "data", 3: "data", 4: "zeroed", 7: "data"})


def tool(v, *words):
    name = "debugvmfs6" if v.version == 6 else "debugvmfs"
    out = subprocess.run([name, *v.luns, *words], check=True, stdout=subprocess.PIPE).stdout
    return re.sub(rb"\A(?:VMFS version: 6\n)+", b"", out)


def check_file(v, path):
    f = v.files[path]
    theirs = tool(v, "cat", "/" + path)
    assert len(theirs) == f.length, "%d bytes, wanted %d" % (len(theirs), f.length)
    with Probe(v.luns, v.partition) as p:
        for off in range(0, f.length, 16 * MIB):
            length = min(16 * MIB, f.length - off)
            assert p.read("/" + path, off, length) == theirs[off:off + length], "differs in the 16 MiB at %d" % off
            assert f.expect(off, length) == theirs[off:off + length], "the builder is wrong in the 16 MiB at %d" % off


def check_names(v):
    theirs = {line.split()[-1] for line in tool(v, "ls", "-l", "/vm").decode().splitlines()} - {".", "..", "removed"}
    with Probe(v.luns, v.partition) as p:
        assert theirs == set(p.ls("/vm")), theirs


VOLUMES = [("3", 3, {}), ("3 of large blocks", 3, {"fbs": 8 * MIB}), ("5", 5, {}), ("5, dense", 5, {"dense": True}),
           ("5 on two LUNs", 5, {"luns": 2}), ("6", 6, {}), ("6 on two LUNs", 6, {"luns": 2})]

try:
    for name, version, how in VOLUMES:
        with Volume(folder, version, table="bare", pes=8 if version == 6 else 4, **how) as volume:
            fill(volume)
        tap.check("VMFS %s: names as the tool has them" % name, check_names, volume)
        for path in volume.files:
            if path not in volume.folders:
                tap.check("VMFS %s: %s as the tool reads it" % (name, path), check_file, volume, path)
finally:
    shutil.rmtree(folder)
tap.end()
