#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library's disks on vixdiskd, both ends our own: what other hosts cannot do, and limits of the host."""
import os
import subprocess
import tempfile
import types

import diskhost
import tap
from driving import *

SIZE = 4 * MIB
DISK = "[datastore1] vm1/vm1.vmdk"


class Lab:
    """A host with one machine of one disk, as driving wants its place to be."""

    def __init__(self, limits=""):
        self.host = diskhost.DiskHost("login-delay-ms = 0\n" + limits)
        self.folder = tempfile.mkdtemp(dir=self.host.folder)
        self.file = self.host.at("vm1", "vm1.vmdk")
        subprocess.run(["/usr/bin/qemu-img", "create", "-q", "-f", "vmdk", self.file, str(SIZE)], check=True)
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
    with open(lab.file, "rb") as file:
        assert b'ddb.test.empty = ""' in file.read(65536)


lab = Lab()
tap.check("an empty value of the disk database is no missing key", metadata, lab)
lab.host.stop()
tap.end()
