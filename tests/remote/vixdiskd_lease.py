#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Both ends of a lease: vixdiskd serves volumes of VMFS, the library reads and writes their disks by SAN; what it reads is
what the builder of the volume has put there, and what NFC gives."""
import json
import os
import sys
import types

import client
import diskhost
import tap
from driving import *
from san import NAA, bytes_of, descriptor, kinds, put_bytes, want
from vmfs_image import FS_UUID_TEXT, Volume

SIZE = 6 * MIB - 1536
FLAT = "vm1/disk-flat.vmdk"
LEASE = "vixdisk.san.lease=1"
CONNECTION_LOST = 36


class Lab:
    """vixdiskd with the datastore store, and a machine of folders that sees its LUNs."""

    def __init__(self, version, luns, more):
        self.host = diskhost.DiskHost("lease-seconds = 3\nlogin-delay-ms = 0\n")
        self.folder = self.host.folder
        self.volume = Volume(self.folder, version, luns=luns, pes=3)
        with self.volume as v:
            v.folder("vm1")
            v.folder("nothing")
            v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk", SIZE // SECTOR))
            v.blocks(FLAT, SIZE, kinds(6, **more), at=2 * 256 - 2)
            v.resident("vm1/tiny.vmdk", descriptor("tiny-flat.vmdk", 1))
            v.resident("vm1/tiny-flat.vmdk", b"\x11" * 512)
        lines = ["writable = yes"]
        for i, path in enumerate(self.volume.luns):
            lines.append("lun = %s %s" % (NAA % i, path))
            os.makedirs(self.path("machine/sys/block/sd%d/device" % i))
            os.makedirs(self.path("machine/dev"), exist_ok=True)
            self.write("machine/sys/block/sd%d/device/wwid" % i, NAA % i)
            os.symlink(path, self.path("machine/dev/sd%d" % i))
        self.host.add("[datastore store]\n" + "\n".join(lines) + "\n[datastore reader]\n" + "\n".join(
            line for line in lines if "lun" in line))
        self.host.start()
        self.vim = self.host.login()
        self.vm = self.vim.find_vm("[store] vm1/vm1.vmx")
        self.write("password", self.host.password)
        # as driving wants its place to be
        self.host.soap_port, self.host.user, self.host.vm = self.host.port, "vixdisk", self.vm
        self.host.identity = types.SimpleNamespace(sha1=self.host.thumbprint)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def client(self, settings=LEASE):
        return Driven(self, "vixdisk.hostRoot=%s\n%s\n" % (self.path("machine"), settings))

    def data(self):
        return self.volume.files[FLAT].expect(0, SIZE)


def reads(lab):
    """By NFC, by the volume, and with a lease: the same bytes."""
    for transports, settings, said in (("nbdssl", "", ""), ("san", "", ", by the volume, for reading"),
                                       ("san", LEASE, ", by the volume and a lease, for reading")):
        with lab.client(settings) as driven:
            driven.connect(transports=transports)
            want(driven.want(OK, "open", DISK, READ_ONLY), transports)
            assert driven.read_all(SIZE) == lab.data()
            log = "\n".join(driven.messages())
            assert said in log, log
            want("lease and volume agree" in log, settings == LEASE)
            driven.want(OK, "close")


def alone(lab):
    """The client's reader fails at a descriptor that its copy of the LUN lacks; the host reads its own."""
    v = lab.volume
    for i, path in enumerate(v.luns):
        node = lab.path("machine/dev/sd%d" % i)
        os.unlink(node)
        subprocess.run(["cp", "--sparse=always", path, node], check=True)
    lun, at, _ = v.where(v.files[FLAT].inode + 4)
    with open(lab.path("machine/dev/sd%d" % lun), "r+b") as file:
        file.seek(at)
        file.write(b"\1")
    with lab.client() as driven:
        driven.connect(transports="san")
        want(driven.want(OK, "open", DISK, READ_ONLY), "san")
        assert driven.read_all(SIZE) == lab.data()
        assert driven.read_all(SIZE, 100) == lab.data()
        assert ", by the lease, for reading" in "\n".join(driven.messages())
        driven.want(OK, "close")
    for i, path in enumerate(v.luns):
        os.unlink(lab.path("machine/dev/sd%d" % i))
        os.symlink(path, lab.path("machine/dev/sd%d" % i))


def held(lab):
    """Longer than the host gives it for; and no longer when the host has no more of it."""
    with lab.client() as driven:
        driven.connect(transports="san")
        driven.want(OK, "open", DISK, READ_ONLY)
        time.sleep(4)
        assert driven.read_all(SIZE) == lab.data()
        assert "lease is not renewed" not in "\n".join(driven.messages())
        lab.host.stop()
        end = time.monotonic() + 20
        while driven.do("read", 0, 8)[0] != CONNECTION_LOST:
            assert time.monotonic() < end
            time.sleep(0.1)
        driven.want(OK, "close")
    lab.host.start()
    lab.host.soap_port = lab.host.port
    lab.vim = lab.host.login()


def writes(lab):
    v, f = lab.volume, lab.volume.files[FLAT]
    before = [bytes_of(path) for path in v.luns]
    piece = os.urandom(3 * MIB)
    data = bytearray(lab.data())
    data[512:512 + len(piece)] = piece
    with lab.client() as driven:
        driven.connect(transports="san")
        want(driven.want(OK, "open", DISK, 0), "san")
        assert ", by the volume and a lease, for writing" in "\n".join(driven.messages())
        driven.want(OK, "write", 1, len(piece) // SECTOR, lab.write("piece", piece))
        driven.want(OK, "close")
        driven.want(OK, "disconnect")
        driven.connect(transports="nbdssl")
        want(driven.want(OK, "open", DISK, READ_ONLY), "nbdssl")
        assert driven.read_all(SIZE) == bytes(data)
        driven.want(OK, "close")
    for off in range(512, 512 + len(piece), SECTOR):
        lun, at, _ = v.where(f.places[off // MIB] + off % MIB)
        put_bytes(before[lun], at, data[off:off + SECTOR])
    want([bytes_of(path) for path in v.luns] == before, True)


def fnv(seed, *words):
    """FNV-1a, as change IDs of folders have their first half of it."""
    number = 14695981039346656037 + seed
    for word in words:
        for byte in word.encode() + b"\xff":
            number = (number ^ byte) * 1099511628211 % 2**64
    return number


def untracked(lab):
    """What is written by SAN leaves no trace that a change ID could go by: a copy is made whole each time, and right."""
    vim = lab.vim
    told = vim.properties("VirtualMachine", lab.vm, "config.hardware.device", "config.changeTrackingEnabled",
                          "capability.changeTrackingSupported")
    want(texts(told["config.hardware.device"], "changeId"), [])
    want([told[name].text for name in ("config.changeTrackingEnabled", "capability.changeTrackingSupported")],
         ["false", "false"])
    key = vim.disks(lab.vm)[DISK]

    def changes(since):
        return vim.call("QueryChangedDiskAreas", ("VirtualMachine", lab.vm), "<deviceKey>%d</deviceKey><startOffset>0"
                        "</startOffset><changeId>%s</changeId>" % (key, since))

    want(texts(changes("*"), "length")[0], str(SIZE))
    cid = texts(told["config.hardware.device"], "contentId")[0]
    base = "-".join(fnv(half, "store", "/vm1/disk.vmdk").to_bytes(8, "big").hex(" ") for half in (0, 1))
    tap.refused(client.SoapFault, "InvalidArgument", changes, "%s/%d" % (base, int(cid, 16)))

    def copied():
        told = subprocess.run(
            [os.environ["VIXDISK"], "sync", "--json", "--snapshot", "none", "--host", "127.0.0.1", "--port", str(lab.host.port),
             "--nfc-port", str(lab.host.nfc_port), "--user", "vixdisk", "--password-file", lab.path("password"),
             "--thumbprint", lab.host.thumbprint, "--transport", "nbdssl", "--vm", "moref=" + lab.vm, DISK,
             lab.path("copy.img")], check=True, capture_output=True, text=True)
        return json.loads(told.stdout)["mode"], lab.read("copy.img")

    want(copied(), ("full", lab.data()))
    data, piece = bytearray(lab.data()), os.urandom(64 * 1024)
    data[MIB:MIB + len(piece)] = piece
    with lab.client() as driven:
        driven.connect(transports="san")
        want(driven.want(OK, "open", DISK, 0), "san")
        driven.want(OK, "write", MIB // SECTOR, len(piece) // SECTOR, lab.write("piece", piece))
        driven.want(OK, "close")
    mode, copy = copied()
    want((mode, copy == bytes(data)), ("full", True))


def unwritten(lab):
    """NFC changes nothing on a volume: not a descriptor, and so not a disk."""
    before = [bytes_of(path) for path in lab.volume.luns]
    lab.write("piece", b"\x33" * MIB)
    with lab.client() as driven:
        driven.connect(transports="nbdssl")
        if driven.do("open", DISK, 0)[0] == OK:
            assert driven.do("write", 0, 8, lab.path("piece"))[0] != OK
            driven.do("close")
        assert driven.do("create", "[store] vm1/new.vmdk", 2048, 3)[0] != OK
        assert driven.do("unlink", DISK)[0] != OK
        assert driven.do("grow", DISK, 1 << 20)[0] != OK
    want([bytes_of(path) for path in lab.volume.luns] == before, True)


def inner(snapshot, path=DISK, read_only="true"):
    return ('<snapshot type="VirtualMachineSnapshot">%s</snapshot><diskPath>%s</diskPath><readOnly>%s</readOnly>'
            % (snapshot, path, read_only))


def region(start, length):
    return "<mapStart>%s</mapStart><mapLength>%s</mapLength>" % (start, length)


def texts(answer, name):
    return [node.text for node in answer.iter() if client.local(node.tag) == name]


def calls(lab):
    """Each call and its faults, by a client that knows nothing of the library; and the map that the builder knows."""
    vim, manager = lab.vim, ("HostDiskManager", "ha-host-disk-manager")
    snapshot = lab.vm.replace("vm-", "snapshot-")

    def refused(kind, *arguments, by=vim):
        tap.refused(client.SoapFault, kind, by.call, *arguments)

    content = vim.call("RetrieveInternalContent", ("ServiceInstance", "ServiceInstance"))
    want(texts(content, "diskManager"), [manager[1]])
    refused("ManagedObjectNotFound", "AcquireLeaseExt", manager, inner("snapshot-1"))
    refused("ManagedObjectNotFound", "AcquireLeaseExt", manager, inner(lab.vm))
    refused("InvalidArgument", "AcquireLeaseExt", manager, inner(snapshot, "vm1/disk.vmdk"))
    refused("Lease", "AcquireLeaseExt", manager, inner(snapshot, "[store] vm1/none.vmdk"))
    refused("Lease", "AcquireLeaseExt", manager, inner(snapshot, "[reader] vm1/disk.vmdk"))
    refused("InvalidDiskFormat", "AcquireLeaseExt", manager, inner(snapshot, "[store] vm1/tiny.vmdk"))
    refused("ManagedObjectNotFound", "AcquireLeaseExt", ("HostDiskManager", "other"), inner(snapshot))
    reader = lab.vim.find_vm("[reader] vm1/vm1.vmx").replace("vm-", "snapshot-")
    refused("NoPermission", "AcquireLeaseExt", manager, inner(reader, "[reader] vm1/disk.vmdk", "false"))
    for method in ("LeaseAllocateBlocks", "LeaseClearLazyZero"):
        refused("MethodNotFound", method, ("HostDiskManagerLease", "lease-1"))
    answer = vim.call("AcquireLeaseExt", manager, inner(snapshot))
    want((texts(answer, "size"), texts(answer, "granularity"), texts(answer, "leaseTimeout")),
         (["6"], [str(MIB)], ["3"]))
    lease = ("HostDiskManagerLease", texts(answer, "lease")[0])
    answer = vim.call("LeaseMapDiskRegion", lease, region(0, 6))
    got = {}
    for at, physical, length, lazy in zip(*(texts(answer, name) for name in (
            "logicalStart", "physicalStart", "length", "lazyZero"))):
        for i in range(int(length)):
            got[int(at) + i] = (int(physical) + i, lazy)
    f = lab.volume.files[FLAT]
    want(got, {i: (off // MIB, str(f.kinds[i] == "zeroed").lower()) for i, off in f.places.items()})
    want(texts(answer, "element"), [FS_UUID_TEXT])
    for start, length in ((0, 0), (0, 7), (6, 1), (1 << 60, 1), (1, (1 << 64) - 1)):
        refused("OutOfBounds", "LeaseMapDiskRegion", lease, region(start, length))
    refused("InvalidArgument", "LeaseMapDiskRegion", lease, region(-1, 1))
    stranger = lab.host.login()
    for method, arguments in (("LeaseMapDiskRegion", region(0, 1)), ("RenewLease", ""), ("ReleaseLease", "")):
        refused("ManagedObjectNotFound", method, lease, arguments, by=stranger)
        refused("ManagedObjectNotFound", method, (lease[0], "lease-0"), arguments)
    vim.call("RenewLease", lease)
    vim.call("RenewAllLeases", manager)
    vim.call("ReleaseLease", lease)
    refused("ManagedObjectNotFound", "ReleaseLease", lease)
    refused("ManagedObjectNotFound", "RenewLease", lease)
    lease = ("HostDiskManagerLease", texts(vim.call("AcquireLeaseExt", manager, inner(snapshot)), "lease")[0])
    time.sleep(3.2)
    refused("ManagedObjectNotFound", "LeaseMapDiskRegion", lease, region(0, 1))
    refused("Timedout", "RenewAllLeases", manager)
    vim.call("RenewAllLeases", manager)


def configurations(lab):
    for lines, word in (("path = x\nlun = naa.6 y", "has no path and no LUNs, or both"), ("writable = yes", "has no path and no LUNs, or both"),
                        ("lun = naa.6", "a name and a file"), ("lun = naa.6 %s" % lab.path("no-such-file"), "no-such-file"),
                        ("lun = naa.6 %s" % lab.volume.luns[0], "on 2 LUNs")):
        with open(lab.host.config, encoding="utf-8") as file:
            text = file.read()
        broken = os.path.join(lab.host.root, "broken.conf")
        with open(broken, "w", encoding="utf-8") as file:
            file.write(text + "\n[datastore other]\n" + lines + "\n")
        said = diskhost.run("--check", "--config", broken, status=1)
        assert word in said, said


def main():
    labs = []

    def lab_of(version, luns, more):
        labs.append(Lab(version, luns, more))
        return labs[-1]

    try:
        for version, luns in ((6, 2), (5, 1)):
            name = "VMFS %d on %d LUNs: " % (version, luns)
            lab = lab_of(version, luns, {"_1": None, "_3": "zeroed"})
            tap.check(name + "the same bytes each way", reads, lab)
            tap.check(name + "the lease alone", alone, lab)
        lab = labs[0]
        tap.check("calls and faults", calls, lab)
        tap.check("a lease is held, and lost", held, lab)
        tap.check("NFC changes nothing", unwritten, lab)
        tap.check("configurations", configurations, lab)
        tap.check("a disk that is zeroed eagerly is written by SAN", writes, lab_of(6, 2, {}))
        tap.check("changes are not tracked where SAN writes", untracked, lab_of(6, 2, {}))
    finally:
        for lab in labs:
            lab.host.remove()
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
