# SPDX-License-Identifier: BSD-3-Clause
"""What the files of a disk say, sector by sector, by the plain rules of the formats: a third reader beside ours and
qemu-img's, without any of their defences. A sector is bytes, or BAD where the files give it no meaning.

Where qemu-img is known to go by other rules, these have names (LENIENT); a set of names changes the rules, so what it
takes to read as qemu-img does explains a difference."""
import re
import struct
import zlib

SECTOR = 512
ZERO = bytes(SECTOR)
BAD, ABSENT = "bad", "absent"
KDMV, COWD, SESPARSE = 0x564D444B, 0x44574F43, 0xCAFEBABE

# Rules of qemu-img (block/vmdk.c of QEMU 7.2 as its output shows it), each a class of differences.
LENIENT = {
    "outside-is-zeros": "what an entry or a line names outside the file reads as zeros; ours refuses it",
    "size-of-header": "an extent has the size of its header; ours goes by the descriptor's line, as VMware's format has it",
    "one-extent": "a descriptor inside a sparse file is not read for extents: the file is the disk",
    "lines-left-out": "extent lines that are not RW, or of types it does not know, are left out and the disk gets shorter",
    "parent-by-hint": "a parent is what parentFileNameHint names, whatever parentCID says; ours has none at ffffffff",
    "compressed-by-algorithm": "whether grains are compressed is told by the algorithm alone; ours goes by the flags",
    "entry-1-is-a-place": "an entry of 1 without the flag for zeros is sector 1 of the file; ours refuses it",
    "table-at-sector-1": "a directory entry of 1 is a table at sector 1; ours refuses it, or takes it for a table of zeros where "
                         "the header has the flag for them",
    "marker-is-not-compared": "a compressed grain is taken wherever the entry points; ours refuses one whose marker names "
                              "another place",
    "grains-past-the-file": "records of compressed grains are padded with zeros where the file ends within one",
    "grain-past-the-extent": "the last grain of an extent that is no whole number of grains is read to its end, over what "
                             "the next extent has; ours reads each extent to its own end",
    "parent-is-padded": "a parent of another size is cut or padded with zeros; ours refuses it",
}


class Refused(Exception):
    """The files make no disk."""


class File:
    def __init__(self, data):
        self.data = data

    def get(self, off, n, lenient):
        """n bytes; None if they are not all there; with lenient zeros for what is not."""
        piece = bytes(self.data[off:off + n]) if off < len(self.data) else b""
        if len(piece) < n:
            return piece.ljust(n, b"\0") if lenient else None
        return piece


# ---- the descriptor ----

LINE = re.compile(rb'^[ \t]*(RW|RDONLY|NOACCESS)[ \t]+(\d+)[ \t]+(\w+)(?:[ \t]+"(.*)"[ \t]*(\d+)?.*)?[ \t]*$', re.I)
QEMU_LINE = re.compile(rb'^RW\s+(\d+)\s+(FLAT|SPARSE|VMFS|VMFSSPARSE|SESPARSE)\s+"([^\n\r"]{1,511})"')


def key(text, name):
    """The first value of a key."""
    found = re.search(rb'^[ \t]*' + name + rb'[ \t]*=[ \t]*(.*?)[ \t]*\r?$', text, re.I | re.M)
    if not found:
        return None
    value = found[1]
    return value[1:value.rindex(b'"')] if value.startswith(b'"') and value.count(b'"') > 1 else value


class Link:
    """Size, extents and parent of one descriptor."""

    def __init__(self, files, name, rules):
        self.files, self.rules, self.name = files, rules, name
        if name not in files:
            raise Refused("no file " + name)
        data = files[name]
        self.own = None
        if len(data) >= SECTOR and u32(data, 0) == KDMV:
            h = Header(data, 0)
            self.own = h if h.capacity else None
            at = h.desc * SECTOR
            data = bytes(data[at:at + h.desc_size * SECTOR])
        text = bytes(data).split(b"\0")[0]
        self.extents = []
        if self.own is not None and "one-extent" in rules:
            self.extents.append((self.own.capacity, b"RW", b"SPARSE", name, 0))
        elif self.own is None and "lines-left-out" in rules:
            for line in text.split(b"\n"):
                if found := QEMU_LINE.match(line.strip()):
                    self.add(LINE.match(line.rstrip(b"\r")))
        else:
            for line in text.split(b"\n"):
                if found := LINE.match(line.rstrip(b"\r")):
                    self.add(found)
        cid, parent = key(text, b"CID"), key(text, b"parentCID")
        hint = key(text, b"parentFileNameHint")
        by_hint = "parent-by-hint" in rules and self.name is not None
        has = parent is not None and int(parent, 16) != 0xFFFFFFFF
        self.parent = re.split(r"[/\\]", hint.decode(errors="replace"))[-1] if hint and (has or by_hint) else None
        self.cid = cid
        self.readers = []
        self.size = 0
        for n, access, kind, file, off in self.extents:
            reader, n = self.reader(n, access, kind, file, off)
            self.readers.append((self.size, n, reader))
            self.size += n

    def add(self, found):
        n, access, kind = int(found[2]), found[1].upper(), found[3].upper()
        name = found[4].decode(errors="replace") if found[4] is not None else None
        first = not self.extents and self.own is not None
        self.extents.append((n, access, kind, self.name if first else name, int(found[5] or 0)))

    def reader(self, n, access, kind, name, off):
        if access == b"NOACCESS":
            return (lambda first, count: [BAD] * count), n
        if kind == b"ZERO":
            return (lambda first, count: [ZERO] * count), n
        if name not in self.files:
            raise Refused("no file %r" % name)
        data = self.files[name]
        if kind in (b"FLAT", b"VMFS"):
            return Flat(data, off, self.rules).read, n
        if kind == b"SESPARSE":
            x = SeSparse(data, self.rules)
        elif len(data) >= 2048 and u32(data, 0) == COWD:
            x = Cowd(data, self.rules)
        else:
            h = Header(data, 0)
            algorithm = "compressed-by-algorithm" in self.rules
            packed = h.compress == 1 if algorithm else h.flags & 0x10000
            x = Stream(data, self.rules) if packed else Hosted(data, self.rules)
        return x.read, x.capacity if "size-of-header" in self.rules else n

    def read(self, first, count):
        out = []
        if "grain-past-the-extent" in self.rules:
            while len(out) < count:
                at = first + len(out)
                base, n, reader = next(r for r in self.readers if at < r[0] + r[1])
                grain = getattr(getattr(reader, "__self__", None), "grain", None) or n
                n = min(grain - (at - base) % grain, count - len(out))
                out += reader(at - base, n)
            return out
        for base, n, reader in self.readers:
            a, b = max(first, base), min(first + count, base + n)
            if a < b:
                out += reader(a - base, b - a)
        return out


def read(files, top, rules=frozenset(), most=1 << 15):
    """The sectors of a disk, the first `most` of them, and its size. Refused if there is none."""
    links, name = [], top
    while name is not None:
        if len(links) > 16:
            raise Refused("a circle")
        links.append(Link(files, name, rules))
        name = links[-1].parent
    size = links[0].size
    count = min(size, most)
    out = links[0].read(0, count)
    for low in links[1:]:
        if low.size != size and "parent-is-padded" not in rules:
            raise Refused("sizes")
        below = None
        for i, sector in enumerate(out):
            if sector is ABSENT:
                if below is None:
                    below = low.read(0, min(count, low.size))
                out[i] = below[i] if i < len(below) else ZERO
    return [ZERO if s is ABSENT else s for s in out], size


# ---- extents: read(first, count) gives sectors, ABSENT or BAD ----

def u32(data, off):
    return struct.unpack_from("<I", data, off)[0] if off + 4 <= len(data) else 0


class Header:
    def __init__(self, data, off):
        raw = bytes(data[off:off + SECTOR]).ljust(SECTOR, b"\0")
        (magic, self.version, self.flags, self.capacity, self.grain, self.desc, self.desc_size, self.gtes, self.rgd, self.gd,
         self.overhead, self.unclean, self.lines, self.compress) = struct.unpack_from("<IIIQQQQIQQQB4sH", raw)
        if magic != KDMV:
            raise Refused("magic")


class Flat:
    def __init__(self, data, off, rules):
        self.file, self.off, self.lenient = File(data), off, "outside-is-zeros" in rules

    def read(self, first, count):
        out = []
        for lba in range(self.off + first, self.off + first + count):
            sector = self.file.get(lba * SECTOR, SECTOR, self.lenient)
            out.append(BAD if sector is None else sector)
        return out


class Grains:
    """What extents of grains have in common: entry(grain) is a place, ABSENT, ZERO or BAD."""

    def read(self, first, count):
        out = []
        at = first
        while at < first + count:
            g, skip = divmod(at, self.grain)
            n = min(self.grain - skip, first + count - at)
            e = self.entry(g)
            if e is ABSENT or e is BAD or e is ZERO:
                out += [e] * n
            else:
                out += self.sectors(g, e, skip, n)
            at += n
        return out

    def sectors(self, _g, place, skip, n):
        """Of an uncompressed grain: the missing end of one that begins inside the file is zeros."""
        if place >= len(self.file.data):
            return [ZERO if self.lenient else BAD] * n
        return [self.file.get(place + (skip + i) * SECTOR, SECTOR, True) for i in range(n)]


class Hosted(Grains):
    def __init__(self, data, rules):
        self.file, self.rules, self.lenient = File(data), rules, "outside-is-zeros" in rules
        self.h = Header(data, 0)
        self.capacity, self.grain = self.h.capacity, self.h.grain
        self.tables = {}
        if not self.grain or not self.h.gtes:
            raise Refused("sizes")

    def table(self, t):
        if t not in self.tables:
            self.tables[t] = self.load(t)
        return self.tables[t]

    def load(self, t):
        gde = self.file.get(self.h.gd * SECTOR + 4 * t, 4, self.lenient)
        if gde is None:
            return BAD
        gde = u32(gde, 0)
        if gde == 0:
            return ABSENT
        if gde == 1 and "table-at-sector-1" not in self.rules:
            return self.zero_table() if self.h.flags & 4 else BAD
        raw = self.file.get(gde * SECTOR, self.h.gtes * 4, self.lenient)
        return BAD if raw is None else struct.unpack("<%dI" % self.h.gtes, raw)

    def zero_table(self):
        return ZERO

    def entry(self, g):
        table = self.table(g // self.h.gtes)
        if table is ABSENT or table is BAD or table is ZERO:
            return table
        e = table[g % self.h.gtes]
        if e == 0:
            return ABSENT
        if e == 1:
            if self.h.flags & 4:
                return ZERO
            return SECTOR if "entry-1-is-a-place" in self.rules else BAD
        return e * SECTOR


class Stream(Hosted):
    def __init__(self, data, rules):
        super().__init__(data, rules)
        if self.h.gd == 0xFFFFFFFFFFFFFFFF:
            end = len(data) // SECTOR * SECTOR
            while end > 0 and not any(data[end - SECTOR:end]):
                end -= SECTOR
            self.h = Header(data, end - SECTOR)
            self.capacity, self.grain = self.h.capacity, self.h.grain
            if not self.grain or not self.h.gtes:
                raise Refused("sizes")
        self.head = 12 if self.h.flags & 0x20000 else 4

    def zero_table(self):
        return ABSENT  # as ours; it has no parent, so both are zeros

    def sectors(self, g, place, skip, n):
        grain = self.inflate(g, place)
        if grain is None or len(grain) < min((skip + n) * SECTOR, (self.capacity - g * self.grain) * SECTOR):
            return [BAD] * n
        grain = grain.ljust(self.grain * SECTOR, b"\0")
        return [grain[(skip + i) * SECTOR:(skip + i + 1) * SECTOR] for i in range(n)]

    def inflate(self, g, place):
        past = "grains-past-the-file" in self.rules
        head = self.file.get(place, self.head, past)
        if head is None:
            return None
        size = u32(head, self.head - 4)
        if self.head == 12 and struct.unpack_from("<Q", head)[0] != g * self.grain and \
                "marker-is-not-compared" not in self.rules:
            return None
        if size == 0 or size > 2 * self.grain * SECTOR:
            return None
        data = self.file.get(place + self.head, size, past)
        return None if data is None else unpacked(data, self.grain * SECTOR)


def unpacked(data, most):
    for bits in (15,) if len(data) > 1 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0 else (-15,):
        inflater = zlib.decompressobj(bits)
        try:
            out = inflater.decompress(data, most + 1)
        except zlib.error:
            return None
        if inflater.eof and len(out) <= most:
            return out
    return None


class Cowd(Grains):
    def __init__(self, data, rules):
        self.file, self.rules, self.lenient = File(data), rules, "outside-is-zeros" in rules
        (_, _, _, self.capacity, self.grain, self.gd, self.gds, _) = struct.unpack_from("<8I", data)
        if not self.grain:
            raise Refused("sizes")
        tables = -(-(-(-self.capacity // self.grain)) // 4096)
        self.least = self.gd + -(-tables * 4 // SECTOR)  # tables lie behind the directory
        self.tables = {}

    def entry(self, g):
        t = g // 4096
        if t not in self.tables:
            gde = self.file.get(self.gd * SECTOR + 4 * t, 4, self.lenient)
            gde = 0xFFFFFFFF if gde is None else u32(gde, 0)
            raw = self.file.get(gde * SECTOR, 4096 * 4, self.lenient)
            rule = "table-at-sector-1" if gde == 1 else "outside-is-zeros"
            if gde == 0:
                self.tables[t] = ABSENT
            elif raw is None or (gde < self.least and rule not in self.rules):
                self.tables[t] = BAD
            else:
                self.tables[t] = struct.unpack("<4096I", raw)
        table = self.tables[t]
        if table is ABSENT or table is BAD or table is ZERO:
            return table
        e = table[g % 4096]
        if e == 1 and "entry-1-is-a-place" not in self.rules:
            return BAD
        return ABSENT if e == 0 else e * SECTOR


class SeSparse(Grains):
    def __init__(self, data, rules):
        self.file, self.rules, self.lenient = File(data), rules, "outside-is-zeros" in rules
        words = struct.unpack_from("<26Q", bytes(data[:208]).ljust(208, b"\0"))
        self.capacity, self.grain = words[2], 8
        self.gd, self.gt, self.gts, self.grains = words[16], words[18], words[19], words[24]
        self.tables = {}

    def entry(self, g):
        t = g // 4096
        if t not in self.tables:
            self.tables[t] = self.load(t)
        table = self.tables[t]
        if table is ABSENT or table is BAD:
            return table
        e = table[g % 4096]
        kind = e >> 60
        if kind == 0:
            return ABSENT if e == 0 else BAD
        if kind in (1, 2):
            return ZERO
        if kind != 3:
            return BAD
        place = (self.grains + 8 * ((e >> 48 & 0xFFF) | (e & 0xFFFFFFFFFFFF) << 12)) * SECTOR
        whole = place + 8 * SECTOR <= len(self.file.data) // SECTOR * SECTOR
        return place if whole or self.lenient else BAD

    def load(self, t):
        gde = self.file.get(self.gd * SECTOR + 8 * t, 8, self.lenient)
        if gde is None:
            return BAD
        gde = struct.unpack("<Q", gde)[0]
        if gde == 0:
            return ABSENT
        index = gde & 0xFFFFFFFF
        if gde >> 32 != 0x10000000 or (index >= self.gts // 64 and not self.lenient):
            return BAD
        raw = self.file.get((self.gt + 64 * index) * SECTOR, 4096 * 8, self.lenient)
        return BAD if raw is None else struct.unpack("<4096Q", raw)
