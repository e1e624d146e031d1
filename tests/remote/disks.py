#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library and disks of a server, by NFC: what they hold, every way of reading and writing, what goes wrong, lost
connections, copies to and from the server, a local child on top."""
import os
import re
import struct
import subprocess
import sys
import time

import host
import nfc
import tap
from driving import *

SIZE = 4 * MIB
CHILD_TYPES = {"thin": 7, "thick": 5}


def reads(place, release, transport, flags, piece):
    place.host.release = host.RELEASES[release]
    place.host.shuffle = piece is not None
    with Driven(place) as client:
        client.connect(transports=transport, read_only=1)
        assert client.want(OK, "open", DISK, flags) == transport
        assert client.want(OK, "info") == str(SIZE // SECTOR)
        assert client.read_all(SIZE, piece) == place.data
        client.want(OUTOFRANGE, "read", SIZE // SECTOR - 1, 2)
        client.want(FILE_READ_ONLY, "write", 0, 1, place.flat)
        assert place.host.password not in "".join(client.messages())
        client.want(OK, "close")
        client.want(OK, "disconnect")
    assert not faults(place), faults(place)


def faults(place):
    """What the host has found wrong with what the client says."""
    return [entry for log in place.host.nfc_logs() for entry in log if entry[0] in ("fault", "wrong tag")]


def writes(place, transport, flags):
    place.fill()
    data = bytearray(place.data)
    with Driven(place) as client:
        client.connect(transports=transport)
        client.want(OK, "open", DISK, flags)
        for sector, count, seed in ((0, 1, 1), (7, 1025, 2), (4000, 2048, 3), (SIZE // SECTOR - 3, 3, 4)):
            piece = sample(count * SECTOR, seed) if count > 1000 else os.urandom(count * SECTOR)
            place.write("piece", piece)
            client.want(OK, "write", sector, count, place.path("piece"))
            data[sector * SECTOR:(sector + count) * SECTOR] = piece
        client.want(OK, "flush")
        assert client.read_all(SIZE) == bytes(data)
        client.want(OK, "close")
        client.want(OK, "disconnect")
    with open(place.flat, "rb") as file:
        assert file.read() == bytes(data)
    assert not faults(place), faults(place)
    place.fill()


def lists_of_transports(place):
    for text, used in (("-", "nbdssl"), ("file:san:hotadd:nbdssl:nbd", "nbdssl"), ("nbd:nbdssl", "nbd"), ("::nbd:", "nbd"),
                       ("NBD", "nbd"), ("nonsense:nbd", "nbd")):
        with Driven(place) as client:
            client.connect(transports=text)
            assert client.want(OK, "open", DISK, READ_ONLY) == used, text
            line = [line for line in client.messages() if line.startswith("DISKLIB-LINK  : Opened ")]
            scheme = "vpxa-nfcssl" if used == "nbdssl" else "vpxa-nfc"
            assert re.match(r"DISKLIB-LINK  : Opened '%s://\[store\] vm1/disk.vmdk@127.0.0.1:%d' \(0x[0-9a-f]+\): custom, "
                            r"%d sectors / 0 GB" % (scheme, place.host.nfc_port, SIZE // SECTOR), line[0]), line
            first = client.messages()[0]
            assert re.match(r"VMware VixDiskLib \([0-9.]+\) Release build-[0-9]+", first), first
    with Driven(place) as client:
        client.connect(transports="file:nosuch")
        client.refused(NOT_SUPPORTED, "open", DISK, READ_ONLY, sentence="file:nosuch")


def facts(place):
    with Driven(place) as client:
        client.connect()
        client.want(OK, "open", DISK, 0)
        assert client.want(OK, "get", "adapterType") == "lsilogic"
        client.want(KEY_NOTFOUND, "get", "no.such.key")
        assert "uuid" in client.want(OK, "keys").split()
        code, _ = client.do("set", "my.key", "value")  # hosts of VMware have no message for it
        assert code == NOT_SUPPORTED, code
        blocks = client.want(OK, "blocks", 0, SIZE // SECTOR, 128).split()
        expected = [any(place.data[n * 65536:][:65536]) for n in range(SIZE // 65536)]
        found = [False] * len(expected)
        for block in blocks:
            first, count = (int(number) for number in block.split("+"))
            for n in range(first // 128, (first + count) // 128):
                found[n] = True
        assert found == expected and False in found, blocks
        client.want(INVALID_ARG, "blocks", 0, 128, 64)
        client.want(INVALID_ARG, "blocks", SIZE // SECTOR, 128, 128)
        needed = int(client.want(OK, "space", 7))
        assert sum(expected) * 65536 <= needed < sum(expected) * 65536 + 65536, needed
        assert int(client.want(OK, "space", 5)) >= SIZE
        for type in (1, 3, 4, 8):
            assert int(client.want(OK, "space", type)) > 65536
        in_, out, all_in, all_out = (int(word) for word in client.want(OK, "traffic").split())
        assert 0 < in_ <= all_in and 0 < out <= all_out
        client.want(NOT_SUPPORTED_ON_REMOTE_OBJECT, "rework", "shrink")
        client.refused(NOT_SUPPORTED_ON_REMOTE_OBJECT, "rework", "defragment")
        client.want(OK, "close")
        assert int(client.want(OK, "traffic").split()[2]) >= all_in


def traffic_while_closing(place):
    with Driven(place) as client:
        client.connect(read_only=1)
        with Deadline(60):
            assert client.want(OK, "asked", 50, DISK, READ_ONLY) == ""
        in_, out = (int(word) for word in client.want(OK, "traffic").split()[2:])
        assert in_ > 50 * 1000 and out > 50 * 1000, (in_, out)
        client.want(OK, "disconnect")


def snapshots(place):
    with Driven(place) as client:
        client.connect(snapshot="snapshot-44", read_only=1)
        client.want(OK, "open", DISK, READ_ONLY)
        client.want(OK, "close")
        client.want(OK, "disconnect")
        client.connect(snapshot="snapshot-99", read_only=1)
        client.refused(OBJECT_NOT_FOUND, "open", DISK, READ_ONLY, sentence="snapshot-99")
        client.want(OK, "disconnect")
        client.connect(vm="moref=vm-99")
        client.refused(VM_NOT_FOUND, "open", DISK, 0, sentence="vm-99")
        client.want(OK, "disconnect")
        client.connect(vm="-")
        client.refused(INVALID_ARG, "open", DISK, 0, sentence="vmxSpec")
        client.want(OK, "disconnect")
        client.connect(vm="vm1/vm1.vmx?dcPath=DC0&dsName=store")
        client.want(OK, "open", DISK, READ_ONLY)


# ---- what goes wrong ----

def fault_of(place, method, kind, inner=""):
    def hook(label, data, session):
        if label == "soap " + method:
            return 500, host.ENVELOPE % host.Fault(kind, "", inner).xml()
        return data
    return hook


def refuses(code, text):
    def path_of(path):
        raise nfc.Refused(code, text)
    return path_of


def refusals(place):
    there = place.host
    peer = "127.0.0.1:%d: " % there.nfc_port
    with Driven(place) as client:
        client.connect()
        client.refused(FILE_NOT_FOUND, "open", "[store] vm1/none.vmdk", READ_ONLY, begins=peer)
        there.hook = fault_of(place, "NfcRandomAccessOpenDisk", "NoPermission")
        client.refused(FILE_ACCESS_ERROR, "open", DISK, 0, sentence="NoPermission")
        there.hook = fault_of(place, "NfcRandomAccessOpenDisk", "FileLocked")
        client.refused(FILE_ALREADY_LOCKED, "open", DISK, 0)
        there.hook = None
        for refusal, code in (((1, "Failed to open '%s': Failed to lock the file (16392)" % DISK), FILE_ALREADY_LOCKED),
                              ((nfc.PERMISSION, "no"), FILE_ACCESS_ERROR), ((nfc.NO_MEMORY, "no memory"), OUT_OF_MEMORY)):
            there.path_of = refuses(*refusal)
            client.refused(code, "open", DISK, READ_ONLY, begins=peer)
        del there.path_of
        there.take_ticket, kept = (lambda session_id: None), there.take_ticket
        client.refused(HANDSHAKE, "open", DISK, READ_ONLY, begins=peer)
        there.take_ticket = kept
        client.want(INVALID_ARG, "open", DISK, ZLIB | SKIPZ)
        client.want(OK, "open", DISK, READ_ONLY)  # nothing of this has harmed the connection


def hosts_that_lie(place):
    there = place.host
    peer = "127.0.0.1:%d: " % there.nfc_port

    def garbage(label, data, session):
        return b"HTTP/1.1 400 Bad Request\r\n\r\n" if label == "banner" else data

    def other_certificate(label, data, session):
        return place.other if label == "tls1" else data

    def magic(label, data, session):
        return b"\0" * len(data) if label == "aio 4" else data

    place.other = nfc.Identity(place.folder, "other")
    with Driven(place) as client:
        client.connect(read_only=1)
        for hook in (garbage, other_certificate, magic):
            there.hook = hook
            client.refused(HANDSHAKE, "open", DISK, READ_ONLY, begins=peer)
        there.hook = None
        client.want(OK, "disconnect")
        client.connect(nfc_port=1)  # nobody listens
        client.refused(CONN_REFUSED, "open", DISK, READ_ONLY, begins="127.0.0.1:1: ")


def hosts_that_stall(place):
    there = place.host
    peer = "127.0.0.1:%d: " % there.nfc_port

    def stall(at):
        def hook(label, data, session):
            if label == at:
                raise host.Stall()
            return data
        return hook

    settings = "vixDiskLib.nfc.RequestTimeoutMs = 1000\nvixDiskLib.nfc.ReadTimeoutMs = 1000\n"
    with Driven(place, settings) as client:
        client.connect(read_only=1)
        for at in ("banner", "aio 4"):
            there.hook = stall(at)
            with Deadline(20):
                code, _ = client.do("open", DISK, READ_ONLY)
            text = client.do("sentence")[1]
            assert code in (CANNOT_CONNECT, CONN_LOST, HANDSHAKE, 14010) and text.startswith(peer), (code, text)
            assert re.search("1000 ms|time", text), text
        there.hook = None
        client.want(OK, "open", DISK, READ_ONLY)
        there.hook = stall("io read")
        with Deadline(60):
            code, _ = client.do("read", 0, 8)
        assert code == CONN_LOST, (code, client.do("sentence"))
        there.hook = None
        assert client.read_all(SIZE) == place.data  # the host is well again
        client.want(OK, "close")


def hosts_slow_to_write(place):
    there = place.host
    slow = {"io write", "aio 5"}

    def hook(label, data, session):
        if label in slow:
            time.sleep(1.8)
        return data

    settings = "vixDiskLib.nfc.ReadTimeoutMs = 1000\nvixDiskLib.nfc.WriteTimeoutMs = %d\n"
    piece = os.urandom(2048 * SECTOR)
    place.write("piece", piece)
    for write_ms, code in ((20000, OK), (1200, CONN_LOST)):
        with Driven(place, settings % write_ms) as client:
            client.connect()
            client.want(OK, "open", DISK, 0)
            there.hook = hook
            with Deadline(10):
                client.want(code, "write", 0, 2048, place.path("piece"))
                if code != OK:
                    assert "1200 ms" in client.do("sentence")[1], client.do("sentence")
                client.do("close")
            there.hook = None
        if code == OK:
            assert there.nfc_logs()[-1][-1] == ("end",), there.nfc_logs()[-1][-3:]
            assert place.read("store/vm1/disk-flat.vmdk")[:MIB] == piece
    place.fill()


def little_memory(place):
    place.host.memory = 131072
    with Driven(place) as client:
        client.connect(read_only=1)
        client.want(OK, "open", DISK, READ_ONLY)
        assert client.read_all(SIZE) == place.data
        said = [line for line in client.messages() if "memory" in line.lower()]
        assert len(said) == 1, said
        client.want(OK, "close")
        place.host.memory = 100
        client.want(OK, "open", DISK, READ_ONLY)
        client.refused(OUT_OF_MEMORY, "read", 0, 2048, begins="127.0.0.1:%d: " % place.host.nfc_port)


# ---- lost connections ----

def cut_after(place, requests):
    """The next connections are cut once they have answered so many requests, the first of them."""
    state = {"left": 1}

    def hook(label, data, session):
        if label == "request" and data >= requests and state["left"]:
            state["left"] -= 1
            session.wire.close()
            raise nfc.Cut()
        return data
    place.host.hook = hook


def reading_goes_on(place, piece):
    with Driven(place, "vixdisk.nfc.requestKiB = 64\n") as client:
        client.connect(read_only=1)
        client.want(OK, "open", DISK, READ_ONLY)
        cut_after(place, 9)
        assert client.read_all(SIZE, piece) == place.data
        assert len(place.host.nfc_logs()) == 2
        assert any("connected again" in line for line in client.messages()), client.messages()
        assert not client.warnings(), client.warnings()
        client.want(OK, "close")


def session_expires(place, keeps_back):
    """keeps_back: the server says so in an answer without properties, else by a fault."""
    place.host.keeps_back = keeps_back
    with Driven(place) as client:
        client.connect(read_only=1)
        place.host.cookies.clear()
        client.want(OK, "open", DISK, READ_ONLY)  # logs in again, once
        cut_after(place, 2)
        place.host.cookies.clear()
        assert client.read_all(SIZE, 64) == place.data
        logins = [entry for entry in place.host.transcript if entry[:2] == ("soap", "Login")]
        assert len(logins) == 3, logins
        client.want(OK, "close")
        place.host.cookies.clear()
        place.host.password, kept = "changed", place.host.password
        code, _ = client.do("open", DISK, READ_ONLY)
        assert code in (3047, HOST_USER_PERMISSIONS), code
        place.host.password = kept
        client.want(OK, "disconnect")
    with Driven(place) as owner, Driven(place) as client:
        owner.connect()
        place.write("cookie", next(iter(place.host.cookies)) + "\n")
        client.connect(user="cookie", password="cookie", read_only=1)
        place.host.cookies.clear()
        client.refused(3047, "open", DISK, READ_ONLY, sentence="NotAuthenticated: .*: the session has ended")


def changed_meanwhile(place, how):
    """A disk whose connection is lost, and that others change before it is connected again."""
    there = place.host

    def change():
        if how == "bytes":
            there.content_id = "89abcdef"
            there.make_inventory()
        else:
            with open(place.flat, "ab") as file:
                file.write(bytes(MIB))

    def hook(label, data, session):
        if label == "request" and data >= 9:
            there.hook = None
            change()
            session.wire.close()
            raise nfc.Cut()
        return data

    try:
        with Driven(place, "vixdisk.nfc.requestKiB = 64\n") as client:
            client.connect(read_only=1)
            client.want(OK, "open", DISK, READ_ONLY)
            client.want(OK, "read", 0, 8)
            there.hook = hook
            code = CID_MISMATCH if how == "bytes" else CAPACITY_MISMATCH
            with Deadline(10):
                client.want(code, "async", 0, SIZE // SECTOR, 64)
                client.refused(code, "read", SIZE // SECTOR - 64, 8, begins="127.0.0.1:%d: " % there.nfc_port,
                               sentence="the disk was changed while the connection was lost")
            client.want(OK, "close")
            client.want(OK, "open", DISK, READ_ONLY)  # another one
            client.want(OK, "read", 0, 8)
            client.want(OK, "close")
    finally:
        place.fill()
        there.content_id = "01234567"
        there.make_inventory()


def writing_fails(place):
    place.fill()
    with Driven(place, "vixdisk.nfc.requestKiB = 64\n") as client:
        client.connect()
        client.want(OK, "open", DISK, 0)
        cut_after(place, 3)
        place.write("piece", os.urandom(MIB))
        client.refused(CONN_LOST, "write", 0, 2048, place.path("piece"), begins="127.0.0.1:%d: " % place.host.nfc_port)
        for again in range(2):
            with Deadline(5):
                client.want(CONN_LOST, "write", 0, 1, place.path("piece"))
        client.want(CONN_LOST, "flush")
        with Deadline(20):
            client.do("close")
        place.fill()
        client.want(OK, "open", DISK, 0)
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")


def secrets(place):
    tail = place.host.password[-7:].encode()
    with Driven(place) as client:
        client.connect(transports="nbdssl")
        client.want(OK, "open", DISK, 0)
        client.read_all(MIB)
        tickets = [ticket.encode() for ticket in place.host.tickets]
        client.want(OK, "close")
        client.want(OK, "disconnect")
        found = client.memory_has(tail, *tickets)
        assert not found, found
        log = "\n".join(client.messages()).encode()
        assert tail not in log and not any(ticket in log for ticket in tickets)


# ---- copies ----

def make_local(place, name, type, data):
    place.write("local.raw", data)
    subprocess.run([vixdisk, "convert", "-f", "raw", "-t", type, place.path("local.raw"), place.path(name)], check=True)


def raw_of(place, name):
    out = place.path("raw-of")
    if os.path.exists(out):
        os.unlink(out)
    subprocess.run([vixdisk, "convert", "-t", "raw", place.path(name), out], check=True)
    return place.read("raw-of")


def clones(place):
    data = sample(3 * MIB, 77)
    make_local(place, "a.vmdk", "monolithicSparse", data)
    with Driven(place) as client:
        client.connect()
        target = "[store] copies/a.vmdk"
        for type, word in ((7, "thin"), (5, "preallocated"), (1, "preallocated"), ("-", "thin")):
            client.want(OK, "clone", target, place.path("a.vmdk"), type, 0, "to")
            assert place.flat_of("copies/a-flat.vmdk") == data and place.host.created[-1] == (word, "lsiLogic"), word
            client.refused(FILE_ALREADY_EXISTS, "clone", target, place.path("a.vmdk"), type, 0, "to")
            client.want(OK, "clone", target, place.path("a.vmdk"), type, 1, "to")
            assert place.flat_of("copies/a-flat.vmdk") == data
            client.want(OK, "unlink", target)
        for number, type in enumerate((1, 2, 3, 4)):
            name = place.path("back%d.vmdk" % number)
            client.want(OK, "clone", name, DISK, type, 0, "from")
            assert raw_of(place, "back%d.vmdk" % number) == place.data
        client.want(OK, "clone", "[store] copies/within.vmdk", DISK, 7, 0, "within")
        assert place.flat_of("copies/within-flat.vmdk") == place.data
        client.want(INVALID_ARG, "clone", DISK, DISK, 7, 1, "within")
        client.want(INVALID_ARG, "clone", "plain.vmdk", place.path("a.vmdk"), 7, 0, "to")
        client.want(INVALID_ARG, "clone", place.path("b.vmdk"), "plain.vmdk", 1, 0, "from")
        client.want(FILE_NOT_FOUND, "clone", target, place.path("none.vmdk"), 7, 0, "to")
        client.want(FILE_NOT_FOUND, "clone", place.path("b.vmdk"), "[store] none.vmdk", 1, 0, "from")
        assert not os.path.exists(place.path("b.vmdk"))
        assert not os.path.exists(place.path("store/copies/a-flat.vmdk"))
        assert place.read("store/vm1/disk-flat.vmdk") == place.data


def half_made_clones(place):
    data = sample(3 * MIB, 77)
    make_local(place, "c.vmdk", "monolithicSparse", data)
    with Driven(place, "vixdisk.nfc.requestKiB = 64\n") as client:
        client.connect()
        cut_after(place, 5)
        client.want(CONN_LOST, "clone", "[store] half/c.vmdk", place.path("c.vmdk"), 7, 0, "to")
        assert not os.path.exists(place.path("store/half/c-flat.vmdk"))
        there = place.host
        cut_after(place, 5)
        client.want(OK, "clone", place.path("d.vmdk"), DISK, 1, 0, "from")  # reading goes on
        assert raw_of(place, "d.vmdk") == place.data
        there.hook = lambda label, data, session: session.wire.close() if label == "request" else data
        code, _ = client.do("clone", place.path("e.vmdk"), DISK, 1, 0, "from")
        assert code != OK
        assert not [name for name in os.listdir(place.folder) if name.startswith("e")], os.listdir(place.folder)


def overwrites(place):
    """The old disk stays until the new one is complete, whatever fails."""
    there, target = place.host, "[store] over/a.vmdk"
    old, new = sample(2 * MIB, 78), sample(3 * MIB, 79)
    make_local(place, "old.vmdk", "monolithicSparse", old)
    make_local(place, "new.vmdk", "monolithicSparse", new)

    def there_is(data):
        """The disk, and nothing beside it."""
        assert os.listdir(place.path("store/over")) == ["a-flat.vmdk"], os.listdir(place.path("store/over"))
        assert place.flat_of("over/a-flat.vmdk") == data

    def calls():
        return [entry[1].replace("VirtualDisk_Task", "") for entry in there.transcript if entry[1].endswith("Disk_Task")]

    over = ("clone", target, place.path("new.vmdk"), 7, 1, "to")
    with Driven(place, "vixdisk.nfc.requestKiB = 64\n") as client:
        client.connect()
        client.want(OK, "clone", target, place.path("old.vmdk"), 7, 1, "to")
        assert calls() == ["Create"], calls()  # there was none
        there_is(old)
        cut_after(place, 5)
        client.want(CONN_LOST, *over)
        there_is(old)
        there.hook = None
        there.refusals = {("MoveVirtualDisk_Task", None): "MethodNotFound"}
        before = len(there.nfc_logs())
        client.refused(NOT_SUPPORTED, *over, begins="the old disk is left as it is, ", sentence="MethodNotFound")
        assert len(there.nfc_logs()) == before
        there_is(old)
        there.refusals = {("DeleteVirtualDisk_Task", target): "FileLocked"}
        client.refused(FILE_ALREADY_LOCKED, *over)
        there_is(old)
        there.refusals = {("DeleteVirtualDisk_Task", target): "SystemError"}
        text = client.refused(1, *over, begins="the new disk is complete and is [store] over/a.part-",
                              sentence="SystemError")
        part = re.search(r"over/a\.part-[0-9a-f]{8}", text)[0]
        assert place.flat_of(part + "-flat.vmdk") == new and place.flat_of("over/a-flat.vmdk") == old
        client.want(OK, "unlink", "[store] %s.vmdk" % part)
        there_is(old)
        there.refusals = {("MoveVirtualDisk_Task", target): "NoDiskSpace"}
        text = client.refused(8, *over, begins="the old disk is removed; the new one is complete, ",
                              sentence="NoDiskSpace")
        part = re.search(r"over/a\.part-[0-9a-f]{8}-?", text)[0]
        assert os.listdir(place.path("store/over")) == [os.path.basename(part) + "-flat.vmdk"]
        assert place.flat_of(part + "-flat.vmdk") == new
        there.refusals = {}
        client.want(OK, "unlink", "[store] %s.vmdk" % part)
        client.want(OK, "clone", target, place.path("old.vmdk"), 7, 0, "to")
        there.transcript.clear()
        client.want(OK, *over)
        assert calls() == ["Create", "Create", "Move", "Delete", "Move"], calls()
        there_is(new)


def children(place):
    """A local child on the remote disk: reads fall through, writes go to the child."""
    data = bytearray(place.data)
    child = place.path("child.vmdk")
    piece = os.urandom(3 * SECTOR)
    place.write("piece", piece)
    with Driven(place) as client:
        client.connect()
        client.want(OK, "open", DISK, READ_ONLY)
        client.want(OK, "onto", child)
        assert client.read_all(SIZE) == place.data
        for sector in (5, 126, 3000):  # the rest of a grain comes from below
            client.want(OK, "write", sector, 3, place.path("piece"))
            data[sector * SECTOR:(sector + 3) * SECTOR] = piece
        assert client.read_all(SIZE) == bytes(data)
        assert client.read_all(SIZE, 32) == bytes(data)
        blocks = client.want(OK, "blocks", 0, SIZE // SECTOR, 128)
        assert "0+" in blocks
        client.want(OK, "disconnect")  # the child still needs its parent
        assert client.read_all(SIZE) == bytes(data)
        assert place.host.cookies
        client.want(OK, "close")
        assert not place.host.cookies
        client.connect()
        client.want(OK, "open", DISK, READ_ONLY)
        client.want(OK, "again", child)
        assert client.read_all(SIZE) == bytes(data)
        client.want(OK, "close")
        place.host.database["longContentID"] = "0123456789abcdef01234567" + "cafe0001"
        client.want(OK, "open", DISK, READ_ONLY)
        client.want(CID_MISMATCH, "again", child)
    assert place.read("store/vm1/disk-flat.vmdk") == place.data
    del place.host.database["longContentID"]


def idle(place):
    """A host that is asked for a sector from time to time while nothing else happens, and refuses it."""
    there = place.host

    def hook(label, data, session):
        if label == "io read":
            data = nfc.aio(nfc.ERROR, struct.unpack_from("<I", data, 12)[0], struct.pack("<IIII", 1, 0, 0, 2), b"no")
        return data

    with Driven(place, "vixdisk.soap.keepAliveMs = 200\n") as client:
        client.connect()
        client.want(OK, "open", DISK, 0)
        there.hook = hook
        time.sleep(1.5)
        there.hook = None
        asked = [entry for entry in there.nfc_logs()[0] if entry[:2] == ("aio", nfc.IO)]
        assert 3 <= len(asked) <= 8 and set(asked) == {("aio", nfc.IO, 44, "read", 0, SECTOR, 0)}, asked
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
    assert not client.warnings() and len(there.nfc_logs()) == 1
    assert there.nfc_logs()[0][-1] == ("end",) and not faults(place), there.nfc_logs()


def leaving(place):
    """A program that ends the library while things are open: everything is closed and logged out."""
    with Driven(place) as client:
        client.connect()
        client.want(OK, "open", DISK, READ_ONLY)
        client.want(OK, "onto", place.path("child2.vmdk"))
        client.want(OK, "disconnect")
        client.connect(transports="nbdssl")
        client.want(OK, "open", DISK, 0)
    assert not place.host.cookies
    time.sleep(0.2)
    assert all(log[-1][0] == "end" for log in place.host.nfc_logs()), place.host.nfc_logs()


TESTS = [("lists of transports, and the lines that programs read", lists_of_transports), ("what a disk tells", facts),
         ("traffic is told while disks are closed", traffic_while_closing), ("machines and snapshots", snapshots), ("what a host or server refuses", refusals),
         ("hosts that lie", hosts_that_lie), ("hosts that stall", hosts_that_stall),
         ("hosts that are slow to write", hosts_slow_to_write), ("a host with little memory", little_memory), ("a lost connection, one read", lambda p: reading_goes_on(p, None)),
         ("a lost connection, many reads", lambda p: reading_goes_on(p, 16)),
         ("a lost connection, the disk is changed", lambda p: changed_meanwhile(p, "bytes")),
         ("a lost connection, the disk grows", lambda p: changed_meanwhile(p, "size")), ("an expired session", lambda p: session_expires(p, False)),
         ("an expired session, told in the place of properties", lambda p: session_expires(p, True)),
         ("writes after a loss fail", writing_fails), ("no secret stays in memory", secrets), ("clones", clones),
         ("clones that fail leave nothing", half_made_clones), ("clones over a disk", overwrites),
         ("a local child on a remote disk", children),
         ("an idle disk", idle), ("leaving with everything open", leaving)]


def main():
    with Place(SIZE) as place:
        for release in ("6.5", "6.7", "7.0", "7.0.3", "8"):
            for transport in ("nbd", "nbdssl"):
                tap.check("reads: %s, %s" % (release, transport), reads, place, release, transport, READ_ONLY, 100)
                place.host.reset()
        for name, flag in (("none", 0), ("zlib", ZLIB), ("fastlz", FASTLZ), ("skipz", SKIPZ)):
            for transport in ("nbd", "nbdssl"):
                tap.check("one read: %s, %s" % (transport, name), reads, place, "8", transport, flag | READ_ONLY, None)
                tap.check("writes: %s, %s" % (transport, name), writes, place, transport, flag)
                place.host.reset()
        for name, test in TESTS:
            place.host.reset()
            tap.check(name, test, place)
    with Place(SIZE, vcenter=False, release="7.0.3") as place:
        tap.check("ESXi: reads", reads, place, "7.0.3", "nbdssl", READ_ONLY, 100)
        tap.check("ESXi: writes", writes, place, "nbdssl", 0)
        tap.check("ESXi: clones", clones, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
