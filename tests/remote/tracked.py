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
    def __init__(self, program, esx=False, vixdiskd=False):
        self.changes = tempfile.NamedTemporaryFile("w", prefix="vixdisk-changes-", delete=False)
        self.log = {"uuid": UUID, "capacity": simulated.SIZE, "writes": [], "step": 256 * 1024, "serial": 0}
        self.tell()
        super().__init__(program, esx, vixdiskd, ("-changes", self.changes.name))
        simulated.inventory(self)

    def __exit__(self, *fault):
        super().__exit__(*fault)
        os.unlink(self.changes.name)

    def tell(self, **more):
        """Lets the server know; misbehaviour is counted from here on."""
        for key in ("after", "fault", "expire", "lie"):
            self.log.pop(key, None)
        self.log.update(more, serial=self.log["serial"] + 1)
        with open(self.changes.name + ".new", "w") as file:
            json.dump(self.log, file)
        os.rename(self.changes.name + ".new", self.changes.name)

    def guest_writes(self, start, data):
        """The machine writes to its disk: the areas that are told are those of 64 KiB that it touches."""
        with open(self.flat, "r+b") as file:
            file.seek(start)
            file.write(data)
        first, last = start // KIB64, (start + len(data) - 1) // KIB64
        self.log["writes"].append([first * KIB64, (last - first + 1) * KIB64])
        self.tell()

    def content(self):
        with open(self.flat, "rb") as file:
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
