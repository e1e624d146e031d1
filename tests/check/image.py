# SPDX-License-Identifier: BSD-3-Clause
"""What the builders of tests/check share: small disks made by the command under test, and ways to spoil their bytes.

A builder runs in an empty folder and leaves disk.vmdk there; where the disk holds known data, also reference.raw."""
import os
import random
import struct
import subprocess

VIXDISK = os.environ["VIXDISK"]
MIB = 1 << 20
GRAIN = 65536
CAPACITY = 80 * MIB + 5 * 512  # three tables, and a last grain that is cut short
DATA = [(0, 3 * GRAIN), (20 * GRAIN + 4096, GRAIN), (33 * MIB, 2 * GRAIN), (65 * MIB, GRAIN), (CAPACITY - 2048, 2048)]
PRIMARY, REDUNDANT = 0, 1


def run(*arguments):
    subprocess.run([VIXDISK, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def raw(path="reference.raw", capacity=CAPACITY, data=None):
    """A raw image with data that does not compress."""
    bits = random.Random(7)
    with open(path, "wb") as file:
        file.truncate(capacity)
        for off, length in DATA if data is None else data:
            file.seek(off)
            file.write(bits.randbytes(length))


def convert(kind, **how):
    raw(**how)
    run("convert", "-q", "-f", "raw", "-t", kind, "reference.raw", "disk.vmdk")


def child(kind="monolithicSparse"):
    """disk.vmdk on top of parent.vmdk, with one grain of its own."""
    convert(kind)
    run("mv", "disk.vmdk", "parent.vmdk")
    run("snapshot", "parent.vmdk", "disk.vmdk")
    piece = random.Random(9).randbytes(GRAIN)
    subprocess.run([VIXDISK, "write", "-q", "-o", str(GRAIN), "disk.vmdk"], input=piece, check=True)
    with open("reference.raw", "r+b") as file:
        file.seek(GRAIN)
        file.write(piece)


class Bytes:
    """A file as numbers."""

    def __init__(self, path):
        self.path = path

    def get(self, off, length):
        with open(self.path, "rb") as file:
            file.seek(off)
            return file.read(length)

    def put(self, off, data):
        with open(self.path, "r+b") as file:
            file.seek(off)
            file.write(data)

    def u32(self, off):
        return struct.unpack("<I", self.get(off, 4))[0]

    def u64(self, off):
        return struct.unpack("<Q", self.get(off, 8))[0]

    def put32(self, off, value):
        self.put(off, struct.pack("<I", value & 0xFFFFFFFF))

    def put64(self, off, value):
        self.put(off, struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF))

    def size(self):
        return os.path.getsize(self.path)

    def cut(self, size):
        os.truncate(self.path, size)

    def text(self, old, new):
        """Changes a text of the same length."""
        whole = self.get(0, self.size())
        at = whole.index(old.encode())
        assert len(old) == len(new)
        self.put(at, new.encode())


class Sparse(Bytes):
    """A KDMV file: VERSION, FLAGS, ... are the places of header fields."""
    VERSION, FLAGS, CAPACITY, GRAIN_SIZE, DESCRIPTOR, DESCRIPTOR_SIZE = 4, 8, 12, 20, 28, 36
    RGD, GD, OVERHEAD, UNCLEAN = 48, 56, 64, 72

    def __init__(self, path="disk.vmdk", footer=False):
        super().__init__(path)
        self.header = self.size() - 1024 if footer else 0

    def dir_off(self, copy):
        return self.u64(self.header + (self.GD, self.RGD)[copy]) * 512

    def gde_off(self, copy, table):
        return self.dir_off(copy) + 4 * table

    def gde(self, copy, table):
        return self.u32(self.gde_off(copy, table))

    def set_gde(self, copy, table, value):
        self.put32(self.gde_off(copy, table), value)

    def gte_off(self, copy, grain):
        return self.gde(copy, grain // 512) * 512 + grain % 512 * 4

    def gte(self, copy, grain):
        return self.u32(self.gte_off(copy, grain))

    def set_gte(self, copy, grain, value):
        self.put32(self.gte_off(copy, grain), value)

    def set_both(self, grain, value):
        self.set_gte(PRIMARY, grain, value)
        self.set_gte(REDUNDANT, grain, value)

    def unclean(self):
        self.put(self.UNCLEAN, b"\1")


class Cowd(Bytes):
    GRAIN_SIZE, GD, GD_ENTRIES, FREE, UNCLEAN = 16, 20, 24, 28, 1648

    def gde_off(self, table):
        return self.u32(self.GD) * 512 + 4 * table

    def gte_off(self, grain):
        return self.u32(self.gde_off(grain // 4096)) * 512 + grain % 4096 * 4


class SeSparse(Bytes):
    """Made by hand, as nothing here writes them: two tables, three grains; grain i of the region holds bytes i + 1."""
    VOLATILE, DIRECTORY, TABLES, GRAINS = 8, 16, 32, 512

    def __init__(self):
        super().__init__("disk-sesparse.vmdk")
        capacity = 2 * 32768
        with open(self.path, "wb") as file:
            file.truncate((self.GRAINS + 8 * 64) * 512)
        words = [0xCAFEBABE, 0x0000000200000001, capacity, 8, 64, 0, 0, 0, 0, 0, self.VOLATILE, 1, 9, 1, 10, 1,
                 self.DIRECTORY, 8, self.TABLES, 4 * 64, 300, 8, 310, 8, self.GRAINS, 8 * 64]
        self.put(0, struct.pack("<26Q", *words))
        self.put(self.VOLATILE * 512, struct.pack("<4Q", 0xCAFECAFE, 2, 1, 0))
        self.set_gde(0, 0x10000000 << 32 | 1)
        self.set_gde(1, 0x10000000 << 32 | 0)
        for grain, index in ((0, 2), (5, 0), (4096, 1)):
            self.set_gte(grain, 3 << 60 | index << 48)
            self.put((self.GRAINS + 8 * index) * 512, bytes([index + 1]) * 4096)
        with open("reference.raw", "wb") as file:
            file.truncate(capacity * 512)
            for grain, index in ((0, 2), (5, 0), (4096, 1)):
                file.seek(grain * 4096)
                file.write(bytes([index + 1]) * 4096)
        with open("disk.vmdk", "w", encoding="ascii") as file:
            file.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="seSparse"\n\n'
                       '# Extent description\nRW %d SESPARSE "disk-sesparse.vmdk"\n\n'
                       '# The Disk Data Base \n#DDB\n\nddb.adapterType = "lsilogic"\n' % capacity)

    def set_gde(self, table, value):
        self.put64(self.DIRECTORY * 512 + 8 * table, value)

    def gte_off(self, grain):
        index = self.u64(self.DIRECTORY * 512 + grain // 4096 * 8) & 0xFFFFFFFF
        return (self.TABLES + 64 * index) * 512 + grain % 4096 * 8

    def set_gte(self, grain, value):
        self.put64(self.gte_off(grain), value)


def edit(path, change):
    """Changes the text of a descriptor file."""
    with open(path, encoding="ascii") as file:
        text = file.read()
    changed = change(text)
    assert changed != text
    with open(path, "w", encoding="ascii") as file:
        file.write(changed)
