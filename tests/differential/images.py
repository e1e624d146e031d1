# SPDX-License-Identifier: BSD-3-Clause
"""Random disks of every type that qemu-img reads, built from the descriptions of the formats, by nothing of ours.

A disk is a dictionary of files and what it must read as. Every sector of data tells where it belongs: its link and its
sector of the disk; sectors of a file that nothing uses tell that too. So wherever a byte comes from, it is known."""
import random
import struct
import zlib

SECTOR = 512
STAMP = struct.Struct("<8sIIQ")
MARK = b"\x7fSTAMP\x0d\x0a"
NOWHERE = 1 << 63
FILL = random.Random(20241).randbytes(1 << 16)
ZERO = bytes(SECTOR)
NO_PARENT = 0xFFFFFFFF


def stamp(link, lba):
    """The bytes of a sector of the disk in a link; of NOWHERE + x: of a place in a file that is not of the disk."""
    at = (lba * 131 + link * 7919) % 65000
    return STAMP.pack(MARK, link, lba & 0xFFFFFFFF, lba) + FILL[at:at + SECTOR - STAMP.size]


class Disk:
    """files: name -> bytes; top: the name to open; data: what it reads as, a list of sectors."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.files = {}
        self.kinds = []
        self.top = None
        self.links = 0  # above the base
        self.odd = False  # it has a grain that reaches beyond its extent, with another extent behind
        self.data = [ZERO] * capacity


class Junk:
    """Stamps for places of one file that belong to nothing."""

    def __init__(self, link):
        self.link, self.next = link, NOWHERE

    def sectors(self, n):
        out = b"".join(stamp(self.link, self.next + i) for i in range(n))
        self.next += n
        return out


def up(a, b):
    return -(-a // b) * b


def states(rng, ngrains, child):
    """A letter for each grain: a absent, d data, z zeros that are told; in runs."""
    weights = rng.choice(("aad", "adz", "ddda", "aaaaz", "ddd", "adda"))
    out = ""
    while len(out) < ngrains:
        out += rng.choice(weights) * rng.choice((1, 1, 2, 3, 7, 20, 90))
    out = out[:ngrains]
    return out if child or rng.random() < 0.9 else "a" * ngrains


def grain_bytes(rng, disk, link, first, grain, nsectors):
    """A grain of stamps, some of its sectors zeros; what it holds goes into the disk's data."""
    out = []
    for lba in range(first, first + grain):
        if lba >= nsectors:  # what lies behind the end is never read
            out.append(stamp(link, NOWHERE | 1 << 40 | lba))
            continue
        sector = ZERO if rng.random() < 0.05 else stamp(link, lba)
        disk.data[lba] = sector
        out.append(sector)
    return b"".join(out)


def put_states(disk, what, base, grain, nsectors):
    """Zeros that are told hide what lies below."""
    for g, state in enumerate(what):
        if state == "z":
            for lba in range(base + g * grain, min(base + (g + 1) * grain, base + nsectors)):
                disk.data[lba] = ZERO


# ---- descriptors ----

class Descriptor:
    def __init__(self, rng, create_type, extents, parent=None):
        self.cid = rng.randrange(0x10000000, 0xFFFFFFF0)
        self.create_type, self.extents = create_type, extents
        self.parent_cid, self.hint = parent or (NO_PARENT, None)
        self.blank = rng.choice(("", "", " "))
        self.quirky = rng.random() < 0.2

    def text(self):
        b = self.blank
        lines = ["# Disk DescriptorFile", "version=1" + b]
        if self.quirky:
            lines += ['encoding="UTF-8"' + b]
        lines += ["CID=%08x%s" % (self.cid, b), "parentCID=%08x%s" % (self.parent_cid, b)]
        if self.quirky:
            lines += ['isNativeSnapshot="no"']
        lines += ['createType="%s"%s' % (self.create_type, b)]
        if self.hint:
            lines += ['parentFileNameHint="%s"' % self.hint]
        lines += ["", "# Extent description", *self.extents, "", "# The Disk Data Base ", "#DDB", ""]
        lines += ['ddb.adapterType = "lsilogic"', 'ddb.geometry.cylinders = "1"', 'ddb.geometry.heads = "255"']
        lines += ['ddb.geometry.sectors = "63"', 'ddb.virtualHWVersion = "10"', ""]
        return "\n".join(lines).encode()


# ---- the hosted sparse extent ----

HOSTED = "<IIIQQQQIQQQB4sH"


def hosted_header(version, flags, capacity, grain, desc, desc_size, gtes, rgd, gd, overhead, compress=0):
    return struct.pack(HOSTED, 0x564D444B, version, flags, capacity, grain, desc, desc_size, gtes, rgd, gd, overhead, 0,
                       b"\n \r\n", compress).ljust(SECTOR, b"\0")


def hosted(rng, disk, link, base, nsectors, child, descriptor=None):
    """One uncompressed extent that covers sectors base + nsectors of the disk, its parts in any order."""
    grain = rng.choice((8, 8, 16, 32, 64, 128))
    gtes = rng.choice((128, 256, 512, 512))
    ngrains = -(-nsectors // grain)
    ngts = -(-ngrains // gtes)
    gts, gds = gtes * 4 // SECTOR, -(-ngts * 4 // SECTOR)
    redundant = rng.random() < 0.8
    zero_entries = rng.random() < 0.5
    what = states(rng, ngrains, child)
    if not zero_entries:
        what = what.replace("z", "a")
    put_states(disk, what, base, grain, nsectors)

    # Where everything is: tables and directories in any order, gaps between them.
    parts = [("gd", gds)] + [(("gt", t), gts) for t in range(ngts)]
    if redundant:
        parts += [("rgd", gds)] + [(("rgt", t), gts) for t in range(ngts)]
    if rng.random() < 0.5:
        rng.shuffle(parts)
    desc_size = rng.choice((20, 20, 4)) if descriptor else 0
    at = 1 + desc_size
    place = {}
    if not descriptor and isinstance(parts[0][0], tuple):
        at = 2  # a table is never at sector 1: in a directory that number means something else
    for name, size in parts:
        at += rng.choice((0, 0, 0, 1, 5))
        place[name] = at
        at += size
    overhead = up(at, grain)
    junk = Junk(link)
    f = bytearray(junk.sectors(overhead))
    entries = [0] * (ngts * gtes)
    order = [g for g in range(ngrains) if what[g] == "d"]
    if rng.random() < 0.6:
        rng.shuffle(order)
    for g in order:
        while rng.random() < 0.1:
            f += junk.sectors(grain)
        entries[g] = len(f) // SECTOR
        f += grain_bytes(rng, disk, link, base + g * grain, grain, base + nsectors)
    for g in range(ngrains):
        if what[g] == "z":
            entries[g] = 1
    if order and rng.random() < 0.15 and entries[order[-1]] + grain == len(f) // SECTOR and ngrains * grain == nsectors:
        # The last grain of the file may be cut short: what is missing of it is zeros.
        cut = rng.randrange(1, grain)
        del f[len(f) - cut * SECTOR:]
        first = base + order[-1] * grain
        for lba in range(first + grain - cut, first + grain):
            disk.data[lba] = ZERO
    drop = rng.random() < 0.3  # tables without an entry do not exist
    for copy in ("", "r") if redundant else ("",):
        gd = []
        for t in range(ngts):
            table = entries[t * gtes:(t + 1) * gtes]
            gd.append(0 if drop and not any(table) else place[(copy + "gt", t)])
            off = place[(copy + "gt", t)] * SECTOR
            f[off:off + gtes * 4] = struct.pack("<%dI" % gtes, *table)
        off = place[copy + "gd"] * SECTOR
        f[off:off + gds * SECTOR] = struct.pack("<%dI" % ngts, *gd).ljust(gds * SECTOR, b"\0")
    if descriptor:
        f[SECTOR:SECTOR + desc_size * SECTOR] = descriptor.text().ljust(desc_size * SECTOR, b"\0")
    flags = 1 | (2 if redundant else 0) | (4 if zero_entries else 0)
    f[:SECTOR] = hosted_header(2 if zero_entries else 1, flags, nsectors, grain, 1 if descriptor else 0, desc_size, gtes,
                               place.get("rgd", 0), place["gd"], overhead)
    return f


def monolithic_sparse(rng, disk, link, name, parent):
    d = Descriptor(rng, "monolithicSparse", ['RW %d SPARSE "%s.vmdk"' % (disk.capacity, name)], parent)
    disk.files[name + ".vmdk"] = hosted(rng, disk, link, 0, disk.capacity, parent is not None, d)
    return d.cid


def pieces(rng, disk, odd):
    """Extents: (first sector, sectors). With odd, where no other link is read through them, sometimes of no whole grains,
    which qemu-img reads past their end."""
    capacity = disk.capacity
    disk.odd = odd and disk.links == 0 and rng.random() < 0.4
    step = 8 if disk.odd else 128
    cuts = sorted({rng.randrange(1, (capacity - 1) // step) * step for _ in range(rng.randrange(0, 4))})
    return [(a, b - a) for a, b in zip([0] + cuts, cuts + [capacity])]


def split_sparse(rng, disk, link, name, parent):
    lines = []
    for i, (base, n) in enumerate(pieces(rng, disk, True)):
        file = "%s-s%03d.vmdk" % (name, i + 1)
        lines.append('RW %d SPARSE "%s"' % (n, file))
        disk.files[file] = hosted(rng, disk, link, base, n, parent is not None)
    d = Descriptor(rng, "twoGbMaxExtentSparse", lines, parent)
    disk.files[name + ".vmdk"] = bytearray(d.text())
    return d.cid


# ---- streamOptimized ----

def stream_optimized(rng, disk, link, name, _parent):
    grain = rng.choice((16, 32, 64, 128))
    gtes = rng.choice((128, 512))
    ngrains = -(-disk.capacity // grain)
    ngts = -(-ngrains // gtes)
    gts, gds = gtes * 4 // SECTOR, -(-ngts * 4 // SECTOR)
    footer = rng.random() < 0.6
    what = states(rng, ngrains, False)
    d = Descriptor(rng, "streamOptimized", ['RDONLY %d SPARSE "%s.vmdk"' % (disk.capacity, name)])
    junk = Junk(link)
    gd_at, gt_at = 21, [21 + gds + t * gts for t in range(ngts)]
    overhead = up(21 if footer else 21 + gds + ngts * gts, rng.choice((1, 128)))
    f = bytearray(SECTOR + 20 * SECTOR) + bytes((overhead - 21) * SECTOR)
    entries = [0] * (ngts * gtes)
    gd = [0] * ngts

    def record(g):
        data = grain_bytes(rng, disk, link, g * grain, grain, disk.capacity)
        if g == ngrains - 1 and rng.random() < 0.3:
            data = data[:(disk.capacity - g * grain) * SECTOR]
        packed = zlib.compress(data, rng.choice((0, 1, 6, 9)))
        entries[g] = len(f) // SECTOR
        f.extend(struct.pack("<QI", g * grain, len(packed)) + packed)
        f.extend(bytes(-len(f) % SECTOR))

    def table(t):
        return struct.pack("<%dI" % gtes, *entries[t * gtes:(t + 1) * gtes])

    def marker(kind, n):
        f.extend(struct.pack("<QII", n, 0, kind).ljust(SECTOR, b"\0"))

    order = list(range(ngrains))
    if not footer and rng.random() < 0.4:
        rng.shuffle(order)
    for g in order:
        if what[g] == "d":
            record(g)
        last = g == ngrains - 1 or (g + 1) % gtes == 0
        if footer and last and any(entries[g // gtes * gtes:g + 1]):
            marker(1, gts)
            gd[g // gtes] = len(f) // SECTOR
            f.extend(table(g // gtes))
    header = dict(version=3, flags=0x30001, capacity=disk.capacity, grain=grain, desc=1, desc_size=20, gtes=gtes, rgd=0,
                  overhead=overhead, compress=1)
    if footer:
        marker(2, gds)
        gd_at = len(f) // SECTOR
        f.extend(struct.pack("<%dI" % ngts, *gd).ljust(gds * SECTOR, b"\0"))
        marker(3, 1)
        f.extend(hosted_header(gd=gd_at, **header))
        f.extend(ZERO)
        f[:SECTOR] = hosted_header(gd=0xFFFFFFFFFFFFFFFF, **header)
    else:
        for t in range(ngts):
            f[gt_at[t] * SECTOR:(gt_at[t] + gts) * SECTOR] = table(t)
        f[gd_at * SECTOR:(gd_at + gds) * SECTOR] = struct.pack("<%dI" % ngts, *gt_at).ljust(gds * SECTOR, b"\0")
        f[:SECTOR] = hosted_header(gd=gd_at, **header)
        if rng.random() < 0.5:
            f.extend(ZERO)
    f[SECTOR:21 * SECTOR] = d.text().ljust(20 * SECTOR, b"\0")
    disk.files[name + ".vmdk"] = f
    return d.cid


# ---- COWD ----

def vmfs_sparse(rng, disk, link, name, parent):
    grain = rng.choice((1, 1, 1, 2, 8))
    ngrains = -(-disk.capacity // grain)
    ngts = -(-ngrains // 4096)
    gds = -(-ngts * 4 // SECTOR)
    what = states(rng, ngrains, parent is not None).replace("z", "a")
    junk = Junk(link)
    f = bytearray((4 + gds) * SECTOR)
    gd, entries = [0] * ngts, [0] * (ngts * 4096)
    order = [g for g in range(ngrains) if what[g] == "d"]
    if rng.random() < 0.4:
        rng.shuffle(order)
    for g in order:
        if gd[g // 4096] == 0:
            gd[g // 4096] = len(f) // SECTOR
            f += bytes(32 * SECTOR)
        if rng.random() < 0.02:
            f += junk.sectors(grain)
        entries[g] = len(f) // SECTOR
        f += grain_bytes(rng, disk, link, g * grain, grain, disk.capacity)
    for t in range(ngts):
        if gd[t]:
            f[gd[t] * SECTOR:(gd[t] + 32) * SECTOR] = struct.pack("<4096I", *entries[t * 4096:(t + 1) * 4096])
    f[4 * SECTOR:4 * SECTOR + 4 * ngts] = struct.pack("<%dI" % ngts, *gd)
    f[:32] = struct.pack("<8I", 0x44574F43, 1, 3, disk.capacity, grain, 4, ngts, len(f) // SECTOR)
    disk.files[name + "-delta.vmdk"] = f
    d = Descriptor(rng, "vmfsSparse", ['RW %d VMFSSPARSE "%s-delta.vmdk"' % (disk.capacity, name)], parent)
    disk.files[name + ".vmdk"] = bytearray(d.text())
    return d.cid


# ---- SE sparse ----

def se_sparse(rng, disk, link, name, parent):
    ngrains = -(-disk.capacity // 8)
    ngts = -(-ngrains // 4096)
    what = states(rng, ngrains, parent is not None)
    put_states(disk, what, 0, 8, disk.capacity)
    junk = Junk(link)
    volatile, directory, tables = 1, 8, 16
    nslots = ngts + rng.randrange(0, 3)
    grains = tables + nslots * 64
    slots = rng.sample(range(nslots), ngts)
    gd = [0] * (8 * SECTOR // 8)
    entries = [0] * (ngts * 4096)
    indices = list(range(rng.randrange(0, 5), ngrains + 9))
    if rng.random() < 0.5:
        rng.shuffle(indices)
    own = {}
    for g in range(ngrains):
        if what[g] == "d":
            index = indices.pop()
            own[index] = grain_bytes(rng, disk, link, g * 8, 8, disk.capacity)
            entries[g] = 3 << 60 | (index & 0xFFF) << 48 | index >> 12
        elif what[g] == "z":
            entries[g] = rng.choice((2 << 60, 1 << 60 | rng.randrange(1 << 20)))
    f = bytearray(grains * SECTOR)
    for index in range(max(own, default=-1) + 1):
        f += own.get(index) or junk.sectors(8)
    for t in range(ngts):
        table = entries[t * 4096:(t + 1) * 4096]
        if any(table):
            gd[t] = 0x10000000 << 32 | slots[t]
            off = (tables + slots[t] * 64) * SECTOR
            f[off:off + 64 * SECTOR] = struct.pack("<4096Q", *table)
    f[directory * SECTOR:(directory + 8) * SECTOR] = struct.pack("<%dQ" % len(gd), *gd)
    f[:SECTOR] = struct.pack("<26Q304x", 0xCAFEBABE, 0x200000001, disk.capacity, 8, 64, 0, 0, 0, 0, 0, volatile, 1, 2, 1, 3,
                             1, directory, 8, tables, nslots * 64, 4, 1, 5, 1, grains, (ngrains + 9) * 8)
    f[volatile * SECTOR:(volatile + 1) * SECTOR] = struct.pack("<4Q480x", 0xCAFECAFE, nslots, 1, 0)
    disk.files[name + "-sesparse.vmdk"] = f
    d = Descriptor(rng, "seSparse", ['RW %d SESPARSE "%s-sesparse.vmdk"' % (disk.capacity, name)], parent)
    disk.files[name + ".vmdk"] = bytearray(d.text())
    return d.cid


# ---- flat ----

def flat_data(rng, disk, link, base, n):
    out = bytearray()
    state = "d"
    for lba in range(base, base + n):
        if rng.random() < 0.02:
            state = rng.choice("dz")
        if state == "d":
            disk.data[lba] = stamp(link, lba)
        out += disk.data[lba] if state == "d" else ZERO
    return out


def monolithic_flat(rng, disk, link, name, _parent):
    skip = rng.choice((0, 0, 3, 64))
    disk.files[name + "-flat.vmdk"] = bytearray(Junk(link).sectors(skip)) + flat_data(rng, disk, link, 0, disk.capacity)
    d = Descriptor(rng, "monolithicFlat", ['RW %d FLAT "%s-flat.vmdk" %d' % (disk.capacity, name, skip)])
    disk.files[name + ".vmdk"] = bytearray(d.text())
    return d.cid


def vmfs(rng, disk, link, name, _parent):
    disk.files[name + "-flat.vmdk"] = flat_data(rng, disk, link, 0, disk.capacity)
    d = Descriptor(rng, "vmfs", ['RW %d VMFS "%s-flat.vmdk"' % (disk.capacity, name)])
    disk.files[name + ".vmdk"] = bytearray(d.text())
    return d.cid


def split_flat(rng, disk, link, name, _parent):
    lines = []
    shared = rng.random() < 0.3  # several extents in one file
    whole = bytearray()
    for i, (base, n) in enumerate(pieces(rng, disk, False)):
        file = "%s-f%03d.vmdk" % (name, 1 if shared else i + 1)
        data = flat_data(rng, disk, link, base, n)
        lines.append('RW %d FLAT "%s" %d' % (n, file, len(whole) // SECTOR if shared else 0))
        whole += data
        disk.files[file] = whole if shared else data
    d = Descriptor(rng, "twoGbMaxExtentFlat", lines)
    disk.files[name + ".vmdk"] = bytearray(d.text())
    return d.cid


BASES = {"monolithicSparse": monolithic_sparse, "twoGbMaxExtentSparse": split_sparse, "streamOptimized": stream_optimized,
         "monolithicFlat": monolithic_flat, "twoGbMaxExtentFlat": split_flat, "vmfs": vmfs, "vmfsSparse": vmfs_sparse,
         "seSparse": se_sparse}
CHILDREN = {"monolithicSparse": monolithic_sparse, "twoGbMaxExtentSparse": split_sparse, "vmfsSparse": vmfs_sparse,
            "seSparse": se_sparse}


def make(rng, number):
    """The number-th disk: each type in turn, alone or as the base of a chain."""
    disk = Disk(rng.randrange(700, 6000))
    disk.links = rng.choice((0, 0, 1, 1, 2, 3))
    kind = list(BASES)[number % len(BASES)]
    cid = BASES[kind](rng, disk, 0, "base", None)
    disk.top, disk.kinds = "base.vmdk", [kind]
    for link in range(1, 1 + disk.links):
        kind = rng.choice(list(CHILDREN))
        name = "child%d" % link
        cid = CHILDREN[kind](rng, disk, link, name, (cid, disk.top))
        disk.top = name + ".vmdk"
        disk.kinds.append(kind)
    return disk
