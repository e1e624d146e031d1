# SPDX-License-Identifier: BSD-3-Clause
"""Volumes that are damaged: each field that could lead astray, then bytes at random. An error every time, never a crash,
a hang, or the bytes of somebody else."""
import os
import random
import shutil
import struct
import tempfile

import tap
from vmfs_image import MIB, PE, Volume, pattern
from vmfs_probe import Probe, Refused

SEED = random.randrange(1 << 32)
bits = random.Random(SEED)
print("# seed %d" % SEED)
folder = tempfile.mkdtemp(prefix="vixdisk-vmfs-")
ROUNDS = 150

INVALID, NOT_SUPPORTED = 16063, 6


def fill(v):
    v.folder("vm")
    v.resident("vm/small.txt", b"resident " * 60)
    v.sub_blocks("vm/x.vmdk", pattern("x", 0, 700))
    v.blocks("vm/x-flat.vmdk", 6 * v.fbs, {0: "data", 1: "data", 3: "data", 4: "zeroed"})
    n = v.pointers
    v.blocks("vm/pointers.vmdk", 2 * n * v.fbs, {0: "data", n + 1: "data"}, levels=1)
    v.blocks("vm/double.vmdk", n * n * v.fbs + v.fbs, {0: "data", 2 * n: "data"}, levels=2)


def make(version, luns=1):
    v = Volume(folder, version, luns=luns, pes=3, name="v%d-%d-" % (version, luns))
    with v:
        fill(v)
    v.fds = [os.open(path, os.O_RDWR) for path in v.luns]
    return v


class Spoilt:
    """Bytes of a LUN that are others for a while."""

    def __init__(self, v, lun, at, data):
        self.fd, self.at, self.data = v.fds[lun], at, data
        self.old = os.pread(self.fd, len(data), at).ljust(len(data), b"\0")

    def __enter__(self):
        os.pwrite(self.fd, self.data, self.at)

    def __exit__(self, *what):
        os.pwrite(self.fd, self.old, self.at)


def at_volume(v, off, data):
    lun, at, _ = v.where(off)
    return Spoilt(v, lun, at, data)


def opens(v):
    Probe(v.luns, v.partition).close()


def reads(v, path, off=0, length=512):
    with Probe(v.luns, v.partition) as p:
        p.read(path, off, length)


def refused(v, spoilt, code, call=opens, *arguments):
    with spoilt:
        tap.refused(Refused, code, call, v, *arguments)
    call(v, *arguments)  # and that was the reason


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


def check_lvm(v):
    base = v.part + MIB
    vd = v.volume_descriptor()
    for at, data, code in (
            (base, u32(0xC001D00E), NOT_SUPPORTED), (base + 4, u32(7), NOT_SUPPORTED), (base + 4, u32(2), NOT_SUPPORTED),
            (base + 0xC2, u64(0x2000), NOT_SUPPORTED), (base + 0xBE, u32(65), INVALID),
            (vd + 0x90, u32(2), NOT_SUPPORTED), (vd + 0x90, u32(0), INVALID), (vd + 0x90, u32(1000), INVALID),
            (vd + 0x78, u64(1), INVALID), (vd + 0x78, u64(99), INVALID), (vd + 0x70, u32(7), INVALID),
            (vd + 0x54, b"\x01", INVALID), (v.pe_entry(0, 0), b"\0", INVALID), (v.pe_entry(0, 1), b"\0", INVALID),
            (v.pe_entry(0, 1) + 0x11, u64(0), INVALID), (v.pe_entry(0, 2) + 0x11, u64(5 * PE), INVALID),
            (v.pe_entry(0, 2) + 9, u64(1 << 50), INVALID), (v.pe_entry(0, 1) + 0x19, u64(0), INVALID),
            (v.pe_entry(0, 2) + 0x19, u64((1 << 64) - 1), INVALID), (v.pe_entry(0, 1) + 0x11, u64(PE // 2), INVALID)):
        refused(v, Spoilt(v, 0, at, data), code)
    if v.version == 6:
        for md in (0, 4095, 256, 1 << 20):
            refused(v, Spoilt(v, 0, base + 0xCA, u32(md)), INVALID)


def check_table(v):
    for at, data, code in ((512 + 80, u32(1025), INVALID), (512 + 84, u32(64), INVALID), (512 + 84, u32(1 << 20), INVALID),
                           (512 + 72, u64(1 << 62), INVALID), (1024 + 128, b"\x2b", NOT_SUPPORTED),
                           (1024 + 128 + 40, u64(1 << 60), NOT_SUPPORTED), (1024 + 128 + 40, u64(5), NOT_SUPPORTED)):
        refused(v, Spoilt(v, 0, at, data), code)


def check_short(v):
    size = os.fstat(v.fds[0]).st_size
    os.ftruncate(v.fds[0], size - 40 * MIB)
    tap.refused(Refused, (INVALID, NOT_SUPPORTED), opens, v)
    os.ftruncate(v.fds[0], size)
    opens(v)


def check_header(v):
    h = 0x200000
    for at, data, code in ((0, u32(0x2FABF160), NOT_SUPPORTED), (4, u32(3), NOT_SUPPORTED), (4, u32(18), NOT_SUPPORTED),
                           (4, u32(25), NOT_SUPPORTED), (0xA1, u64(3 * MIB), INVALID), (0xA1, u64(0), INVALID),
                           (0xA1, u64(1 << 40), INVALID), (0xB1, b"\x01", INVALID), (0xD5, u32(0), INVALID),
                           (0xD5, u32(1 << 31), INVALID), (0xD1, u32(0xFFFFFFF0), INVALID)):
        refused(v, at_volume(v, h + at, data), code)
    if v.version == 6:
        for at, data in ((0x134, u32(512)), (0x134, u32(1 << 20)), (0x134, u32(8192)), (0x138, b"\xff\xff")):
            refused(v, at_volume(v, h + at, data), INVALID)


def check_resources(v):
    fdc = v.system["fdc"].first_block * v.fbs
    sbc = v.system["sbc"].first_block * v.fbs
    pbc = v.system["pbc"].first_block * v.fbs
    for off in (fdc, sbc):
        for at, data in ((0, u32(0)), (0, u32(1 << 20)), (4, u32(0)), (4, u32(1 << 30)), (0x0C, u32(1 << 28))):
            refused(v, at_volume(v, off + at, data), INVALID)
    refused(v, at_volume(v, sbc + 0x14, u32(0)), INVALID, reads, "/vm/x.vmdk")
    refused(v, at_volume(v, fdc + 0x14, u32(1)), INVALID, reads, "/vm/x.vmdk")
    if v.version == 6:
        refused(v, at_volume(v, fdc + 0x20, b"x"), INVALID)
    else:
        refused(v, at_volume(v, pbc + 0x14, u32(0)), INVALID, reads, "/vm/pointers.vmdk")


def check_inodes(v):
    for path in ("vm/x-flat.vmdk", "vm/x.vmdk", "vm/small.txt", "vm"):
        off = (v.files[path] if path in v.files else v.folders[path]).inode
        call = (reads, "/vm/x.vmdk") if path == "vm" else (reads, "/" + path)
        m = v.md
        for at, data in ((0, u32(0x10C00002)), (4, u64(off + 512)), (m, u32(0x44)), (m + 4, u32(1)),
                         (m + 0x1C, u64(0)), (m + 0x1C, u64(3000)), (m + 0x1C, u64(1 << 63)),
                         (m + 0x14, u64(1 << 63)), (m + 0x44, u32(0)), (m + 0x44, u32(4)), (m + 0x44, u32(0xFFFFFFFF))):
            refused(v, at_volume(v, off + at, data), INVALID, *call)
    f = v.files["vm/x-flat.vmdk"]
    far = 400 * v.fbs
    with at_volume(v, f.inode + v.md + 0x14, u64(far)):  # longer than its addresses
        tap.refused(Refused, INVALID, reads, v, "/vm/x-flat.vmdk", far - 512)
    big = v.files["vm/small.txt"]
    refused(v, at_volume(v, big.inode + v.md + 0x14, u64(1 << 20)), INVALID, reads, "/vm/small.txt")


def check_addresses(v):
    f = v.files["vm/x-flat.vmdk"]
    at = f.inode + v.array[0]
    for address in (v.block_address(1 << 20), v.block_address(3 * PE // v.fbs), 4, 6, 3, 0x8 | 6):
        refused(v, at_volume(v, at, v.pack([address])), INVALID, reads, "/vm/x-flat.vmdk")
    if v.version == 6:
        for address in (v.large_address(1), v.large_address(0x7FFFFFFF), 1 | 0x1FFF << 51):
            refused(v, at_volume(v, at, v.pack([address])), INVALID, reads, "/vm/x-flat.vmdk")
    else:
        refused(v, at_volume(v, at, v.pack([7 | 1 << 15])), INVALID, reads, "/vm/x-flat.vmdk")
    sub = v.files["vm/x.vmdk"].inode + v.array[0]
    for address in (v.resource_address(2, 16, 0) | 0x100000, v.resource_address(2, 0x3FFFFF, 0)):
        refused(v, at_volume(v, sub, v.pack([address])), INVALID, reads, "/vm/x.vmdk")


def check_pointers(v):
    f = v.files["vm/pointers.vmdk"]
    at = f.inode + v.array[0]
    kind = 2 if v.version == 6 else 3
    for address in (v.resource_address(kind, 1000, 0), 4, 6, v.block_address(1 << 20), v.block_address(30, "zeroed")):
        refused(v, at_volume(v, at, v.pack([address])), INVALID, reads, "/vm/pointers.vmdk")
    for address in (4, 6, v.block_address(1 << 20)):
        refused(v, at_volume(v, f.pointers[0], v.pack([address])), INVALID, reads, "/vm/pointers.vmdk")
        refused(v, at_volume(v, v.files["vm/double.vmdk"].pointers[-1], v.pack([address])), INVALID, reads,
                "/vm/double.vmdk")


def check_circles(v):
    """System files whose pointer blocks are in themselves."""
    name = "sbc" if v.version == 6 else "pbc"
    inode = v.inode_at(v.system[name].number)
    kind = 2 if v.version == 6 else 3
    with at_volume(v, inode + v.md + 0x44, u32(3)), at_volume(v, inode + v.array[0],
                                                              v.pack([v.resource_address(kind, 0, 0)] * 4)):
        tap.refused(Refused, INVALID, opens, v)


def check_folder(v):
    d = v.folders["vm"]
    if v.version == 6:
        head, rest = d["places"][0], d["places"][1]
        for off, data in ((head, u32(1)), (head + 0x0C, u32(129)), (head + 0x0C, u32(1 << 31)), (head + 0x10, u32(1)),
                          (head + 0x10, u32(0xFFFFFFFF)), (rest + 2, b"\x01\0"), (rest + 4096 + 2, b"\x02\0"),
                          (rest + 4096 + 4, b"\x0f\0"), (rest + 4096 + 4, b"\xff\xff"),
                          (rest + 4096 + 64 + 0x18, b"n" * 256)):
            refused(v, at_volume(v, off, data), INVALID, reads, "/vm/x-flat.vmdk")
    else:
        first = d["places"][0] + 2 * 140
        for at, data in ((12, b"n" * 128), (12, b"a/b"), (4, u32(0x41))):
            refused(v, at_volume(v, first + at, data), (INVALID, 4), reads, "/vm/small.txt")
    refused(v, at_volume(v, d["inode"] + v.md + 0x14, u64(65 * MIB)), INVALID, reads, "/vm/x.vmdk")


def interesting(v):
    """Ranges of metadata, as (offset in the volume, length)."""
    yield 0x200000, 512
    for r in v.system.values():
        yield r.first_block * v.fbs, 64
        yield v.inode_at(r.number), v.fd_size
    yield v.inode_at(0), v.fd_size
    for d in v.folders.values():
        yield d["inode"], v.fd_size
        for off in d["places"]:
            yield off, 8192
    for f in v.files.values():
        yield f.inode, v.fd_size
        for off in f.pointers:
            yield off, 256


def use(v):
    with Probe(v.luns, v.partition) as p:
        calls = [(p.ls, "/"), (p.ls, "/vm")]
        for path, f in v.files.items():
            calls += [(p.read, "/" + path, 0, min(4096, max(1, f.length))),
                      (p.read, "/" + path, 2 * v.pointers * v.fbs, 512)]
            if "double" not in path:
                calls.append((p.survey, "/" + path))
        for call, *arguments in calls:
            try:
                call(*arguments)
            except Refused:
                pass


def check_random(v):
    ranges = list(interesting(v))
    for _ in range(ROUNDS):
        off, length = bits.choice(ranges)
        width = bits.choice((1, 2, 4, 8))
        at = off + bits.randrange(length - width)
        data = bits.choice((bits.randbytes(width), b"\0" * width, b"\xff" * width))
        if bits.randrange(5) == 0:
            lun, at, data = 0, v.part + MIB + bits.choice((0, 0x200, 0x1000, 0x80600, 0x82000)) + bits.randrange(256), data
            spoilt = Spoilt(v, lun, at, data)
        else:
            spoilt = at_volume(v, at, data)
        with spoilt:
            try:
                use(v)
            except Refused:
                pass
            except AssertionError as fault:
                raise AssertionError("byte %d of the volume = %s: %s" % (at, data.hex(), fault)) from fault


try:
    for version in (3, 5, 6):
        volume = make(version)
        name = "VMFS %d: " % version
        for what, check in (("partition table", check_table), ("LUN cut short", check_short),
                            ("volume manager", check_lvm), ("header of the file system", check_header),
                            ("resource files", check_resources), ("descriptors", check_inodes),
                            ("block addresses", check_addresses), ("pointer blocks", check_pointers),
                            ("circles", check_circles), ("folders", check_folder), ("bytes at random", check_random)):
            tap.check(name + what, check, volume)
        volume.close()
finally:
    shutil.rmtree(folder)
tap.end()
