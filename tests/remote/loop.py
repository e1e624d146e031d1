#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""SAN and HotAdd on devices of the kernel: what is an image file in san.py and hotadd.py is a loop device here, opened
past the page cache, with sectors of 512 and 4096 bytes. Takes the rights of root."""
import os
import subprocess
import sys

import tap
from driving import *
import hotadd
import san

os.environ["PATH"] += ":/usr/sbin:/sbin"
FILE_ERROR = 7  # EIO


class Loops:
    """Devices over files, all of which are given back at the end."""

    def __init__(self):
        self.nodes = []

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        for node in self.nodes:
            subprocess.run(["losetup", "-d", node], check=False)

    def over(self, file, sector=SECTOR):
        node = subprocess.run(["losetup", "--find", "--show", "--sector-size", str(sector), file], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout.strip()
        self.nodes.append(node)
        return node

    def drop(self, node):
        self.nodes.remove(node)
        subprocess.run(["losetup", "-d", node], check=True)


def why_not(place):
    """Why loop devices do not work here; None if they do."""
    if os.geteuid() != 0:
        return "loop devices take the rights of root"
    file = place.write("try.img", bytes(range(256)) * 4096)
    with Loops() as loops:
        try:
            with open(loops.over(file), "rb") as device:
                return None if device.read(MIB) == place.read("try.img") else "what a loop device reads is not its file"
        except FileNotFoundError as fault:
            return "there is no %s" % fault.filename
        except subprocess.CalledProcessError as fault:
            return "no loop device can be had: " + fault.stderr.strip()


def flags_of(client, node):
    """How the client has a device open, for each descriptor."""
    folder = "/proc/%d/" % client.process.pid
    found = []
    for number in os.listdir(folder + "fd"):
        if os.path.realpath(folder + "fd/" + number) == node:
            with open(folder + "fdinfo/" + number) as file:
                found.append(int(re.search(r"flags:\s*(\d+)", file.read())[1], 8))
    return found


# ---- SAN ----

def lab_of(place, loops, version, luns, sector):
    lab = san.Lab(place, version, luns, san.at_edge if luns > 1 else None, sector=sector)
    lab.nodes = [loops.over(image, sector) for image in lab.volume.luns]
    for name, node in zip(("sdb", "sdc"), lab.nodes):
        lab.device(name, node)
    return lab


def unaligned(lab):
    """Any sectors, in memory of any address, and past the page cache both ways."""
    place = lab.place
    with lab.client() as client:
        client.connect(transports="san")
        san.want(client.want(OK, "open", DISK, READ_ONLY), "san")
        for piece in (1, 7, 9, 2049):
            assert client.read_all(SIZE if piece > 8 else 256 * 1024, piece) == lab.data()[:SIZE if piece > 8 else 256 * 1024]
        for node in lab.nodes:
            flags = flags_of(client, node)
            assert flags and all(f & os.O_DIRECT and f & os.O_ACCMODE == os.O_RDONLY and f & os.O_CLOEXEC
                                 for f in flags), (node, flags)
        # what a host writes is there at once
        lun, at, _ = lab.volume.where(lab.volume.files["vm1/disk-flat.vmdk"].places[0])
        with open(lab.volume.luns[lun], "r+b") as file:
            file.seek(at)
            file.write(b"new" + bytes(509))
        client.want(OK, "read", 0, 1, place.path("out"))
        assert place.read("out") == b"new" + bytes(509)
        client.want(OK, "close")


def volumes(place, version, luns, sector):
    for test in (san.reads, san.writes, unaligned):
        with Loops() as loops:
            place.host.reset()
            test(lab_of(place, loops, version, luns, sector))


def paths_fail(place):
    """A path that gives errors is passed over; when all do, the code is that of the error."""
    with Loops() as loops:
        lab = lab_of(place, loops, 6, 1, SECTOR)
        dead_file = place.write("dead.img", bytes(64 * MIB))
        dead = loops.over(dead_file)
        os.truncate(dead_file, 0)
        name = lab.names[0]
        lab.device("sdb", dead)
        lab.device("sdc", lab.nodes[0], {"device/wwid": name})
        with lab.client() as client:
            client.connect(transports="san")
            san.want(client.want(OK, "open", DISK, READ_ONLY), "san")
            assert any("is /dev/sdc" in line for line in client.messages()), client.messages()
            assert any("not by /dev/sdb: " in line for line in client.messages()), client.messages()
            assert client.read_all(SIZE) == lab.data()
            os.truncate(lab.volume.luns[0], 20 * MIB)  # and now the last one fails under an open disk
            client.refused(FILE_ERROR, "read", 0, 2048, sentence="Input/output error", begins="")
            client.want(OK, "close")
            client.refused(FILE_ERROR, "open", DISK, READ_ONLY, sentence="Input/output error")
    os.unlink(dead_file)


def cached(place):
    """Devices that take no unbuffered access: read through a page cache that was emptied first, with a warning; not
    written."""
    with Loops() as loops:
        lab = lab_of(place, loops, 6, 2, SECTOR)
        lab.machine(now=(san.CHILD, DISK))
        rules = ["direct %s 0 0 22" % node for node in lab.nodes]
        with lab.client(faults=rules) as client:
            client.connect(transports="san")
            san.want(client.want(OK, "open", DISK, READ_ONLY), "san")
            san.want(sorted(client.met("BLKFLSBUF")), sorted(lab.nodes))
            san.want([line for node in ("sdb", "sdc") for line in client.warnings()
                      if "/dev/%s takes no unbuffered access" % node in line], client.warnings())
            san.want(len(client.warnings()), 2)
            assert client.read_all(SIZE) == lab.data()
            assert client.read_all(SIZE, 7) == lab.data()
            client.want(OK, "close")
        # what is in the cache when a disk is opened is not read
        lun, at, _ = lab.volume.where(lab.volume.files[san.FLAT].places[0])
        with open(lab.nodes[lun], "rb") as device:
            device.seek(at)
            old = device.read(SECTOR)
            with open(lab.volume.luns[lun], "r+b") as file:
                os.pwrite(file.fileno(), b"new" + bytes(509), at)
            device.seek(at)
            with lab.client(faults=rules) as client:
                client.connect(transports="san")
                san.want(client.want(OK, "open", DISK, READ_ONLY), "san")
                client.want(OK, "read", 0, 1, place.path("out"))
                assert place.read("out") == b"new" + bytes(509) != old
                client.want(OK, "close")
        san.passed_over(lab, FILE_READ_ONLY, 0, faults=rules[:1], why="takes no unbuffered access")


# ---- HotAdd ----

def attach_loops(place, loops):
    """Disks appear as loop devices from now on."""
    make, unplug = place.machine.make, place.machine.unplug
    there = []

    def make_loop(address, name, file, size, id):
        there.append(loops.over(file))
        make(address, name, there[-1], size, id)

    def unplug_loop(bus, unit):
        told = unplug(bus, unit)
        while there:
            loops.drop(there.pop())
        return told

    place.machine.make, place.machine.unplug = make_loop, unplug_loop
    return there


def attached(place, test):
    with Loops() as loops:
        place.begin()
        attach_loops(place, loops)
        test(place)
        assert not loops.nodes


def claimed(place):
    """The device is the library's alone while the disk is open; one that somebody holds is not taken."""
    with Loops() as loops:
        place.begin()
        there = attach_loops(place, loops)
        with place.client() as client:
            hotadd.attached(place, client)
            node, = there
            assert all(f & os.O_DIRECT for f in flags_of(client, node)), flags_of(client, node)
            try:
                os.close(os.open(node, os.O_RDONLY | os.O_EXCL))
            except OSError as fault:
                assert fault.errno == 16, fault
            else:
                raise AssertionError("the device can be held by others")
            client.want(OK, "close")
        place.nothing_left()
        place.begin()
        there = attach_loops(place, loops)
        plug, held = place.machine.plug, []

        def plug_and_hold(*where):
            plug(*where)
            held.append(os.open(there[-1], os.O_RDONLY | os.O_EXCL))

        unplug = place.machine.unplug

        def let_go_and_unplug(*where):
            while held:
                os.close(held.pop())
            return unplug(*where)

        place.machine.plug, place.machine.unplug = plug_and_hold, let_go_and_unplug
        hotadd.passed_over(place, FILE_ALREADY_LOCKED, "busy|use")
    place.after()


SIZE = san.SIZE


def main():
    with Place(SIZE) as place:
        why = why_not(place)
        if why:
            tap.skip("SAN and HotAdd on loop devices", why)
            tap.end()
        for version, luns, sector in ((3, 1, 512), (5, 2, 512), (6, 2, 512), (6, 1, 4096)):
            tap.check("VMFS %d on %d loop devices with sectors of %d" % (version, luns, sector), volumes, place, version,
                      luns, sector)
        place.host.reset()
        tap.check("paths that fail", paths_fail, place)
        place.host.reset()
        tap.check("devices that take no unbuffered access", cached, place)
    with hotadd.Here() as place:
        tap.check("hotadd of a loop device: reads", attached, place, hotadd.reads)
        tap.check("hotadd of a loop device: writes", attached, place, hotadd.writes)
        tap.check("hotadd holds its device", claimed, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
