# SPDX-License-Identifier: BSD-3-Clause
"""vixdiskd against clients that lie, stall, flood and vanish: it refuses them or ends them within its time-outs, within
its memory, and serves the next one."""
import os
import random
import socket
import struct
import time
import zlib

import client
import diskhost
import nfc
import tap

SEED = int(os.environ.get("VIXDISK_TEST_SEED", "4711"))
print("# seed %d" % SEED)
rng = random.Random(SEED)
KIB, MIB = 1024, 1024 * 1024
DISK = "[datastore1] vm1/vm1.vmdk"
ANY = (nfc.Refused, nfc.Ended, ValueError) + client.GONE
PATIENCE = 12  # seconds until a time-out of the host, and then some

host = diskhost.DiskHost("handshake-seconds = 3\nidle-seconds = 4\nwrite-seconds = 3\nconnections = 300\n"
                         "connections-per-address = 300\nmemory-mib = 512\nlogin-delay-ms = 0\n").start()
vim = host.login()
VM = vim.find_vm("[datastore1] vm1/vm1.vmx")


def soap():
    """The connection may have been idle for too long."""
    vim.close()
    return vim


def true(good, what):
    if not good:
        raise AssertionError(what)


def opened(write=True, timeout=PATIENCE):
    link = host.nfc(timeout)
    try:
        link.open(soap().write_ticket(VM, 2000) if write else soap().read_ticket(VM), DISK, write=write)
    except BaseException:
        link.close()
        raise
    return link


def opened_soon(write=True):
    """The one before may just be winding up."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return opened(write)
        except nfc.Refused:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def still_serves():
    link = opened_soon()
    data = rng.randbytes(4096)
    link.write(8 * MIB, data)
    true(link.read(8 * MIB, 4096) == data, "other bytes")
    link.finish()


def resident():
    """MiB; 0 under a sanitizer, which has its own ideas of memory."""
    with open("/proc/%d/maps" % host.process.pid, encoding="ascii", errors="replace") as file:
        if "san.so" in file.read():
            return 0
    with open("/proc/%d/status" % host.process.pid, encoding="ascii") as file:
        return int([line for line in file if line.startswith("VmRSS")][0].split()[1]) // 1024


# ---- vanishing ----

def session(ssl_data, cut_at):
    """A session that is cut off after so many bytes; how many it has."""
    ticket = soap().write_ticket(VM, 2000)
    link = host.nfc(PATIENCE)
    link.wire.cut_at = cut_at
    try:
        link.open(ticket, DISK, ssl_data, write=True)
        link.write(0, b"a" * 3 * 512, nfc.ZLIB, 512)
        link.read(0, 4096)
        link.allocated(64 * KIB, 0, 4)
        link.metadata("adapterType")
        link.finish()
    except nfc.Cut:
        pass
    except nfc.Refused as fault:
        if "lock" not in fault.text:  # of the one before
            raise
    finally:
        link.close()
    return link.wire.bytes_out


def cut_everywhere(ssl_data):
    whole = session(ssl_data, None)
    step = max(1, whole // 150)
    for at in range(rng.randrange(1, step + 1), whole, step):
        session(ssl_data, at)
    still_serves()


tap.check("nbd: a session may be cut anywhere", cut_everywhere, False)
tap.check("nbdssl: a session may be cut anywhere", cut_everywhere, True)


# ---- lies ----

def bomb():
    return zlib.compress(bytes(200 * MIB), 9)


def lies(handle):
    big = 0xFFFFFFFF
    yield "a payload of 4 GiB", struct.pack("<IIII", nfc.MAGIC, nfc.IO, big, 1)
    yield "a payload of 1 MiB", struct.pack("<IIII", nfc.MAGIC, nfc.IO, MIB, 1) + bytes(MIB)
    yield "a payload of nothing", struct.pack("<IIII", nfc.MAGIC, nfc.IO, 0, 1)
    yield "no magic", bytes(16)
    yield "an unknown message", nfc.aio(77, 1, bytes(8))
    yield "a name of 4 GiB", nfc.aio(nfc.OPEN_FILE, 1, struct.pack("<IIIIII", big, 0, 0, 0, 2, 4).ljust(60, b"\0"))
    yield "a key of 4 GiB", nfc.aio(nfc.DDB_GET, 1, struct.pack("<QII", handle, big, 0))
    yield "another handle", nfc.aio(nfc.IO, 1, nfc.io_head(handle + 1, False, 0, 0, 512, 0, 0, 0))
    yield "a read of 4 GiB", nfc.aio(nfc.IO, 1, nfc.io_head(handle, False, 0, 0, big & ~511, 0, 0, 0))
    yield "a read at the end of numbers", nfc.aio(nfc.IO, 1, nfc.io_head(handle, False, 0, 2**64 - 512, 1024, 0, 0, 0))
    yield "a read of no sectors", nfc.aio(nfc.IO, 1, nfc.io_head(handle, False, 0, 0, 0, 0, 0, 0))
    yield "a read of half a sector", nfc.aio(nfc.IO, 1, nfc.io_head(handle, False, 0, 7, 100, 0, 0, 0))
    yield "an unknown compression", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, 99, 0, 512, 0, 512, 512), bytes(512))
    yield "a fragment beyond its write", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, 0, 0, 512, 4096, 512, 512), bytes(512))
    yield "a fragment of 4 GiB", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, 0, 0, big & ~511, 0, big & ~511, big), bytes(512))
    yield "an empty fragment", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, 0, 0, 512, 0, 0, 0))
    yield "a bomb", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, nfc.ZLIB, 0, 65536, 0, 65536, len(BOMB)), BOMB)
    yield "rubbish as zlib", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, nfc.ZLIB, 0, 65536, 0, 65536, 100), bytes(100))
    yield "rubbish as FastLZ", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, nfc.FASTLZ, 0, 65536, 0, 65536, 100),
                                       rng.randbytes(100))
    yield "rubbish as skipz", nfc.aio(nfc.IO, 1, nfc.io_head(handle, True, nfc.SKIPZ, 0, 65536, 0, 65536, 100),
                                      rng.randbytes(100))
    for chunk, count in ((0, 1), (1, 1), (512, 0), (512, 2**60), (2**63, 2), (65536, 2**32)):
        yield "chunks %d %d" % (chunk, count), nfc.aio(nfc.ALLOCATED, 1, struct.pack("<QQQQQQ", handle, 0, chunk, 0, count, 0))
    yield "a disk of 2^63 bytes", nfc.aio(nfc.EXT_CREATE, 1, struct.pack("<IIIIQ", 27, 1, 1, 10, 2**63),
                                          b"[datastore1] vm1/large.vmdk")
    overlap = nfc.io_head(handle, True, 0, 0, 1024, 0, 1024, 1024)
    yield "one fragment twice", nfc.aio(nfc.IO, 1, overlap[:28] + overlap[28:], bytes(1024)) + nfc.aio(nfc.IO, 1, overlap, bytes(1024))


BOMB = bomb()


def lie(what, message):
    link = opened_soon()
    message = message(link.handle)
    try:
        link.wire.send(message)
        began = time.monotonic()
        try:
            kind, size, _ = nfc.read_head(link.wire)
            payload = link.wire.recv(size)
            if kind == nfc.ERROR:
                code, _, _, length = struct.unpack_from("<IIII", payload)
                raise nfc.Refused(code, link.wire.recv(length).decode())
            true(what == "one fragment twice", "an answer of type %d" % kind)  # a second write, as it looks
        except ANY:
            pass
        true(time.monotonic() - began < PATIENCE, "nothing for %.1f s" % (time.monotonic() - began))
    except client.GONE:
        pass  # ended while it was sent
    finally:
        link.close()


for number, (name, _) in enumerate(list(lies(0))):
    tap.check("refused or ended: " + name, lie, name,
              lambda handle, n=number: [message for _, message in lies(handle)][n])
tap.check("the next client is served after all lies", still_serves)
tap.check("no disk was made by one", lambda: true(not os.path.exists(host.at("vm1", "large.vmdk")), "large.vmdk"))


def changed_bytes():
    for _ in range(150):
        link = opened_soon()
        good = nfc.aio(nfc.IO, 5, nfc.io_head(link.handle, True, rng.choice((0, 1, 2, 3)), 4096, 2048, 0, 1024, 60),
                       rng.randbytes(60))
        good += nfc.aio(nfc.ALLOCATED, 6, struct.pack("<QQQQQQ", link.handle, 0, 65536, 0, 4, 0))
        good += nfc.aio(nfc.DDB_GET, 7, struct.pack("<QII", link.handle, 4, 0), b"uuid")
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            link.wire.send(bytes(bad))
            link.wire.sock.shutdown(socket.SHUT_WR)
            while link.wire.some(65536):
                pass
        except ANY:
            pass
        finally:
            link.close()
    still_serves()


def authd_is_not_fooled():
    for words in (b"A" * 100000, b"\r\n" * 1000, b"BANNER \r\n" * 200, b"SESSION " + b"x" * 5000 + b"\r\nPROXY nfc\r\n",
                  b"PROXY nfc\r\n", b"PROXY " + b"\0" * 20 + b"\r\n", b"THUMBPRINT_SHA2 " + b"t" * 200 + b"\r\n",
                  b"\xff\xfe\r\n", b"QUIT\r\n"):
        link = host.nfc(PATIENCE)
        link.greet()
        try:
            link.wire.send(words)
            while True:
                link.wire.some(4096)
        except ANY:
            pass
        finally:
            link.close()
    for words in (b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", rng.randbytes(1000), b"\x16\x03\x01\xff\xff" + bytes(2000)):
        sock = socket.create_connection(("127.0.0.1", host.nfc_port), PATIENCE)
        try:
            sock.sendall(words)
            while sock.recv(4096):
                pass
        except OSError as fault:
            true(not isinstance(fault, TimeoutError), "no end")
        finally:
            sock.close()
    still_serves()


tap.check("150 sessions with changed bytes", changed_bytes)
tap.check("authd ends those who do not keep to it", authd_is_not_fooled)


# ---- stalling and flooding ----

def writes_that_never_end():
    """Of many writes only the first fragment: kept within the limits, then dropped."""
    link = opened_soon()
    try:
        for op_id in range(100, 900):
            link.wire.send(nfc.aio(nfc.IO, op_id, nfc.io_head(link.handle, True, 0, op_id * 65536, 65536, 0, 512, 512),
                                   bytes(512)))
    except client.GONE:
        pass
    true(resident() < 300, "%d MiB" % resident())
    link.close()
    still_serves()


def readers_who_do_not_read():
    links = []
    for _ in range(8):
        link = opened_soon(write=False)
        link.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.wire.sock.settimeout(2)
        links.append(link)
        try:
            for _ in range(400):
                link.send_read(0, MIB)
        except client.GONE:
            pass
    true(resident() < 700, "%d MiB" % resident())
    time.sleep(4)  # write-seconds, and some
    began = time.monotonic()
    still_serves()  # writing: all of them are gone
    true(time.monotonic() - began < PATIENCE, "they hold the disk")
    for link in links:
        link.close()


def many_silent_connections():
    socks = [socket.create_connection(("127.0.0.1", host.nfc_port), PATIENCE) for _ in range(80)]
    link = opened()  # at the first try: they hold nothing that it needs
    link.write(0, bytes(4096))
    link.finish()
    for sock in socks:
        sock.close()


tap.check("writes of which the rest never comes", writes_that_never_end)
tap.check("readers who ask for gigabytes and take nothing", readers_who_do_not_read)
tap.check("80 silent connections are in nobody's way", many_silent_connections)


def changed_calls():
    good = [client.envelope("RetrievePropertiesEx", vim.content["propertyCollector"],
                            "<specSet><propSet><type>VirtualMachine</type><pathSet>config.hardware.device</pathSet></propSet>"
                            '<objectSet><obj type="VirtualMachine">%s</obj></objectSet></specSet><options/>' % VM),
            client.envelope("NfcRandomAccessOpenDisk", ("NfcService", "ha-nfc-service"),
                            client.machine(VM) + "<diskDeviceKey>2000</diskDeviceKey>"),
            client.envelope("FindByDatastorePath", vim.content["searchIndex"],
                            '<datacenter type="Datacenter">ha-datacenter</datacenter><path>%s</path>' % DISK)]
    soap()
    for _ in range(400):
        body = bytearray(rng.choice(good).encode())
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(body))
            how = rng.randrange(3)
            if how == 0:
                body[at] = rng.randrange(256)
            elif how == 1:
                del body[at:at + rng.randrange(1, 30)]
            else:
                body[at:at] = body[rng.randrange(len(body)):][:rng.randrange(1, 60)]
            body = body or bytearray(b"x")
        status, text = vim.post(bytes(body))
        true(status in (200, 500) and b"Envelope" in text, "%d %.100r" % (status, text))


tap.check("400 calls with changed bytes", changed_calls)
tap.check("the last client is served", still_serves)
tap.check("it ends in order", host.stop)
tap.end()
