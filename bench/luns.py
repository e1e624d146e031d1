# SPDX-License-Identifier: BSD-3-Clause
"""Rows of disks by SAN: a folder is the machine, as in tests/remote/san.py, its LUN a file on tmpfs with a volume of VMFS 6
and a disk of 2 GiB that is thick, beside pread of its bytes there. The times are those of reads alone, without the
opening."""
import os
import sys

from attached import BYTES, reads
from data import HERE, MIB

sys.path[:0] = [os.path.join(HERE, "..", "tests", "remote"), os.path.join(HERE, "..", "tests", "lib")]
import host  # noqa: E402
import nfc  # noqa: E402
import san  # noqa: E402


class Luns:
    def __init__(self, build, data, sides):
        self.tool = os.path.join(build, "tool", "vixdisk")
        self.io = os.path.join(build, "bench", "bench_io")
        self.data, self.sides = data, sides
        self.lab = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def fill(self, v):
        source = os.open(self.data.random(), os.O_RDONLY)
        v.resident("vm1/disk.vmdk", san.descriptor("disk-flat.vmdk", BYTES // 512))
        v.blocks("vm1/disk-flat.vmdk", BYTES, san.kinds(BYTES // MIB), levels=1,
                 data_of=lambda index: os.pread(source, MIB, index * MIB))
        os.close(source)

    def start(self):
        if self.lab is not None:
            return
        self.folder = self.data.path("luns")
        os.makedirs(self.path("store/vm1"))
        self.host = host.Host(self.folder, nfc.Identity(self.folder, "host"))
        self.lab = san.Lab(self, fill=self.fill, pes=9)
        self.lab.machine(kib=BYTES // 1024)
        with open(self.path("password"), "w") as file:
            file.write(self.host.password + "\n")
        self.options = ["--host", "127.0.0.1", "--port", str(self.host.soap_port), "--user", self.host.user,
                        "--password-file", self.path("password"), "--thumbprint", self.host.identity.sha1, "--vm",
                        "moref=" + self.host.vm, "--transport", "san", "--set", "vixdisk.hostRoot=" + self.lab.root]

    def place(self):
        """Where the disk's bytes begin on the LUN; they are in one piece."""
        v = self.lab.volume
        places = v.files["vm1/disk-flat.vmdk"].places
        first = v.where(places[0])[1]
        assert all(v.where(places[i])[1] == first + i * MIB for i in places)
        return first

    def reads(self, size, depth):
        def row():
            self.start()
            return reads(self, "san", self.options, self.lab.volume.luns[0], size, depth, self.place(), BYTES)
        return row

    def rows(self):
        return {"san-read": self.reads(MIB, 1), "san-4k": self.reads(4096, 1)}
