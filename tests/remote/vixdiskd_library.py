#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library's disks on vixdiskd, both ends our own: what other hosts cannot do, and limits of the host."""
import contextlib
import os
import subprocess
import tempfile
import time
import types

import diskhost
import tap
from driving import *

SIZE = 4 * MIB
DISK = "[datastore1] vm1/vm1.vmdk"


class Lab:
    """A host with one machine of some disks, as driving wants its place to be."""

    def __init__(self, limits=""):
        self.host = diskhost.DiskHost("login-delay-ms = 0\n" + limits)
        self.folder = tempfile.mkdtemp(dir=self.host.folder)
        for name in ("vm1", "shared", "dirty", "first", "second", "lost"):
            file = self.host.at("vm1", name + ".vmdk")
            subprocess.run(["/usr/bin/qemu-img", "create", "-q", "-f", "vmdk", file, str(SIZE)], check=True)
        self.host.start()
        vim = self.host.login()
        self.host.vm = vim.find_vm("[datastore1] vm1/vm1.vmx")
        vim.close()
        self.host.soap_port, self.host.user = self.host.port, "vixdisk"
        self.host.identity = types.SimpleNamespace(sha1=self.host.thumbprint)
        self.write("password", self.host.password)

    path, write, read = Place.path, Place.write, Place.read


def metadata(lab):
    """Empty values, missing keys, and any case, as of a local disk."""
    with Driven(lab) as client:
        client.connect()
        client.want(OK, "open", DISK, 0)
        client.want(OK, "set", "test.empty", "")
        assert client.want(OK, "get", "test.empty") == "" and client.want(OK, "get", "Test.Empty") == ""
        client.want(KEY_NOTFOUND, "get", "test.empt")
        client.want(KEY_NOTFOUND, "get", "test.empty2")
        client.want(OK, "set", "test.empty", "no more")
        assert client.want(OK, "get", "test.empty") == "no more"
        client.want(OK, "set", "test.empty", "")
        client.want(OK, "close")
        client.want(OK, "open", DISK, READ_ONLY)
        assert client.want(OK, "get", "test.empty") == "" and "test.empty" in client.want(OK, "keys").split()
        client.want(KEY_NOTFOUND, "get", "no.such.key")
        client.want(OK, "close")
    with open(lab.host.at("vm1", "vm1.vmdk"), "rb") as file:
        assert b'ddb.test.empty = ""' in file.read(65536)


def idle_disks(lab):
    """On which nothing happens for longer than the host bears: of clients that keep their connections alive, and of some
    that do so too rarely."""
    piece = os.urandom(SECTOR)
    lab.write("piece", piece)
    often, rarely = "vixdisk.soap.keepAliveMs = 500\n", ""

    def write(client, sector):
        return client.do("write", sector, 1, lab.path("piece"))[0]

    with contextlib.ExitStack() as stack:
        def client(settings, transports, flags, *names):
            made = stack.enter_context(Driven(lab, settings))
            made.connect(transports=transports, read_only=int(flags == READ_ONLY))
            for name in names:
                made.want(OK, "open", "[datastore1] vm1/%s.vmdk" % name, flags)
            return made

        reader = client(often, "nbd", READ_ONLY, "shared")
        silent_reader = client(rarely, "nbd", READ_ONLY, "shared")
        writer = client(often, "nbd", 0, "vm1")
        dirty = client(often, "nbdssl", 0, "dirty")
        two = client(often, "nbd", 0, "first", "second")
        silent_writer = client(rarely, "nbdssl", 0, "lost")
        assert write(dirty, 7) == OK and write(silent_writer, 7) == OK
        time.sleep(3.5)
        for kept in (reader, writer, dirty, two):
            kept.want(OK, "read", 0, 1)
        assert write(writer, 9) == OK and write(dirty, 9) == OK and write(two, 9) == OK
        dirty.want(OK, "flush")
        two.want(OK, "close")
        for kept in (reader, writer, dirty, two):  # what two has open still is closed with the library
            assert not [line for line in kept.messages() if "again" in line], kept.messages()
        silent_reader.want(OK, "read", 0, 1)
        assert any("connected again" in line for line in silent_reader.messages())
        assert write(silent_writer, 9) == CONN_LOST
        assert silent_writer.do("close")[0] == CONN_LOST
    ended = [line for line in lab.host.log().splitlines() if "time-out" in line]
    assert len(ended) == 2, ended
    for name, sectors in (("vm1", (9,)), ("dirty", (7, 9)), ("second", (9,)), ("lost", (7,)), ("first", ())):
        raw = lab.path("raw")
        subprocess.run(["/usr/bin/qemu-img", "convert", "-O", "raw", lab.host.at("vm1", name + ".vmdk"), raw], check=True)
        data = lab.read("raw")
        assert [n for n in range(SIZE // SECTOR) if any(data[n * SECTOR:(n + 1) * SECTOR])] == list(sectors), name
        assert all(data[n * SECTOR:(n + 1) * SECTOR] == piece for n in sectors), name


lab = Lab("idle-seconds = 2\n")
tap.check("an empty value of the disk database is no missing key", metadata, lab)
tap.check("an idle disk stays open", idle_disks, lab)
lab.host.stop()
tap.end()
