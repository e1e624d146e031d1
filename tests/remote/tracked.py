# SPDX-License-Identifier: BSD-3-Clause
"""A machine in govmomi's simulator whose disk has change tracking: what is written to it is told by change IDs, and the
server can be made to misbehave."""
import json
import os
import subprocess
import tempfile

import simulated
from driving import *

KIB64 = 65536
UUID = "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63"


class Tracked(simulated.Simulated):
    def __init__(self, program, esx=False, vixdiskd=False, disks=1):
        self.changes = tempfile.NamedTemporaryFile("w", prefix="vixdisk-changes-", delete=False)
        self.log = {"uuid": UUID, "capacity": simulated.SIZE, "writes": [], "step": 256 * 1024, "serial": 0}
        self.tell()
        super().__init__(program, esx, vixdiskd, ("-changes", self.changes.name, "-disks", str(disks)))
        simulated.inventory(self)
        self.flats = [self.flat] + [self.flat.replace("disk1", "disk%d" % n) for n in range(2, disks + 1)]
        for n, name in enumerate(self.flats[1:], 2):
            with open(name, "wb") as file:
                file.write(sample(simulated.SIZE, n))

    def __exit__(self, *fault):
        super().__exit__(*fault)
        os.unlink(self.changes.name)

    def tell(self, **more):
        """Lets the server know; misbehaviour is counted from here on."""
        for key in ("after", "fault", "expire", "lie", "denied", "old"):
            self.log.pop(key, None)
        self.log.update(more, serial=self.log["serial"] + 1)
        with open(self.changes.name + ".new", "w") as file:
            json.dump(self.log, file)
        os.rename(self.changes.name + ".new", self.changes.name)

    def guest_writes(self, start, data, disk=0):
        """The machine writes to a disk: the areas that are told are those of 64 KiB that it touches."""
        with open(self.flats[disk], "r+b") as file:
            file.seek(start)
            file.write(data)
        first, last = start // KIB64, (start + len(data) - 1) // KIB64
        self.log["writes"].append([first * KIB64, (last - first + 1) * KIB64, disk])
        self.tell()

    def content(self, disk=0):
        with open(self.flats[disk], "rb") as file:
            return file.read()

    def id(self):
        return "%s/%d" % (self.log["uuid"], len(self.log["writes"]))

    def tool(self, *arguments, status=0, **more):
        """Runs the command; what it says on both."""
        done = subprocess.run([vixdisk, arguments[0], "--vm", "moref=" + self.moref, *map(str, arguments[1:])],
                              env=self.variables(**more), capture_output=True, text=True, cwd=self.folder, timeout=120)
        assert done.returncode == status, (arguments, done)
        return done.stdout, done.stderr

    def snapshots(self):
        machines = json.loads(self.run("ls", "--json"))["vms"]
        return [s for vm in machines if vm["moref"] == self.moref for s in vm["snapshots"]]
