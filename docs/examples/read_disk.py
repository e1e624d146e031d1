#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Copies a VMDK to a raw image through libvixDiskLib.so, by ctypes. Only what is allocated is read.

  read_disk.py DISK.VMDK IMAGE                                   a local disk
  read_disk.py '[datastore] dir/x.vmdk' IMAGE HOST USER VM THUMBPRINT    the password is read from standard input
"""
import ctypes as c
import sys

SECTOR = 512
CHUNK = 128              # sectors: the smallest piece that QueryAllocatedBlocks tells apart
RANGE = CHUNK * 524288   # sectors: the most that it is asked for at once
STEP = 4096              # sectors of one read, 2 MiB
READ_ONLY = 1 << 2
CRED_UID = 1


class Uid(c.Structure):
    _fields_ = [("userName", c.c_char_p), ("password", c.c_char_p)]


class SessionId(c.Structure):
    _fields_ = [("cookie", c.c_char_p), ("userName", c.c_char_p), ("key", c.c_char_p)]


class Creds(c.Union):
    _fields_ = [("uid", Uid), ("sessionId", SessionId), ("ticketId", c.c_void_p)]


class ConnectParams(c.Structure):
    # The members behind these are the library's own, in the struct that it allocates.
    _fields_ = [("vmxSpec", c.c_char_p), ("serverName", c.c_char_p), ("thumbPrint", c.c_char_p), ("privateUse", c.c_long),
                ("credType", c.c_int), ("creds", Creds), ("port", c.c_uint32), ("nfcHostPort", c.c_uint32)]


class Geometry(c.Structure):
    _fields_ = [("cylinders", c.c_uint32), ("heads", c.c_uint32), ("sectors", c.c_uint32)]


class Info(c.Structure):
    # Read to the end of capacity; made and freed by the library.
    _fields_ = [("biosGeo", Geometry), ("physGeo", Geometry), ("capacity", c.c_uint64)]


class Block(c.Structure):
    _fields_ = [("offset", c.c_uint64), ("length", c.c_uint64)]


class BlockList(c.Structure):
    _fields_ = [("numBlocks", c.c_uint32), ("blocks", Block * 1)]


lib = c.CDLL("libvixDiskLib.so.8")
# Without these ctypes passes pointers and 64-bit numbers as ints of 32 bits.
VixError, Handle = c.c_uint64, c.c_void_p
for name, result, arguments in [
        ("InitEx", VixError, [c.c_uint32, c.c_uint32, c.c_void_p, c.c_void_p, c.c_void_p, c.c_char_p, c.c_char_p]),
        ("Exit", None, []),
        ("AllocateConnectParams", c.POINTER(ConnectParams), []),
        ("FreeConnectParams", None, [c.c_void_p]),
        ("ConnectEx", VixError, [c.POINTER(ConnectParams), c.c_char, c.c_char_p, c.c_char_p, c.POINTER(Handle)]),
        ("Disconnect", VixError, [Handle]),
        ("Open", VixError, [Handle, c.c_char_p, c.c_uint32, c.POINTER(Handle)]),
        ("Close", VixError, [Handle]),
        ("GetInfo", VixError, [Handle, c.POINTER(c.POINTER(Info))]),
        ("FreeInfo", None, [c.POINTER(Info)]),
        ("QueryAllocatedBlocks", VixError, [Handle, c.c_uint64, c.c_uint64, c.c_uint64, c.POINTER(c.POINTER(BlockList))]),
        ("FreeBlockList", VixError, [c.POINTER(BlockList)]),
        ("Read", VixError, [Handle, c.c_uint64, c.c_uint64, c.c_char_p]),
        ("GetErrorText", c.c_void_p, [VixError, c.c_char_p]),
        ("FreeErrorText", None, [c.c_void_p])]:
    function = getattr(lib, "VixDiskLib_" + name)
    function.restype, function.argtypes = result, arguments
lib.VixDiskLibExt_LastErrorDetail.restype = c.c_char_p


def check(what, code):
    if code:
        detail = lib.VixDiskLibExt_LastErrorDetail().decode()
        text = lib.VixDiskLib_GetErrorText(code, None)
        said = c.string_at(text).decode()
        lib.VixDiskLib_FreeErrorText(text)
        sys.exit("%s: %d: %s: %s" % (what, code, said, detail))


def connect(server):
    """A connection to the local machine, or to a server: (host, user, vm, thumbprint)."""
    params = None
    if server:
        params = lib.VixDiskLib_AllocateConnectParams()
        host, port = (server[0].split(":") + ["0"])[:2]
        p = params.contents
        p.serverName, p.port = host.encode(), int(port)
        p.vmxSpec, p.thumbPrint = server[2].encode(), server[3].encode()
        p.credType = CRED_UID
        p.creds.uid.userName, p.creds.uid.password = server[1].encode(), sys.stdin.readline().rstrip("\n").encode()
    connection = Handle()
    check("connect", lib.VixDiskLib_ConnectEx(params, 1, None, None, c.byref(connection)))
    lib.VixDiskLib_FreeConnectParams(params)  # the strings are Python's, and the connection has copies
    return connection


def allocated(disk, capacity):
    """(first sector, sectors) of each run that may hold something other than zeros."""
    whole = capacity - capacity % CHUNK
    for start in range(0, whole, RANGE):
        found = c.POINTER(BlockList)()
        check("query", lib.VixDiskLib_QueryAllocatedBlocks(disk, start, min(RANGE, whole - start), CHUNK, c.byref(found)))
        blocks = c.cast(c.addressof(found.contents) + BlockList.blocks.offset, c.POINTER(Block))
        runs = [(blocks[i].offset, blocks[i].length) for i in range(found.contents.numBlocks)]
        lib.VixDiskLib_FreeBlockList(found)
        yield from runs
    if whole < capacity:
        yield whole, capacity - whole


def main(path, image, *server):
    check("start", lib.VixDiskLib_InitEx(8, 0, None, None, None, None, None))
    connection = connect(server)
    disk = Handle()
    check(path, lib.VixDiskLib_Open(connection, path.encode(), READ_ONLY, c.byref(disk)))
    info = c.POINTER(Info)()
    check(path, lib.VixDiskLib_GetInfo(disk, c.byref(info)))
    capacity = info.contents.capacity
    lib.VixDiskLib_FreeInfo(info)
    buffer = c.create_string_buffer(STEP * SECTOR)
    copied = 0
    with open(image, "wb") as out:
        out.truncate(capacity * SECTOR)
        for first, count in allocated(disk, capacity):
            for sector in range(first, first + count, STEP):
                n = min(STEP, first + count - sector)
                check(path, lib.VixDiskLib_Read(disk, sector, n, buffer))
                out.seek(sector * SECTOR)
                out.write(memoryview(buffer)[:n * SECTOR])
                copied += n
    print("%d of %d sectors read" % (copied, capacity))
    check(path, lib.VixDiskLib_Close(disk))
    check("disconnect", lib.VixDiskLib_Disconnect(connection))
    lib.VixDiskLib_Exit()


if len(sys.argv) not in (3, 7):
    sys.exit(__doc__)
main(*sys.argv[1:])
