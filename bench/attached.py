# SPDX-License-Identifier: BSD-3-Clause
"""Rows of disks that are attached to this machine: a folder is its /sys and /dev, as in tests/remote/hotadd.py, and the
device is a file on tmpfs, beside pread of that file. What attaching and detaching takes is not in the times."""
import os
import sys

from data import GIB, HERE, MIB
from sides import Row

sys.path.insert(0, os.path.join(HERE, "..", "tests", "remote"))
import host  # noqa: E402
import nfc  # noqa: E402
import proxy  # noqa: E402

BYTES = 2 * GIB


def reads(of, transport, options, device, size, depth, *within):
    """A row of reads of one disk, beside pread of what holds its bytes: a file, or `within` it so many from there."""
    count = BYTES // size if size >= MIB else 100000
    how = [] if size >= MIB else ["--random"]
    ours = of.sides.inner(of.tool, "bench", "read", "-q", "--json", "-s", str(size), "-c", str(count), "-d", str(depth),
                          *how, *options, "[store] vm1/disk.vmdk")
    limit = of.sides.inner(of.io, "file", device, "read", str(size), str(count), "random" if how else "sequential", "1",
                           *map(str, within))
    return Row("%s: %s, %d at once (limit: pread on 1 thread)" % (
        transport, "2 GiB read, 1M" if size >= MIB else "random 4K read", depth), ours, None, limit, at_most=1 / 0.9,
        gib=size * count / GIB)


class Attached:
    def __init__(self, build, data, sides):
        self.tool = os.path.join(build, "tool", "vixdisk")
        self.io = os.path.join(build, "bench", "bench_io")
        self.data, self.sides = data, sides
        self.host = None

    def start(self):
        if self.host is not None:
            return
        folder = self.data.path("attached")
        for name in ("store/vm1", "store/vm9", "tmp"):
            os.makedirs(os.path.join(folder, name))
        os.link(self.data.random(), os.path.join(folder, "store/vm1/disk-flat.vmdk"))
        self.host = host.Host(folder, nfc.Identity(folder, "host"))
        proxy.Proxy(self.host, proxy.Machine(os.path.join(folder, "machine")))
        with open(os.path.join(folder, "password"), "w") as file:
            file.write(self.host.password + "\n")
        self.options = ["--host", "127.0.0.1", "--port", str(self.host.soap_port), "--user", self.host.user,
                        "--password-file", os.path.join(folder, "password"), "--thumbprint", self.host.identity.sha1,
                        "--vm", "moref=" + self.host.vm, "--transport", "hotadd", "--set",
                        "vixdisk.hostRoot=" + os.path.join(folder, "machine"), "--set",
                        "tmpDirectory=" + os.path.join(folder, "tmp")]

    def reads(self, size, depth):
        def row():
            self.start()
            return reads(self, "hotadd", self.options, self.data.random(), size, depth)
        return row

    def rows(self):
        return {"hotadd-read": self.reads(MIB, 1), "hotadd-4k": self.reads(4096, 1)}
