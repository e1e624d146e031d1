# SPDX-License-Identifier: BSD-3-Clause
"""Volumes of VMFS 3, 5 and 6 read to the byte: each arrangement of a file's blocks, one LUN and two, each kind of
partition table."""
import random
import shutil
import tempfile

import tap
from vmfs_image import FS_UUID_TEXT, MIB, PE, Volume, bytes_of, pattern, put_bytes
from vmfs_probe import Probe, Refused

SEED = random.randrange(1 << 32)
bits = random.Random(SEED)
print("# seed %d" % SEED)
folder = tempfile.mkdtemp(prefix="vixdisk-vmfs-")

DATA, HOLE, ZEROED, UNSURE = range(4)
KIND = {"data": DATA, "shared": DATA, "zeroed": ZEROED, "partly": UNSURE}


def fill(v):
    """Every row of the description."""
    v.folder("vm")
    v.folder("vm/deep", blocks=True)
    for i in range(40):
        v.resident("vm/deep/file-%02d" % i, b"number %d" % i)
    v.resident("vm/empty", b"")
    v.resident("vm/small.txt", b"resident " * 100)
    v.sub_blocks("vm/x.vmdk", pattern("x", 0, 700))
    v.sub_blocks("vm/three.log", pattern("three", 0, 2 * v.sub_size + 777))
    flat = {0: "data", 1: "data", 3: "data", 4: "zeroed", 5: "zeroed", 6: "data", 7: "shared"}
    v.blocks("vm/x-flat.vmdk", 9 * v.fbs - 1000 * 512, flat)
    v.blocks("vm/in-use.vmdk", v.fbs, {0: "data"}, lock=1)
    n = v.pointers
    v.blocks("vm/pointers.vmdk", 3 * n * v.fbs + 1234,
             {0: "data", 1: "data", n - 1: "data", 2 * n + 5: "data", 3 * n: "data"}, levels=1)
    v.blocks("vm/by-block.vmdk", 3 * v.fbs, {0: "data", 2: "data"}, levels=1, pointer_kind=1)
    if v.version == 5:
        v.blocks("vm/five.vmdk", 3 * v.fbs, {0: "data", 2: "data"}, levels=1, pointer_kind=5, zla=5)
    if v.version != 3:
        v.blocks("vm/double.vmdk", n * n * v.fbs + 77 * v.fbs if v.version == 5 else 64 << 40,
                 {0: "data", n: "data", 5 * n + 3: "data", n * n - 1: "data"}
                 | ({n * n + 76: "data"} if v.version == 5 else {}), levels=2)
    # over the end of an extent, which with two LUNs is the end of a LUN
    last = PE // v.fbs
    v.blocks("vm/edge.vmdk", 4 * v.fbs, {i: "data" for i in range(4)}, at=last - 2)
    v.blocks("vm/edge2.vmdk", 4 * v.fbs, {i: "data" for i in range(4)}, at=2 * last - 2)
    if v.version == 6:
        v.blocks("vm/partly.vmdk", 4 * v.fbs, {0: "data", 1: "partly", 2: "zeroed"})
        large = {0: pattern("large", 0, MIB), 100 * MIB: pattern("large", 100, MIB),
                 511 * MIB: pattern("large", 511, MIB)}
        v.large("vm/large.vmdk", 512 * MIB, 2, large, False)
        v.large("vm/large-repeated.vmdk", 512 * MIB - 512, 2, large, True)
        v.large("vm/large-zeroed.vmdk", 512 * MIB, 2, large, False, kind="zeroed")
    v.special("vm/link", 4)
    v.special("vm/raw.vmdk", 6)


def make(name, version, **how):
    v = Volume(folder, version, name=name, pes=8 if version == 6 else 5, **how)
    with v:
        fill(v)
    return v


def equal(got, want):
    if got != want:
        if isinstance(got, bytes) and len(got) == len(want):
            at = next(i for i in range(len(got)) if got[i] != want[i])
            raise AssertionError("byte %d of %d: %s..., wanted %s..." % (at, len(got), got[at:at + 8], want[at:at + 8]))
        raise AssertionError("%r, wanted %r" % (got, want))


def probes_of(f):
    """Ranges worth a look: beginnings and ends of pieces, of the file, some at random."""
    for at, piece in f.pieces.items():
        yield at, len(piece)
        yield max(0, at - 700), 1400
        yield max(0, at + len(piece) - 513), 1100
    yield 0, 4096
    yield max(0, f.length - 5000), 5000
    for _ in range(5):
        yield bits.randrange(max(1, f.length)), bits.randrange(1, 100000)


def check_file(p, f, path):
    for off, length in probes_of(f):
        length = min(length, f.length - off)
        if length > 0:
            equal(p.read(path, off, length), f.expect(off, length))


def check_all(v):
    with Probe(v.luns, v.partition) as p:
        for path, f in v.files.items():
            if path in v.folders or path in ("vm/link", "vm/raw.vmdk", "vm/partly.vmdk"):
                continue
            try:
                check_file(p, f, "/" + path)
            except Exception as fault:
                raise AssertionError("%s: %s" % (path, fault)) from fault


def check_info(v):
    with Probe(v.luns, v.partition) as p:
        equal(p.info(), [FS_UUID_TEXT, "store1", str(v.version), str(v.fbs), str(v.size)])


def check_names(v):
    with Probe(v.luns, v.partition) as p:
        for name in v.folders:
            equal(p.ls("/" + name), sorted(e[0] for e in v.folders[name]["entries"]))


def runs_of(v, f):
    """The map that a reader has to find: block by block, then joined."""
    runs = []
    for index in range(-(-f.length // v.fbs)):
        off = index * v.fbs
        length = min(v.fbs, f.length - off)
        if index not in f.kinds:
            run = [off, length, HOLE, 0, 0, 0, 0]
        else:
            lun, at, _ = v.where(f.places[index])
            run = [off, length, KIND[f.kinds[index]], lun, at, int(f.kinds[index] == "shared"), 0]
        last = runs[-1] if runs else None
        if (last and last[2] == run[2] and last[5] == run[5]
                and (run[2] == HOLE or (last[3] == run[3] and last[4] + last[1] == run[4]
                                        and f.places[index - 1] + v.fbs == f.places[index]))):
            last[1] += length
        else:
            runs.append(run)
    return [tuple(r) for r in runs]


def check_maps(v):
    with Probe(v.luns, v.partition) as p:
        for path in ("vm/x-flat.vmdk", "vm/pointers.vmdk", "vm/by-block.vmdk", "vm/edge.vmdk", "vm/edge2.vmdk"):
            equal(p.map("/" + path), runs_of(v, v.files[path]))
        lun, at, _ = v.where(v.files["vm/x.vmdk"].places[0])
        equal(p.map("/vm/x.vmdk"), [(0, 700, DATA, lun, at, 0, 1)])


def check_survey(v):
    with Probe(v.luns, v.partition) as p:
        s = p.survey("/vm/x-flat.vmdk")
        equal(s, {"data": 5 * v.fbs, "hole": 2 * v.fbs - 1000 * 512, "zeroed": 2 * v.fbs, "unsure": 0,
                  "not_own": v.fbs, "in_use": 0, "has_zeroed": 1})
        equal(p.survey("/vm/in-use.vmdk")["in_use"], 1)
        equal(p.survey("/vm/small.txt")["not_own"], 900)
        equal(p.survey("/vm/by-block.vmdk")["has_zeroed"], 0)


def check_names_refused(v):
    with Probe(v.luns, v.partition) as p:
        for path, code in (("/vm/none.vmdk", 4), ("/none/x.vmdk", 4), ("/vm", 9), ("/", 9), ("/vm/link", 9),
                           ("/vm/link/x", 13), ("/vm/small.txt/x", 4), ("/vm/removed", 4), ("/vm/deep/removed", 4),
                           ("/vm/" + "n" * 300, 22), ("/a" * 70, 4)):
            tap.refused(Refused, code, p.read, path, 0, 1)
        tap.refused(Refused, 16066, p.read, "/vm/raw.vmdk", 0, 1)
        tap.refused(Refused, 9, p.ls, "/vm/small.txt")


def check_unsure(v):
    with Probe(v.luns, v.partition) as p:
        f = v.files["vm/partly.vmdk"]
        equal(p.read("/vm/partly.vmdk", 0, MIB), f.expect(0, MIB))
        tap.refused(Refused, 6, p.read, "/vm/partly.vmdk", MIB - 512, 1024)
        equal(p.read("/vm/partly.vmdk", 2 * MIB, 2 * MIB), bytes(2 * MIB))
        equal(p.survey("/vm/partly.vmdk")["unsure"], MIB)


def check_luns(v):
    tap.refused(Refused, 6, Probe, v.luns[:1], v.partition)
    tap.refused(Refused, 6, Probe, v.luns + v.luns[:1], v.partition)
    with Probe(v.luns[::-1], v.partition) as p:  # in any order
        f = v.files["vm/edge2.vmdk"]
        equal(p.read("/vm/edge2.vmdk", 0, f.length), f.expect(0, f.length))


def check_partition_number(v):
    tap.refused(Refused, 6, Probe, v.luns, v.partition + 1)
    with Probe(v.luns, 0) as p:
        equal(p.info()[1], "store1")


def check_writes(v):
    """Only blocks that are the file's own, and nothing else of the LUN."""
    f = v.files["vm/x-flat.vmdk"]
    before = [bytes_of(path) for path in v.luns]
    with Probe(v.luns, v.partition, write=True) as p:
        b = v.fbs
        p.write("/vm/x-flat.vmdk", b - 700, 1500, 0x41)
        p.write("/vm/x-flat.vmdk", 3 * b + 512, 4096, 0x42)
        for off, length in ((2 * b, 512), (2 * b - 512, 1024), (4 * b, 512), (4 * b - 512, 1024), (7 * b, 512),
                            (7 * b - 1024, 2048)):
            tap.refused(Refused, 11, p.write, "/vm/x-flat.vmdk", off, length, 0x43)
        tap.refused(Refused, 11, p.write, "/vm/x.vmdk", 0, 512, 0x43)
        tap.refused(Refused, 11, p.write, "/vm/small.txt", 0, 10, 0x43)
        tap.refused(Refused, None, p.write, "/vm/x-flat.vmdk", f.length - 512, 1024, 0x43)
    for off, length, byte in ((v.fbs - 700, 1500, 0x41), (3 * v.fbs + 512, 4096, 0x42)):
        for i in range(off, off + length):
            lun, at, _ = v.where(f.places[i // v.fbs] + i % v.fbs)
            put_bytes(before[lun], at, bytes([byte]))
    for path, want in zip(v.luns, before):
        assert bytes_of(path) == want, "%s: other bytes of the LUN changed" % path


VOLUMES = [
    ("3", 3, {}), ("3-mbr", 3, {"table": "mbr"}), ("3-large-blocks", 3, {"fbs": 8 * MIB}),
    ("5", 5, {}), ("5-two", 5, {"luns": 2}), ("5-dense-bare", 5, {"dense": True, "table": "bare"}),
    ("5-shuffled", 5, {"luns": 2, "shuffle": True}),
    ("6", 6, {}), ("6-two", 6, {"luns": 2}), ("6-shuffled-4k", 6, {"luns": 2, "shuffle": True, "sector": 4096}),
]

try:
    for name, version, how in VOLUMES:
        volume = make(name, version, **how)
        tap.check(name + ": what the volume says of itself", check_info, volume)
        tap.check(name + ": names", check_names, volume)
        tap.check(name + ": bytes of all files", check_all, volume)
        tap.check(name + ": maps", check_maps, volume)
        tap.check(name + ": a whole file looked at", check_survey, volume)
        tap.check(name + ": paths that lead nowhere", check_names_refused, volume)
        if version == 6:
            tap.check(name + ": blocks that are zeroed in part", check_unsure, volume)
        if volume.table != "bare":
            tap.check(name + ": the number of the partition", check_partition_number, volume)
        if len(volume.luns) > 1:
            tap.check(name + ": LUNs missing, too many, in another order", check_luns, volume)
        if name in ("5", "6-two"):
            tap.check(name + ": writes, and every other byte unchanged", check_writes, volume)
        for path in volume.luns:
            open(path, "wb").close()
finally:
    shutil.rmtree(folder)
tap.end()
