# SPDX-License-Identifier: BSD-3-Clause
"""Damage to disks where it matters: fields of headers, entries of directories and tables, lines of descriptors, markers
and data of compressed grains, ends of files. Each function changes the files of a disk and says what it did, or None
where it has nothing to change."""
import struct

import model

SECTOR = 512
MOST = 64  # tables of one extent that are looked for
HOSTED = (("magic", 0, 4), ("version", 4, 4), ("flags", 8, 4), ("capacity", 12, 8), ("grainSize", 20, 8),
          ("descriptorOffset", 28, 8), ("descriptorSize", 36, 8), ("numGTEsPerGT", 44, 4), ("rgdOffset", 48, 8),
          ("gdOffset", 56, 8), ("overHead", 64, 8), ("uncleanShutdown", 72, 1), ("newlines", 73, 4),
          ("compressAlgorithm", 77, 2), ("padding", 100, 4))
COWD = (("magic", 0, 4), ("version", 4, 4), ("flags", 8, 4), ("numSectors", 12, 4), ("grainSize", 16, 4),
        ("gdOffset", 20, 4), ("numGDEntries", 24, 4), ("freeSector", 28, 4), ("uncleanShutdown", 1648, 4))
SESPARSE = tuple((name, 8 * i, 8) for i, name in enumerate((
    "magic", "version", "capacity", "grainSize", "grainTableSize", "flags", "reserved1", "reserved2", "reserved3",
    "reserved4", "volatileHeader", "volatileHeaderSize", "journalHeader", "journalHeaderSize", "journal", "journalSize",
    "grainDirectory", "grainDirectorySize", "grainTables", "grainTablesSize", "freeBitmap", "freeBitmapSize", "backMap",
    "backMapSize", "grains", "grainsSize"))) + (("padding", 300, 4),)


def get(data, off, width):
    return int.from_bytes(data[off:off + width], "little")


def put(data, off, width, value):
    if off + width > len(data):
        raise IndexError(off)
    data[off:off + width] = (value % (1 << 8 * width)).to_bytes(width, "little")


def other(rng, old, width, hints=()):
    """Another value for a number."""
    top = 1 << 8 * width
    while True:
        value = rng.choice((
            0, 1, 2, old + 1, old - 1, old * 2, old // 2, old ^ 1 << rng.randrange(8 * width), top - 1, top // 2,
            rng.randrange(4096), rng.randrange(top), *hints, *hints)) % top
        if value != old:
            return value


def kind_of(data):
    if len(data) < SECTOR:
        return None
    magic = get(data, 0, 4)
    if magic == model.KDMV:
        return "stream" if model.Header(data, 0).flags & 0x10000 else "hosted"
    return {model.COWD: "cowd", model.SESPARSE: "sesparse"}.get(magic)


def pick(rng, disk, *kinds):
    names = sorted(n for n, data in disk.files.items() if kind_of(data) in kinds)
    return rng.choice(names) if names else None


def change(disk, name, off, width, value, what):
    data = disk.files[name]
    old = get(data, off, width)
    put(data, off, width, value)
    return "%s: %s %#x -> %#x" % (name, what, old, value)


# ---- headers ----

def header_field(rng, disk):
    name = pick(rng, disk, "hosted", "stream", "cowd", "sesparse")
    if name is None:
        return None
    data = disk.files[name]
    kind = kind_of(data)
    base = 0
    if kind == "stream" and get(data, 56, 8) == (1 << 64) - 1 and rng.random() < 0.6:
        base = len(data) - 2 * SECTOR  # the footer
    field, off, width = rng.choice({"cowd": COWD, "sesparse": SESPARSE}.get(kind, HOSTED))
    value = other(rng, get(data, base + off, width), width, (disk.capacity, disk.capacity + 1, len(data) // SECTOR))
    return change(disk, name, base + off, width, value, "%s of the %s" % (field, "footer" if base else "header"))


def volatile_header(rng, disk):
    name = pick(rng, disk, "sesparse")
    if name is None:
        return None
    data = disk.files[name]
    off = get(data, 80, 8) * SECTOR + rng.choice((0, 8, 16, 24, 32))
    return change(disk, name, off, 8, other(rng, get(data, off, 8), 8), "byte %d" % off)


# ---- directories and tables ----

def places(data):
    """Of an extent: (directory offset, entry width, tables: (entry's offset, table's offset, entries))."""
    kind = kind_of(data)
    if kind == "cowd":
        gd, n, width, entries = get(data, 20, 4), min(get(data, 24, 4), MOST), 4, 4096
        at = [(gd * SECTOR + 4 * t, get(data, gd * SECTOR + 4 * t, 4) * SECTOR) for t in range(n)]
    elif kind == "sesparse":
        gd, gt, width, entries = get(data, 128, 8), get(data, 144, 8), 8, 4096
        n = min(-(-get(data, 16, 8) // 32768), MOST)
        at = []
        for t in range(n):
            gde = get(data, gd * SECTOR + 8 * t, 8)
            at.append((gd * SECTOR + 8 * t, (gt + 64 * (gde & 0xFFFFFFFF)) * SECTOR if gde else 0))
    else:
        h = model.Header(data, 0)
        if h.gd == (1 << 64) - 1:
            h = model.Header(data, len(data) - 2 * SECTOR)
        width, entries = 4, min(h.gtes, 512)
        n = min(-(-(-(-h.capacity // h.grain)) // h.gtes), MOST)
        at = []
        for gd in [h.gd] + ([h.rgd] if h.flags & 2 else []):
            at += [(gd * SECTOR + 4 * t, get(data, gd * SECTOR + 4 * t, 4) * SECTOR) for t in range(n)]
    return width, [(gde, table, entries) for gde, table in at]


def directory_entry(rng, disk):
    name = pick(rng, disk, "hosted", "stream", "cowd", "sesparse")
    if name is None:
        return None
    data = disk.files[name]
    width, tables = places(data)
    off = rng.choice(tables)[0]
    hints = [get(data, t[0], width) for t in tables] + [len(data) // SECTOR, len(data) // SECTOR - 1, 1]
    return change(disk, name, off, width, other(rng, get(data, off, width), width, hints), "directory entry at %d" % off)


def table_entry(rng, disk):
    name = pick(rng, disk, "hosted", "stream", "cowd", "sesparse")
    if name is None:
        return None
    data = disk.files[name]
    width, tables = places(data)
    used = [(table, i) for _, table, entries in tables if table for i in range(entries)
            if get(data, table + width * i, width)]
    table, i = rng.choice(used) if used and rng.random() < 0.85 else (rng.choice(tables)[1], rng.randrange(64))
    if table == 0:
        return None
    off = table + width * i
    hints = [get(data, t + width * j, width) for t, j in rng.sample(used, min(len(used), 4))]
    end = len(data) // SECTOR
    if width == 8:
        old = get(data, off, 8)
        hints += [old ^ 1 << 60, 3 << 60 | 0xFFF << 48, old ^ 1 << 48, 1 << 60, 2 << 60, 5]
    else:
        hints += [1, end, end - 1, end - 4, 1 << 31]
    return change(disk, name, off, width, other(rng, get(data, off, width), width, hints), "table entry at %d" % off)


def swap_entries(rng, disk):
    name = pick(rng, disk, "hosted", "stream", "cowd", "sesparse")
    if name is None:
        return None
    data = disk.files[name]
    width, tables = places(data)
    used = [table + width * i for _, table, entries in tables if table for i in range(entries)
            if get(data, table + width * i, width)]
    if len(used) < 2:
        return None
    a, b = rng.sample(used, 2)
    x, y = get(data, a, width), get(data, b, width)
    put(data, a, width, y)
    put(data, b, width, x)
    return "%s: entries at %d and %d change places" % (name, a, b)


# ---- compressed grains ----

def record(rng, disk):
    name = pick(rng, disk, "stream")
    if name is None:
        return None
    data = disk.files[name]
    width, tables = places(data)
    at = sorted({get(data, table + 4 * i, 4) * SECTOR for _, table, entries in tables if table for i in range(entries)}
                - {0})
    if not at:
        return None
    off = rng.choice(at)
    size = get(data, off + 8, 4)
    what = rng.choice(("lba", "size", "data", "data", "checksum", "zlib"))
    if what == "lba":
        return change(disk, name, off, 8, other(rng, get(data, off, 8), 8), "marker at %d" % off)
    if what == "size":
        return change(disk, name, off + 8, 4, other(rng, size, 4, (size + 3, size - 3)), "size at %d" % (off + 8))
    place = {"data": off + 12 + rng.randrange(size), "checksum": off + 12 + size - rng.randrange(1, 5),
             "zlib": off + 12 + rng.randrange(2)}[what]
    return change(disk, name, place, 1, data[place] ^ 1 << rng.randrange(8), what + " at %d" % place)


# ---- descriptors ----

WORDS = (b"RW", b"RDONLY", b"NOACCESS", b"FLAT", b"SPARSE", b"ZERO", b"VMFS", b"VMFSSPARSE", b"SESPARSE", b"monolithicSparse",
         b"monolithicFlat", b"twoGbMaxExtentSparse", b"streamOptimized", b"vmfs", b"vmfsSparse", b"seSparse", b"custom")


def text_of(disk, name):
    """Where the descriptor of a file is: offset, room, text."""
    data = disk.files[name]
    if kind_of(data) in ("hosted", "stream"):
        h = model.Header(data, 0)
        if not h.desc:
            return None
        off, room = h.desc * SECTOR, h.desc_size * SECTOR
    elif data[:6] == b"# Disk":
        off, room = 0, None
    else:
        return None
    end = len(data) if room is None else off + room
    return off, room, bytes(data[off:end]).split(b"\0")[0]


def descriptor(rng, disk):
    names = sorted(n for n in disk.files if text_of(disk, n))
    if not names:
        return None
    name = rng.choice(names)
    off, room, text = text_of(disk, name)
    lines = text.split(b"\n")
    facts = [i for i, line in enumerate(lines) if line and not line.startswith((b"#", b"ddb"))]
    if not facts:
        return None
    i = rng.choice(facts)
    old = lines[i]
    how = rng.choice(("drop", "twice", "number", "number", "word", "name", "swap", "junk", "case", "nul", "crlf", "space"))
    tokens = old.split(b" ")
    if how == "drop":
        del lines[i]
    elif how == "twice":
        lines.insert(i, old)
    elif how == "number":
        at = [k for k, t in enumerate(tokens) if t.strip().isdigit()]
        if at:
            k = rng.choice(at)
            n = int(tokens[k])
            tokens[k] = b"%d" % rng.choice((0, 1, n + 1, max(n - 1, 0), n * 2, n + 128, max(n - 128, 0), n // 2, 1 << 40))
            lines[i] = b" ".join(tokens)
        elif b"=" in old:
            lines[i] = old.split(b"=")[0] + b"=" + rng.choice((b"0", b"1", b"3", b"4", b"ffffffff", b"00000001", b'""', b""))
    elif how == "word":
        for word in WORDS:
            if word in old:
                lines[i] = old.replace(word, rng.choice(WORDS))
    elif how == "name":
        quoted = old.split(b'"')
        if len(quoted) > 2:
            quoted[1] = rng.choice([n.encode() for n in sorted(disk.files)] + [b"missing.vmdk", b"/etc/hostname", b"", b"../x"])
            lines[i] = b'"'.join(quoted)
    elif how == "swap":
        j = rng.choice(facts)
        lines[i], lines[j] = lines[j], lines[i]
    elif how == "junk":
        k = rng.randrange(len(old) + 1)
        lines[i] = old[:k] + bytes(rng.choice(b'"= \tx0\x01\x80#') for _ in range(rng.randrange(1, 3))) + old[k + 1:]
    elif how == "case":
        lines[i] = old.swapcase()
    elif how == "nul":
        k = rng.randrange(len(old) + 1)
        lines[i] = old[:k] + b"\0" + old[k:]
    elif how == "crlf":
        lines = text.replace(b"\n", b"\r\n").split(b"\n")
    elif how == "space":
        lines[i] = old.replace(b" ", rng.choice((b"  ", b"\t"))).replace(b"=", b" = ")
    new = b"\n".join(lines)
    if new == text:
        return None
    data = disk.files[name]
    if room is None:
        data[:] = new
    else:
        new = new[:room]
        data[off:off + room] = new.ljust(room, b"\0")
    return "%s: line %d, %s: %r" % (name, i + 1, how, b" | ".join(lines[max(i - 0, 0):i + 1])[:90])


# ---- whole files ----

def cut(rng, disk):
    name = rng.choice(sorted(disk.files))
    data = disk.files[name]
    if len(data) < 2:
        return None
    size = rng.choice((rng.randrange(len(data)), rng.randrange(len(data)) // SECTOR * SECTOR,
                       max(0, len(data) - rng.choice((1, 100, SECTOR, 3 * SECTOR, 8 * SECTOR))), 0))
    del data[size:]
    return "%s: cut to %d bytes" % (name, size)


def append(rng, disk):
    name = rng.choice(sorted(disk.files))
    extra = rng.choice((bytes(1), bytes(SECTOR), bytes(100 * SECTOR), rng.randbytes(SECTOR), rng.randbytes(77)))
    disk.files[name] += extra
    return "%s: %d bytes more" % (name, len(extra))


def remove(rng, disk):
    name = rng.choice(sorted(disk.files))
    if name == disk.top:
        return None
    del disk.files[name]
    return "%s: removed" % name


def flip(rng, disk):
    """A bit of the first sectors of a file, which is where most of what tells something is."""
    name = rng.choice(sorted(disk.files))
    data = disk.files[name]
    off = rng.randrange(min(len(data), 40 * SECTOR)) if data else 0
    if off >= len(data):
        return None
    return change(disk, name, off, 1, data[off] ^ 1 << rng.randrange(8), "byte %d" % off)


ALL = [header_field, header_field, header_field, volatile_header, directory_entry, directory_entry, table_entry, table_entry,
       table_entry, swap_entries, record, record, record, descriptor, descriptor, descriptor, descriptor, cut, cut, append,
       remove, flip]


def spoil(rng, disk):
    """One kind of damage, sometimes two or three: what was done."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        for _ in range(20):
            try:
                did = rng.choice(ALL)(rng, disk)
            except (struct.error, IndexError, ValueError, ZeroDivisionError, model.Refused, OverflowError, MemoryError):
                did = None  # what was done before left nothing to find a place by
            if did:
                done.append(did)
                break
    return done
