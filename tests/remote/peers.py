#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The client and the host of the tests against one another: what they say of others is worth what they can do."""
import random
import sys
import tempfile

import client
import host
import nfc
import tap

MIB = 1 << 20


def make_disk(folder, data):
    import os
    os.makedirs(folder + "/store/vm1")
    with open(folder + "/store/vm1/disk.vmdk", "wb") as file:
        file.write(data)


def sample(size):
    """Data that compresses, data that does not, zeros."""
    bits = random.Random(5)
    out = bytearray(size)
    out[0:65536] = bits.randbytes(65536)
    out[131072:300000] = (b"the same again and again, nearly %d " * 6000)[:168928]
    for n in range(400000, size - 5000, 70000):
        out[n:n + 300] = bits.randbytes(30) * 10
    return bytes(out)


def codecs():
    bits = random.Random(1)
    for size in (1, 15, 16, 17, 512, 4096, 65535, 65536, 200000):
        texts = [bytes(size), bits.randbytes(size), (b"hello, world " * size)[:size],
                 b"".join(bytes([bits.randrange(3)]) * bits.randrange(1, 60) for _ in range(size // 20 + 1))[:size]]
        for text in texts:
            for kind in (nfc.ZLIB, nfc.FASTLZ, nfc.SKIPZ):
                used, packed = nfc.compress(kind, text)
                assert nfc.decompress(used, packed, len(text)) == text, (size, kind)


def session(there, data, release, secure):
    there.release = host.RELEASES[release]
    vim = client.Vim("127.0.0.1", there.soap_port)
    vim.login(there.user, there.password)
    disk = client.Nfc("127.0.0.1", there.nfc_port)
    disk.open(vim.write_ticket(there.vm, 2000), "[store] vm1/disk.vmdk", secure, True)
    assert disk.capacity == len(data)
    for kind in (nfc.NONE, nfc.ZLIB, nfc.FASTLZ, nfc.SKIPZ):
        there.shuffle = kind == nfc.ZLIB
        reads = {disk.send_read(off, 262144, kind): off for off in range(0, MIB, 262144)}
        for op_id, got in disk.receive_reads({op_id: 262144 for op_id in reads}).items():
            assert got == data[reads[op_id]:][:262144]
        disk.write(kind * 1024, data[MIB - 262144:], kind)
        assert disk.read(kind * 1024, 262144) == data[MIB - 262144:]
        disk.write(0, data[:MIB // 2])
    assert disk.allocated(65536, 0, 16) == [any(data[n * 65536:][:65536]) for n in range(16)]
    assert disk.metadata("adapterType") == "lsilogic" and disk.metadata("none") is None
    disk.finish()
    vim.logout()


def refusals(there):
    vim = client.Vim("127.0.0.1", there.soap_port)
    tap.refused(client.SoapFault, "InvalidLogin", vim.login, there.user, "wrong")
    tap.refused(client.SoapFault, "NotAuthenticated", vim.call, "CurrentTime", ("ServiceInstance", "ServiceInstance"))
    vim.login(there.user, there.password)
    ticket = vim.read_ticket(there.vm)
    disk = client.Nfc("127.0.0.1", there.nfc_port)
    tap.refused(nfc.Refused, 11, disk.open, ticket, "[store] vm1/disk.vmdk", False, True)
    again = client.Nfc("127.0.0.1", there.nfc_port)
    tap.refused(nfc.Refused, 530, again.open, ticket, "[store] vm1/disk.vmdk")
    away = client.Nfc("127.0.0.1", there.nfc_port)
    tap.refused(nfc.Refused, 2, away.open, vim.read_ticket(there.vm), "[store] ../../etc/passwd.vmdk")


def main():
    with tempfile.TemporaryDirectory() as folder:
        identity = nfc.Identity(folder, "host")
        data = sample(MIB)
        make_disk(folder, data)
        there = host.Host(folder, identity)
        tap.check("compression is undone, all three kinds", codecs)
        for release in ("6.5", "7.0.3", "8"):
            for secure in (False, True):
                tap.check("client and host agree: %s, %s" % (release, "nbdssl" if secure else "nbd"), session, there,
                          data, release, secure)
        there.plain_xsi = False
        tap.check("refusals, xsi:type declared on each element", refusals, there)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
