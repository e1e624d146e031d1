# SPDX-License-Identifier: BSD-3-Clause
"""Makes VMFS 3, 5 and 6 volumes on LUN images, from the description of the format: what the reader under test is
measured with. It shares nothing with the reader. The images are sparse.

    with Volume(folder, 6, luns=2) as v:
        v.folder("vm")
        v.blocks("vm/a-flat.vmdk", 10 * MIB, {0: "data", 2: "zeroed"})
    v.luns          # paths of the images
    v.files[...]    # what a reader must see: File.expect(offset, length)
"""

import hashlib
import os
import struct

KIB = 1024
MIB = 1024 * 1024
PE = 256 * MIB
DATA_OFFSET = 17 * MIB  # of the first extent, from the beginning of the partition
LVM = MIB               # of the volume manager's header
P_START = {512: 2048 * 512, 4096: 256 * 4096}

FS_UUID = struct.pack("<IIH6B", 0x52112C2E, 0x60F5B79E, 0x1B9C, 0x00, 0x0C, 0x29, 0xAA, 0xBB, 0xCC)
FS_UUID_TEXT = "52112c2e-60f5b79e-1b9c-000c29aabbcc"
LV_UUID = struct.pack("<IIH6B", 0x52112C2D, 0x11223344, 0x5566, 0x00, 0x0C, 0x29, 0xAA, 0xBB, 0xCC)
LABEL = b"store1"

STALE = 0xEE  # what lies in blocks that are to be zeroed


def pattern(name, number, size):
    """Bytes of a block that no other block has; of each sector too."""
    seed = hashlib.sha256(b"%s %d" % (name.encode(), number)).digest()
    out = bytearray()
    for sector in range((size + 511) // 512):
        out += (seed + struct.pack("<Q", sector) + seed[:24]) * 8
    return bytes(out[:size])


def bytes_of(path):
    """The bytes of a sparse image: place of each MiB that is not zeros, and its bytes."""
    found = {}
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        at = 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // MIB * MIB
            except OSError:
                break
            piece = os.pread(file.fileno(), MIB, at)
            if piece.count(0) != len(piece):
                found[at] = bytearray(piece)
            at += MIB
    return found


def put_bytes(found, at, data):
    """Bytes that do not go over the end of a MiB."""
    found[at // MIB * MIB][at % MIB:at % MIB + len(data)] = data


class File:
    """What a reader has to find."""

    def __init__(self, name, length):
        self.name = name
        self.length = length
        self.pieces = {}      # offset: bytes; the rest reads as zeros
        self.step = MIB       # size of pieces
        self.inode = 0        # offset of the descriptor in the volume
        self.address = 0
        self.pointers = []    # offsets of pointer blocks in the volume
        self.places = {}      # index of a block: offset in the volume
        self.kinds = {}

    def expect(self, off, length):
        out = bytearray(length)
        first = off // self.step * self.step
        for at in range(first, off + length, self.step):
            piece = self.pieces.get(at)
            if piece is None:
                continue
            low, high = max(off, at), min(off + length, at + len(piece))
            if low < high:
                out[low - off:high - off] = piece[low - at:high - at]
        return bytes(out)


class Resources:
    """A system file of resources: its numbers, its blocks, what of it is given out."""

    def __init__(self, volume, name, number, per_cluster, clusters, size, lock_type, total=None, child=None):
        self.volume, self.name, self.number = volume, name, number
        self.R, self.C, self.S, self.lock_type = per_cluster, clusters, size, lock_type
        self.H = volume.head
        self.group = clusters * (self.H + per_cluster * size)
        self.total = per_cluster * clusters if total is None else total
        self.groups = max(1, -(-self.total // (per_cluster * clusters)))
        self.child = child
        self.bytes = 0x10000 + self.groups * self.group
        self.first_block = None
        self.next = 0

    def place(self, base):
        """Puts the file at a block of the volume; the number of blocks it takes."""
        self.first_block = base
        return -(-self.bytes // self.volume.fbs)

    def offset(self, cluster, resource):
        """In the volume: the file is one run of blocks."""
        within = (0x10000 + cluster // self.C * self.group + self.C * self.H
                  + cluster % self.C * self.R * self.S + resource * self.S)
        return self.first_block * self.volume.fbs + within

    def take(self):
        number = self.next
        self.next += 1
        assert number < self.total, self.name + " is full"
        return number // self.R, number % self.R

    def header(self, per_cluster, total, child=0):
        h = bytearray(0x38)
        struct.pack_into("<IIIII", h, 0, per_cluster, self.C, 0x10000, self.S, self.group)
        struct.pack_into("<III", h, 0x14, total & 0xFFFFFFFF, self.groups, total >> 32)
        if self.volume.version == 6:
            struct.pack_into("<I", h, 0x20, 0x72666D64)
            struct.pack_into("<I", h, 0x34, child)
        return bytes(h)

    def write(self):
        v = self.volume
        base = self.first_block * v.fbs
        v.put(base, self.header(self.R, self.total, self.child[0] if self.child else 0))
        if self.child:
            v.put(base + self.child[0], self.header(self.child[1], self.child[2]))
        for cluster in range(-(-self.total // self.R)):
            at = base + 0x10000 + cluster // self.C * self.group + cluster % self.C * self.H
            lock = bytearray(64)
            struct.pack_into("<IQ", lock, 0, self.lock_type, at)
            v.put(at, bytes(lock))
            if v.version == 6:
                head = bytearray(0x24)
                struct.pack_into("<IIQHH", head, 0x10, 0x72636D64, 0, cluster, self.R, 0)
                v.put(at + v.md, bytes(head))
            else:
                v.put(at + 512, struct.pack("<IIII", cluster, self.R, 0, 0))


class Volume:
    def __init__(self, folder, version, luns=1, table="gpt", sector=512, fbs=MIB, dense=False, pes=4, shuffle=False,
                 name="lun"):
        self.version, self.fbs, self.dense, self.table, self.sector = version, fbs, dense, table, sector
        self.md = 4096 if version == 6 else 512
        self.head = 2 * self.md
        self.fd_size = 2 * self.md if version == 6 else 2048
        self.sub_size = {3: 64 * KIB, 5: 8 * KIB, 6: 64 * KIB}[version]
        self.pointers = 8192 if version == 6 else 1024
        self.pointer_bytes = 64 * KIB if version == 6 else 4 * KIB
        self.array = (8192 - 2560, 320, 8) if version == 6 else (1024, 256, 4)
        self.files = {}
        self.folders = {}
        self.luns = [os.path.join(folder, "%s%d.img" % (name, i)) for i in range(luns)]
        self.part = 0 if table == "bare" else P_START[sector]
        self._lay_out_extents(luns, pes, shuffle)
        self.fds = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) for path in self.luns]
        self._lay_out_system()
        self._root()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.finish()
        self.close()

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    # ---- the volume as bytes ----

    def _lay_out_extents(self, luns, pes, shuffle):
        """Extents in the order of the volume: (LUN, offset in the partition)."""
        each = [pes // luns + (1 if i < pes % luns else 0) for i in range(luns)]
        self.extents = []
        self.first_pe = []
        for lun, count in enumerate(each):
            self.first_pe.append(len(self.extents))
            order = list(range(count))
            if shuffle:
                order.reverse()
            self.extents += [(lun, DATA_OFFSET + i * PE) for i in order]
        self.each = each
        self.size = pes * PE

    def where(self, off):
        """LUN, offset on it, and bytes to the end of the extent, of a place of the volume."""
        lun, at = self.extents[off // PE]
        return lun, self.part + at + off % PE, PE - off % PE

    def put(self, off, data):
        while data:
            lun, at, room = self.where(off)
            n = min(room, len(data))
            os.pwrite(self.fds[lun], data[:n], at)
            off += n
            data = data[n:]

    def get(self, off, length):
        out = b""
        while length:
            lun, at, room = self.where(off)
            n = min(room, length)
            part = os.pread(self.fds[lun], n, at)
            out += part + bytes(n - len(part))
            off += n
            length -= n
        return out

    # ---- layout ----

    def _lay_out_system(self):
        v6 = self.version == 6
        blocks = self.size // self.fbs
        self.sfb_r = min(0x2000, 0x20000000 // self.fbs) if v6 else 0
        if v6:
            fbb = Resources(self, ".fbb.sf", 1, 64, 16, 0, 0x10C00002, total=max(1, blocks // 512),
                            child=(0x8000, self.sfb_r, blocks))
            sbc = Resources(self, ".sbc.sf", 4, 16, 16, self.sub_size, 0x10C00003)
            pbc = Resources(self, ".pbc.sf", 3, 16, 16, self.pointer_bytes, 0x10C00004, total=0)
            fdc = Resources(self, ".fdc.sf", 2, 32, 32, self.fd_size, 0x10C00005)
            fdc.start = ((self.md << 10) + 0x3FFFFF) & ~0xFFFFF
        else:
            fbb = Resources(self, ".fbb.sf", 1, 200, 32, 0, 0x10C00002, total=blocks)
            sbc = Resources(self, ".sbc.sf", 4, 64 if self.dense else 16, 32, self.sub_size, 0x10C00003)
            pbc = Resources(self, ".pbc.sf", 3, 16, 32, 4096, 0x10C00004)
            fdc = Resources(self, ".fdc.sf", 2, 32, 32, self.fd_size, 0x10C00005)
            fdc.start = self.fbs * ((self.fbs + 0x3FFFFF) // self.fbs)
        pb2 = Resources(self, ".pb2.sf", 6, 16, 32, self.pointer_bytes, 0x10C00006, total=None if not v6 else 0)
        self.system = {"fdc": fdc, "fbb": fbb, "sbc": sbc, "pbc": pbc, "pb2": pb2}
        block = fdc.start // self.fbs
        for r in (fdc, fbb, sbc, pbc, pb2):
            block += r.place(block)
        self.next_block = block
        fdc.next = 16  # the first ones are the system's

    def inode_at(self, number):
        fdc = self.system["fdc"]
        return fdc.offset(number // fdc.R, number % fdc.R)

    def _new_inode(self):
        cluster, resource = self.system["fdc"].take()
        return 4 | cluster << 6 | resource << 22, self.system["fdc"].offset(cluster, resource)

    # ---- addresses ----

    def block_address(self, block, kind="data"):
        tbz = {"data": 0, "shared": 0, "zeroed": 0xFF, "partly": 0x0F}[kind]
        if self.version == 6:
            cluster, resource = block // self.sfb_r, block % self.sfb_r
            return 1 | (0x20 if kind == "shared" else 0) | tbz << 7 | cluster << 15 | resource << 51
        assert kind != "partly"
        return 1 | (0x10 if kind == "shared" else 0) | (0x20 if tbz else 0) | block << 6

    def large_address(self, number, kind="data"):
        return 7 | {"data": 0, "zeroed": 0xFF, "partly": 0x01}[kind] << 7 | number << 15

    def resource_address(self, kind, cluster, resource):
        """kind: 2 sub-block, 3 pointer block, 5 pointer block of the second level"""
        if self.version == 6:
            return kind | cluster << 6 | resource << 56
        address = kind | cluster << 6 | (resource & 15) << 28
        return address | (resource >> 4) << 3 if kind == 2 else address

    def pack(self, addresses):
        return struct.pack("<%d%s" % (len(addresses), "Q" if self.version == 6 else "I"), *addresses)

    # ---- descriptors ----

    def _inode(self, off, address, kind, length, block_size, zla, addresses=(), resident=b"", zeroed=0, blocks=0,
               lock=0):
        d = bytearray(self.fd_size)
        m = self.md
        struct.pack_into("<IQQQQI", d, 0, 0x10C00001, off, 0, 1, 7, lock)
        struct.pack_into("<IIIIIQQQ", d, m, address, address ^ 0x5A5A, 1, kind, 0, length, block_size, blocks)
        struct.pack_into("<I", d, m + 0x40, 0o644)
        struct.pack_into("<II", d, m + 0x44, zla, zeroed)
        if self.version == 6:
            struct.pack_into("<I", d, m + 0x64, 0x66646D64)
            d[m + 0x89] = block_size.bit_length() - 1
        if resident:
            at = m + 512 if self.version == 6 else 1024
            d[at:at + len(resident)] = resident
        packed = self.pack(list(addresses))
        assert len(addresses) <= self.array[1]
        if packed:
            d[self.array[0]:self.array[0] + len(packed)] = packed
        self.put(off, bytes(d))

    def _system_inode(self, number, length, first_block):
        off = self.inode_at(number)
        blocks = -(-length // self.fbs)
        addresses = [self.block_address(first_block + i) for i in range(blocks)]
        self._inode(off, 4 | number << 22, 5, length, self.fbs, 1, addresses, blocks=blocks)

    def generation(self, address):
        return address ^ 0x5A5A

    # ---- files ----

    def _enter(self, path, f, kind=3):
        folder, _, name = path.rpartition("/")
        self.folders[folder]["entries"].append((name, f.address, kind))
        self.files[path] = f
        return f

    def resident(self, path, data):
        f = File(path, len(data))
        f.address, f.inode = self._new_inode()
        f.pieces[0] = data
        self._inode(f.inode, f.address, 3, len(data), self.fbs, 0x10D1, resident=data)
        return self._enter(path, f)

    def take_sub_block(self):
        cluster, resource = self.system["sbc"].take()
        return self.resource_address(2, cluster, resource), self.system["sbc"].offset(cluster, resource)

    def sub_blocks(self, path, data):
        f = File(path, len(data))
        f.address, f.inode = self._new_inode()
        f.step = self.sub_size
        addresses = []
        for at in range(0, len(data), self.sub_size):
            address, off = self.take_sub_block()
            piece = data[at:at + self.sub_size]
            self.put(off, piece)
            f.pieces[at] = piece
            f.places[at // self.sub_size] = off
            addresses.append(address)
        self._inode(f.inode, f.address, 3, len(data), self.sub_size, 2, addresses, blocks=len(addresses))
        return self._enter(path, f)

    def take_blocks(self, count=1, at=None):
        if at is not None:
            self.next_block = max(self.next_block, at)
        first = self.next_block
        self.next_block += count
        assert self.next_block <= self.size // self.fbs
        return first

    def _pointer_block(self, f, addresses, kind):
        data = self.pack(addresses)
        if kind == 1:
            block = self.take_blocks()
            address, off = self.block_address(block), block * self.fbs
        elif kind == 2:
            address, off = self.take_sub_block()
        else:
            r = self.system["pbc" if kind == 3 else "pb2"]
            cluster, resource = r.take()
            address, off = self.resource_address(kind, cluster, resource), r.offset(cluster, resource)
        self.put(off, data + bytes(self.pointer_bytes - len(data)))
        f.pointers.append(off)
        return address

    def _tree(self, f, addresses, levels, pointer_kind, top_kind):
        """addresses: index of a block: address. The array of the descriptor."""
        for level in range(levels):
            groups = {}
            for index, address in addresses.items():
                groups.setdefault(index // self.pointers, {})[index % self.pointers] = address
            kind = top_kind if level == 1 else pointer_kind
            addresses = {}
            for number, members in sorted(groups.items()):
                row = [members.get(i, 0) for i in range(max(members) + 1)]
                addresses[number] = self._pointer_block(f, row, kind)
        return [addresses.get(i, 0) for i in range(max(addresses) + 1)] if addresses else []

    def blocks(self, path, length, kinds, levels=0, pointer_kind=None, top_kind=None, at=None, zla=None, lock=0,
               data_of=None):
        """A file of file blocks. kinds: index: data, shared, zeroed or partly; what is not named is a hole. data_of: the
        bytes of a block by its index, of a file that is too large for expect()."""
        f = File(path, length)
        f.step = self.fbs
        f.kinds = kinds
        f.address, f.inode = self._new_inode()
        addresses = {}
        for index, kind in sorted(kinds.items()):
            block = self.take_blocks(at=at)
            at = None
            f.places[index] = block * self.fbs
            if data_of:
                data = data_of(index)
            elif kind in ("data", "shared"):
                data = f.pieces[index * self.fbs] = pattern(path, index, self.fbs)
            else:
                data = bytes([STALE]) * self.fbs
            self.put(block * self.fbs, data)
            addresses[index] = self.block_address(block, kind)
        if pointer_kind is None:
            pointer_kind = 2 if self.version == 6 else 3
        if top_kind is None:
            top_kind = 2 if self.version == 6 else 5
        array = self._tree(f, addresses, levels, pointer_kind, top_kind)
        zeroed = sum(1 for k in kinds.values() if k in ("zeroed", "partly"))
        self._inode(f.inode, f.address, 3, length, self.fbs,
                    zla if zla is not None else (1, 3, 0x10D0)[levels], array, zeroed=zeroed, blocks=len(kinds),
                    lock=lock)
        return self._enter(path, f)

    def large(self, path, length, number, data, repeated, kind="data"):
        """A file in one large block. data: offset: bytes. repeated: the address once for each small block it covers."""
        size = self.fbs << 9
        f = File(path, length)
        f.step = self.fbs
        f.address, f.inode = self._new_inode()
        f.places[0] = number * size
        for off, piece in data.items():
            self.put(number * size + off, piece)
            if kind == "data":
                f.pieces[off] = piece
        address = self.large_address(number, kind)
        count = -(-length // self.fbs) if repeated else 1
        zeroed = 0 if kind == "data" else 1
        if count > self.array[1]:
            array = self._tree(f, dict.fromkeys(range(count), address), 1, 2, 2)
            self._inode(f.inode, f.address, 3, length, self.fbs, 3, array, zeroed=zeroed, blocks=count)
        else:
            self._inode(f.inode, f.address, 3, length, self.fbs if repeated else size, 1, [address] * count,
                        zeroed=zeroed, blocks=count)
        return self._enter(path, f)

    def special(self, path, kind):
        """A symbolic link (4) or a raw device mapping (6)."""
        f = File(path, 0)
        f.address, f.inode = self._new_inode()
        self._inode(f.inode, f.address, kind, 0, self.fbs, 1)
        return self._enter(path, f, kind)

    # ---- folders ----

    def _root(self):
        names = [(r.name, 4 | r.number << 22, 5) for r in self.system.values()] + [(".vh.sf", 4 | 5 << 22, 5)]
        self.folders[""] = {"inode": self.inode_at(0), "address": 4, "entries": names, "blocks": True, "parent": 4}

    def folder(self, path, blocks=False):
        """blocks: in file blocks, else in sub-blocks"""
        f = File(path, 0)
        f.address, f.inode = self._new_inode()
        parent = path.rpartition("/")[0]
        self.folders[path] = {"inode": f.inode, "address": f.address, "entries": [], "blocks": blocks,
                              "parent": self.folders[parent]["address"]}
        return self._enter(path, f, 2)

    def _records_v5(self, d):
        out = bytearray()
        for name, address, kind in [(".", d["address"], 2), ("..", d["parent"], 2)] + d["entries"]:
            out += struct.pack("<III128s", kind, address, self.generation(address), name.encode())
        out += bytes(140)  # a free one
        return bytes(out)

    def _record_v6(self, name, address, kind, own):
        return struct.pack("<IIIHHQ256sQ", kind, address, self.generation(address), 0, 0, own, name.encode(), 0)

    def _records_v6(self, d):
        """Header, then blocks: 0 the map, 1... records, one of them full, one free one in between."""
        entries = d["entries"]
        slots = (4096 - 64) // 0x120
        used = [entries[i:i + slots] for i in range(0, len(entries), slots)] or [[]]
        blocks = [b""]
        kinds = [3]
        for group in used:
            at = 0x10000 + len(blocks) * 4096
            block = bytearray(4096)
            free = (1 << slots) - 1
            for i, (name, address, kind) in enumerate(group):
                own = at + 64 + i * 0x120
                block[64 + i * 0x120:64 + (i + 1) * 0x120] = self._record_v6(name, address, kind, own)
                free &= ~(1 << i)
            if len(group) < slots:  # one that is free and has old bytes
                block[64 + (slots - 1) * 0x120:64 + slots * 0x120] = self._record_v6(
                    "removed", 4 | 3 << 22, 3, at + 64 + (slots - 1) * 0x120)
            struct.pack_into("<HHHH", block, 0, 1, 1, slots, bin(free).count("1"))
            block[8:8 + 56] = free.to_bytes(56, "little")
            blocks.append(bytes(block))
            kinds.append(1)
        total = len(blocks)
        nibbles = [k | (4 if k == 0 else 0) for k in kinds] + [4 | 8] * (2 * (4096 - 64) - total)
        head = struct.pack("<HHHH56x", 1, 3, 0, 0)
        blocks[0] = head + bytes(nibbles[i] << 4 | nibbles[i + 1] for i in range(0, len(nibbles), 2))
        header = bytearray(0x10000)
        struct.pack_into("<IIII", header, 0, 0xF50001, len(entries) + 2, total, 1)
        struct.pack_into("<I", header, 0x10, 0)
        header[0x3B8:0x3B8 + 0x120] = self._record_v6(".", d["address"], 2, 0x3B8)
        header[0x4D8:0x4D8 + 0x120] = self._record_v6("..", d["parent"], 2, 0x4D8)
        return bytes(header) + b"".join(blocks)

    def _write_folder(self, d):
        data = self._records_v6(d) if self.version == 6 else self._records_v5(d)
        addresses = []
        step = self.fbs if d["blocks"] else self.sub_size
        d["places"] = []
        for at in range(0, len(data), step):
            if d["blocks"]:
                block = self.take_blocks()
                address, off = self.block_address(block), block * self.fbs
            else:
                address, off = self.take_sub_block()
            self.put(off, data[at:at + step])
            d["places"].append(off)
            addresses.append(address)
        self._inode(d["inode"], d["address"], 2, len(data), step, 1 if d["blocks"] else 2, addresses,
                    blocks=len(addresses))

    # ---- headers ----

    def _write_fs_header(self):
        h = bytearray(512)
        major, minor = {3: (4, 0x1F), 5: (14, 81), 6: (24, 82)}[self.version]
        fdc = self.system["fdc"]
        struct.pack_into("<IIB", h, 0, 0x2FABF15E, major, minor)
        h[9:25] = FS_UUID
        struct.pack_into("<I", h, 0x19, 4 if self.dense else 0)
        h[0x1D:0x1D + len(LABEL)] = LABEL
        struct.pack_into("<IQ", h, 0x9D, 512, self.fbs)
        h[0xB1:0xC1] = LV_UUID
        struct.pack_into("<III", h, 0xD1, 0x10000, fdc.C, self.sub_size)
        if self.version != 6 and not self.dense:
            struct.pack_into("<QI", h, 0xE1, self.inode_at(6), 4 | 6 << 22)
        if self.version == 6:
            struct.pack_into("<IIH", h, 0x130, 512, self.md, 9)
            struct.pack_into("<HHI", h, 0x13E, 13, 0, 0)
        self.put(0x200000, bytes(h))

    def _write_lvm(self, lun):
        base = self.part + LVM
        v6 = self.version == 6
        h = bytearray(512)
        size = self.lun_bytes(lun) - self.part
        struct.pack_into("<III", h, 0, 0xC001D00D, {3: 3, 5: 5, 6: 6}[self.version], 1)
        struct.pack_into("<IQIII", h, 0x5A, 512, size, 1, self.each[lun], self.each[lun] - 1)
        struct.pack_into("<Q", h, 0x7A, DATA_OFFSET)
        h[0x82:0x92] = bytes([lun + 1]) * 16
        struct.pack_into("<I", h, 0xBE, 1)
        if v6:
            struct.pack_into("<I", h, 0xCA, 4096)
        os.pwrite(self.fds[lun], bytes(h), base)
        d = bytearray(512)
        struct.pack_into("<QQI", d, 0, self.size, 1, 1)
        text = FS_UUID_TEXT.encode()
        d[0x14:0x14 + len(text)] = text
        d[0x54:0x64] = LV_UUID
        struct.pack_into("<I", d, 0x70, 1)
        struct.pack_into("<IQQ", d, 0x74, self.each[lun], self.first_pe[lun], self.first_pe[lun] + self.each[lun] - 1)
        struct.pack_into("<I", d, 0x90, len(self.luns))
        os.pwrite(self.fds[lun], bytes(d), base + (0x1000 if v6 else 0x200))
        os.pwrite(self.fds[lun], b"\xff" * 16, base + (0x81000 if v6 else 0x80200))
        for i in range(self.each[lun]):
            number = self.first_pe[lun] + i
            e = bytearray(128)
            struct.pack_into("<BIIQQQI", e, 0, 1, i, 1, self.extents[number][1], number * PE, PE, 1)
            os.pwrite(self.fds[lun], bytes(e), base + (0x82000 if v6 else 0x80600) + 128 * i)

    def pe_entry(self, lun, index):
        """Offset on the LUN of an entry of the table of extents."""
        return self.part + LVM + (0x82000 if self.version == 6 else 0x80600) + 128 * index

    def volume_descriptor(self):
        return self.part + LVM + (0x1000 if self.version == 6 else 0x200)

    def lun_bytes(self, lun):
        return self.part + DATA_OFFSET + self.each[lun] * PE + MIB

    def _write_table(self, lun):
        fd, s = self.fds[lun], self.sector
        last = (self.lun_bytes(lun) - MIB) // s - 1
        if self.table == "mbr":
            m = bytearray(512)
            struct.pack_into("<B3xB3xII", m, 446, 0, 0xFB, self.part // 512, last + 1 - self.part // 512)
            m[510:512] = b"\x55\xaa"
            os.pwrite(fd, bytes(m), 0)
        if self.table == "gpt":
            m = bytearray(512)
            struct.pack_into("<B3xB3xII", m, 446, 0, 0xEE, 1, 0xFFFFFFFF)
            m[510:512] = b"\x55\xaa"
            os.pwrite(fd, bytes(m), 0)
            h = bytearray(s)
            h[0:8] = b"EFI PART"
            struct.pack_into("<QII", h, 72, 2, 128, 128)
            os.pwrite(fd, bytes(h), s)
            other = bytes(range(16)) + bytes(16) + struct.pack("<QQ", 34, 2047 if s == 512 else 200)
            vmfs = (bytes.fromhex("2ae031aa0f40db119590000c2911d1b8") + bytes([lun]) * 16
                    + struct.pack("<QQ", self.part // s, last))
            os.pwrite(fd, other, 2 * s)
            os.pwrite(fd, vmfs, 2 * s + 128)  # number 2

    @property
    def partition(self):
        """The number that the datastore tells."""
        return {"gpt": 2, "mbr": 1, "bare": 0}[self.table]

    def finish(self):
        for path in sorted(self.folders, key=lambda p: -p.count("/") if p else 1):
            self._write_folder(self.folders[path])
        fdc = self.system["fdc"]
        for r in self.system.values():
            r.write()
            self._system_inode(r.number, r.bytes, r.first_block)
        self._system_inode(5, fdc.start, 0)  # .vh.sf
        self._write_fs_header()
        for lun in range(len(self.luns)):
            os.ftruncate(self.fds[lun], self.lun_bytes(lun))
            self._write_table(lun)
            self._write_lvm(lun)
