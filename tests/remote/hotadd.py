#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Disks of a server that are attached to the machine that the library runs in: a folder is that machine's /sys and /dev,
and a host of ours attaches and detaches. After each test the disk's file is there, and unchanged where it was only read;
no call had a fileOperation; the machine's own disk was left alone."""
import errno
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import host
import proxy as proxies
import tap
from driving import *
from host_disks import string

SIZE = 4 * MIB
FAIL, OBJECT_IS_BUSY, FILE_ERROR, LICENSE = 1, 5, 7, 32
SINGLE_LINK = 1 << 1
READ_MODE = "independent_nonpersistent"


class Here(Place):
    """A place whose client runs in the machine vm-9."""

    def __init__(self, **how):
        super().__init__(SIZE, **how)
        os.makedirs(self.path("store/vm9"))
        self.write("store/vm9/boot-flat.vmdk", bytes(MIB))
        self.begin()

    def begin(self):
        self.host.reset()
        self.host.make_inventory()
        self.fill()
        self.machine = proxies.Machine(self.path("machine"))
        self.proxy = proxies.Proxy(self.host, self.machine)
        for name in glob.glob(self.path("tmp*")):
            shutil.rmtree(name)
        os.mkdir(self.path("tmp"))
        self.settings = ("vixdisk.hostRoot = %s\ntmpDirectory = %s\nvixdisk.hotadd.deviceTimeoutMs = 600\n"
                         % (self.path("machine"), self.path("tmp")))

    def records(self):
        return glob.glob(self.path("tmp/vixdisk-hotadd-*/disk-*"))

    def client(self, settings="", faults=None):
        return Driven(self, self.settings + settings, faults)

    def source(self, name, value):
        self.host.objects["VirtualMachine", self.host.vm][name] = value
        self.proxy.tell()

    def replace(self, name, old, new):
        value = self.host.objects["VirtualMachine", self.host.vm][name]
        assert old in value, (old, value)
        self.source(name, value.replace(old, new))

    def running(self):
        self.source("runtime.powerState", '<val xsi:type="VirtualMachinePowerState">poweredOn</val>')

    def nothing_left(self):
        assert self.proxy.attached() == [], self.proxy.disks
        assert self.records() == [], self.records()

    def after(self, written=None):
        """What holds at the end of each test."""
        assert not self.proxy.complaints, self.proxy.complaints
        with open(self.flat, "rb") as file:
            assert file.read() == (self.data if written is None else written), "the disk's file has changed"
        assert 2000 in self.proxy.disks


def attached(place, client, path=DISK, flags=READ_ONLY, **how):
    client.connect(transports="hotadd", **how)
    assert client.want(OK, "open", path, flags) == "hotadd"


# ---- what works ----

def reads(place):
    with place.client() as client:
        attached(place, client)
        assert place.proxy.calls == [("add", DISK, READ_MODE, 1)], place.proxy.calls
        assert place.proxy.attached() == [DISK]
        assert client.want(OK, "info") == str(SIZE // SECTOR)
        assert client.read_all(SIZE) == place.data
        assert client.read_all(SIZE, 7) == place.data
        assert client.read_all(SIZE, 2048) == place.data
        client.want(OUTOFRANGE, "read", SIZE // SECTOR - 1, 2)
        client.want(FILE_READ_ONLY, "write", 0, 1, place.flat)
        record, = place.records()
        assert os.stat(record).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(record)).st_mode & 0o777 == 0o700
        text = open(record).read()
        for line in ("proxy=vm-9", "source=" + place.host.vm, "path=" + DISK, "mode=" + READ_MODE, "key=2001"):
            assert line + "\n" in text, text
        assert any("/dev/sdb at 2:0:1:0, known by its naa." in line for line in client.messages()), client.messages()
        client.want(OK, "close")
        assert [call[0] for call in place.proxy.calls] == ["add", "remove"]
        place.nothing_left()
        assert client.want(OK, "open", DISK, READ_ONLY | ZLIB) == "hotadd"  # and once more; nothing is compressed
        assert client.read_all(SIZE) == place.data
        client.want(OK, "disconnect")
        place.nothing_left()
        assert len(client.warnings()) == 2, client.warnings()  # of the two calls that were to fail
    place.after()


def writes(place):
    data = bytearray(place.data)
    with place.client() as client:
        attached(place, client, flags=0)
        assert place.proxy.calls == [("add", DISK, "persistent", 1)], place.proxy.calls
        for sector, count in ((0, 1), (7, 1025), (4000, 2048), (SIZE // SECTOR - 3, 3)):
            piece = os.urandom(count * SECTOR)
            place.write("piece", piece)
            client.want(OK, "write", sector, count, place.path("piece"))
            data[sector * SECTOR:(sector + count) * SECTOR] = piece
        client.want(OK, "flush")
        client.want(NOT_SUPPORTED, "set", "my.key", "value")
        assert client.read_all(SIZE) == bytes(data)
        client.want(OK, "close")
        place.nothing_left()
    place.after(bytes(data))


def facts(place):
    with place.client() as client:
        attached(place, client)
        assert place.host.nfc_logs() == []  # NFC is there for what the device does not tell
        assert client.want(OK, "get", "adapterType") == "lsilogic"
        assert "uuid" in client.want(OK, "keys").split()
        client.want(FILE_READ_ONLY, "set", "my.key", "value")
        blocks = client.want(OK, "blocks", 0, SIZE // SECTOR, 128).split()
        held = sum(int(block.split("+")[1]) for block in blocks)
        assert 0 < held < SIZE // SECTOR, blocks
        client.want(NOT_SUPPORTED_ON_REMOTE_OBJECT, "rework", "shrink")
        client.want(OK, "close")
    with place.client("vixDiskLib.nfc.RequestTimeoutMs = 1000\n") as client:
        attached(place, client, nfc_port=1)  # nobody listens there
        assert client.want(OK, "blocks", 0, SIZE // SECTOR, 128).split() == ["0+%d" % (SIZE // SECTOR)]
        assert client.want(OK, "info") == str(SIZE // SECTOR)
        client.refused(NOT_SUPPORTED, "get", "adapterType", sentence="NFC", begins="")
        client.want(OK, "close")
        place.nothing_left()
    place.after()


def copies(place):
    with place.client() as client:
        client.connect(transports="hotadd")
        client.want(OK, "clone", place.path("copy.vmdk"), DISK, 1, 1, "from")
        place.nothing_left()
    with place.client() as client:
        attached(place, client)
        client.want(OK, "onto", place.path("child.vmdk"))
        assert client.read_all(SIZE) == place.data
        client.want(OK, "disconnect")  # the child needs its parent still
        assert place.proxy.attached() == [DISK]
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
        place.nothing_left()
    place.after()


def snapshots(place):
    """As a backup of a running machine: the base file, by the hardware of the snapshot."""
    child = ("<parent><fileName>%s</fileName></parent><datastore" % DISK)
    place.replace("config.hardware.device", "<datastore", child)
    place.replace("config.hardware.device", "<fileName>%s</fileName><parent" % DISK,
                  "<fileName>[store] vm1/disk-000001.vmdk</fileName><parent")
    place.running()
    with place.client() as client:
        attached(place, client, snapshot="snapshot-44", read_only=1)
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
        client.want(OK, "disconnect")
        client.connect(transports="hotadd", snapshot="snapshot-44")
        client.refused(FILE_READ_ONLY, "open", DISK, 0, sentence="powered off")
        client.want(OK, "disconnect")
        client.connect(transports="hotadd", snapshot="snapshot-99")
        client.refused(OBJECT_NOT_FOUND, "open", DISK, READ_ONLY, sentence="snapshot-99")
        place.nothing_left()
    place.after()


# ---- which machine we are ----

def spellings(place):
    dmi = "sys/class/dmi/id/"
    turned = proxies.UUID_TURNED.lower()
    for serial, uuid, asked in ((proxies.SERIAL, "", [proxies.UUID]), ("", proxies.UUID, [proxies.UUID]),
                                ("", proxies.UUID_TURNED, [turned, proxies.UUID]),
                                ("0123", proxies.UUID_TURNED, [turned, proxies.UUID])):
        place.machine.put(dmi + "product_serial", serial + "\n")
        place.machine.put(dmi + "product_uuid", uuid + "\n")
        place.proxy.asked.clear()
        with place.client() as client:
            attached(place, client)
            client.want(OK, "close")
        assert place.proxy.asked == asked, (serial, uuid, place.proxy.asked)
    place.after()


def not_here(place):
    dmi = "sys/class/dmi/id/"

    def other_maker():
        place.machine.put(dmi + "sys_vendor", "QEMU\n")

    def no_maker():
        place.machine.gone(dmi + "sys_vendor")

    def no_uuid():
        place.machine.gone(dmi + "product_serial")
        place.machine.gone(dmi + "product_uuid")

    def bad_uuid():
        place.machine.gone(dmi + "product_serial")
        place.machine.put(dmi + "product_uuid", "Not Settable\n")

    def unknown():
        place.proxy.uuid = "another"

    def copied():
        place.proxy.macs = ["00:50:56:99:99:99"]
        place.proxy.tell()

    for change, sentence in ((other_maker, "QEMU"), (no_maker, "not told"), (no_uuid, "root"), (bad_uuid, "Not Settable"),
                             (unknown, "no virtual machine of the server"), (copied, "network cards")):
        place.begin()
        change()
        passed_over(place, NOT_SUPPORTED, sentence)
        assert place.proxy.calls == []
        with place.client() as client:
            assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 0"
        place.after()
    place.proxy.macs = []  # a machine without cards is what its UUID says
    place.proxy.tell()


def passed_over(place, code, sentence, flags=READ_ONLY, path=DISK, next_code=OK, **how):
    """That hotadd alone fails so, that the next of the list is taken, and that the log has the reason."""
    with place.client() as client:
        client.connect(transports="hotadd", **how)
        client.refused(code, "open", path, flags, sentence=sentence, begins="")
        client.want(OK, "disconnect")
        client.connect(transports="hotadd:nbd", **how)
        text = client.want(next_code, "open", path, flags)
        assert next_code != OK or text == "nbd", text
        line = [line for line in client.messages() if "so transport nbd is tried" in line]
        assert len(line) == 1 and re.search(sentence, line[0]), client.messages()
    place.nothing_left()


# ---- what is not attached ----

def refusals(place):
    device = "config.hardware.device"

    def ide():
        place.replace(device, "ParaVirtualSCSIController", "VirtualIDEController")

    def mapping():
        place.replace(device, "VirtualDiskFlatVer2BackingInfo", "VirtualDiskRawDiskMappingVer1BackingInfo")

    def own():
        place.proxy.disks[2000]["file"] = DISK
        place.proxy.tell()

    def below_own():
        place.proxy.disks[2000]["parent"] = "<parent><fileName>%s</fileName></parent>" % DISK
        place.proxy.tell()

    def no_datastore():
        name = "host-21" if place.host.vcenter else "ha-host"
        place.host.objects["HostSystem", name]["datastore"] = host_disks_list("datastore-2")

    def vsan():
        place.host.objects["Datastore", "datastore-2"] = dict(place.host.objects["Datastore", "datastore-1"])
        kept = place.host.objects["Datastore", "datastore-1"]
        kept["summary"] = kept["summary"].replace("<type>VMFS</type>", "<type>vsan</type>")
        place.host.objects["VirtualMachine", "vm-9"]["datastore"] = host_disks_list("datastore-2")

    for change, sentence in ((vsan, "is on vSAN, and this machine is not"), (ide, "IDE"), (mapping, "raw device mapping"), (own, "of this machine itself"),
                             (below_own, "of this machine itself"), (no_datastore, "does not have"),
                             (place.running, "snapshot has to be made")):
        place.begin()
        change()
        passed_over(place, NOT_SUPPORTED, sentence)
        assert place.proxy.calls == []
        place.after()
    place.begin()
    passed_over(place, NOT_SUPPORTED, "no disk of the virtual machine", path="[store] vm9/boot.vmdk")
    assert place.proxy.calls == []
    place.after()


def host_disks_list(moref):
    from host_disks import list_of
    return list_of("Datastore", moref)


def write_refusals(place):
    child = ("<parent><fileName>[store] vm1/base.vmdk</fileName></parent><datastore")

    def no_snapshot():
        del place.host.objects["VirtualMachine", place.host.vm]["snapshot"]
        place.proxy.tell()

    def link():
        place.replace("config.hardware.device", "<datastore", child)

    for change, sentence in ((no_snapshot, "has a snapshot"), (place.running, "powered off"), (link, "is a child")):
        place.begin()
        change()
        passed_over(place, FILE_READ_ONLY, sentence, flags=0)
        assert place.proxy.calls == []
        place.after()
    with place.client() as client:  # a child is read with its parents, not alone
        client.connect(transports="hotadd")
        client.refused(NOT_SUPPORTED, "open", DISK, SINGLE_LINK | READ_ONLY, sentence="is a child")
        client.want(OK, "open", DISK, READ_ONLY)
        client.want(OK, "close")
    place.begin()
    with place.client() as client:  # a new disk belongs to no machine
        client.connect(transports="hotadd")
        client.want(OK, "create", "[store] vm1/new.vmdk", 2048, 7)
        client.want(NOT_SUPPORTED, "clone", "[store] vm1/other.vmdk", DISK, 7, 0, "within")
        client.want(OK, "unlink", "[store] vm1/new.vmdk")
    place.after()


# ---- places ----

def fill_units(place, key, units):
    for unit in units:
        place.proxy.disks[20000 + key * 100 + unit] = dict(controller=key, unit=unit, mode="persistent", size=MIB,
                                                           file="[store] vm9/%d-%d.vmdk" % (key, unit))


def unit_of(place):
    with place.client() as client:
        attached(place, client)
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
    adds = [call for call in place.proxy.calls if call[0] == "add"]
    place.after()
    return adds[-1][3]


def units(place):
    all = [unit for unit in range(16) if unit != 7]
    fill_units(place, 1000, range(1, 7))
    place.proxy.tell()
    assert unit_of(place) == 8  # 7 is the controller's
    place.begin()
    fill_units(place, 1000, all[1:])
    place.proxy.tell()
    assert unit_of(place) == 0
    assert place.proxy.controllers[1001] == ("ParaVirtualSCSIController", 1), place.proxy.controllers
    place.begin()
    place.proxy.controllers.update({1001: ("VirtualBusLogicController", 1), 1002: ("VirtualLsiLogicSASController", 2),
                                    1003: ("ParaVirtualSCSIController", 3)})
    fill_units(place, 1000, all[1:])
    place.proxy.tell()
    unit_of(place)
    assert place.proxy.calls[0][3] == 0 and place.machine.read("sys/class/scsi_host/host5/scan") == ""
    place.begin()
    for key, bus in ((1000, 0), (1001, 1), (1002, 2), (1003, 3)):
        place.proxy.controllers[key] = ("ParaVirtualSCSIController", bus)
        fill_units(place, key, all[1:] if key == 1000 else all)
    place.proxy.tell()
    with place.client() as client:
        with Deadline(10):
            client.connect(transports="hotadd")
            client.refused(OBJECT_IS_BUSY, "open", DISK, READ_ONLY, sentence="no place for another disk")
    assert place.proxy.calls == [] and place.records() == []
    place.after()


def servers_that_differ(place):
    place.proxy.moves_to = 5  # the server has the last word
    with place.client() as client:
        attached(place, client)
        assert any("/dev/sdb at 2:0:5:0" in line for line in client.messages()), client.messages()
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
    place.nothing_left()
    place.after()
    place.begin()
    place.proxy.moves_to = -1  # no unit at all
    place.machine.appears = "never"
    passed_over(place, FAIL, "does not tell its unit")
    place.after()
    place.begin()
    place.proxy.hides = (2001,)
    with place.client() as client:
        client.connect(transports="hotadd")
        client.refused(FAIL, "open", DISK, READ_ONLY, sentence="does not list it", begins="")
        assert len(place.records()) == 1
        place.proxy.hides = ()
        place.proxy.tell()
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
        place.nothing_left()
    place.after()


# ---- faults of the server ----

def faults(place):
    for fault, code in (("FileLocked", FILE_ALREADY_LOCKED), ("NoPermission", HOST_USER_PERMISSIONS),
                        ("InvalidDeviceSpec", NOT_SUPPORTED), ("RestrictedVersion", LICENSE)):
        place.begin()
        place.proxy.faults["add"] = [fault, fault]
        passed_over(place, code, fault)
        place.after()
    place.begin()
    place.proxy.faults["add"] = ["FileNotFound"]  # no other way would find it
    with place.client() as client:
        client.connect(transports="hotadd:nbd")
        client.refused(FILE_NOT_FOUND, "open", DISK, READ_ONLY, sentence="FileNotFound")
        place.nothing_left()
        place.proxy.faults["add"] = ["TaskInProgress", "ConcurrentAccess"]
        place.proxy.faults["remove"] = ["TaskInProgress"]
        assert client.want(OK, "open", DISK, READ_ONLY) == "hotadd"
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
    place.nothing_left()
    place.after()


# ---- devices ----

def devices(place):
    machine = place.machine
    machine.delay = 0.7
    place.settings = place.settings.replace("= 600", "= 2500")
    with place.client() as client:
        attached(place, client)
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
    assert not machine.scanned()
    place.begin()
    place.machine.appears = "on scan"
    place.settings = place.settings.replace("= 600", "= 8000")
    with place.client() as client:
        attached(place, client)
        assert place.machine.scanned() and place.machine.read("sys/class/scsi_host/host0/scan") == ""
        client.want(OK, "close")
    place.after()
    place.begin()
    place.machine.tells_id = False
    with place.client() as client:
        attached(place, client)
        assert client.read_all(SIZE) == place.data
        assert any("known by its address" in line for line in client.messages())
        client.want(OK, "close")
    place.after()


def wrong_devices(place):
    for name, value, sentence, code in (
            ("appears", "never", "has not appeared .* within 600 ms; new are: none", FAIL),
            ("appears", "twice", "2 devices may be", FAIL),
            ("size_error", SECTOR, "unit 1, %d bytes, naa.* has not appeared .*: sd. at 2:0:1:0, %d bytes" %
             (SIZE, SIZE + SECTOR), FAIL),
            ("size_error", -SECTOR, "has not appeared", FAIL),
            ("unit_error", 1, "has not appeared .* sd. at 2:0:2:0", FAIL),  # and no name
            ("id", "6000c29" + "f" * 25, "has not appeared .*naa.6000c29f", FAIL),
            ("holder", "dm-0", "in use on this machine already, by dm-0", FILE_ALREADY_LOCKED)):
        place.begin()
        setattr(place.machine, name, value)
        if name in ("size_error", "unit_error"):
            place.machine.tells_id = False
        passed_over(place, code, sentence)
        assert [call[0] for call in place.proxy.calls] == ["add", "remove"] * 2, place.proxy.calls
        if code == FAIL:  # a device that is not known to be the disk is not touched, also when the disk goes
            place.proxy.complaints = [text for text in place.proxy.complaints if "kernel was told" not in text]
        place.after()
    # what was there before is never taken, whatever it says
    place.begin()
    place.machine.make("2:0:1:0", "sdz", place.flat, SIZE, place.machine.id)
    place.machine.appears = "never"
    with place.client() as client:
        client.connect(transports="hotadd")
        client.refused(FAIL, "open", DISK, READ_ONLY, sentence="new are: none", begins="")
    assert place.proxy.complaints.pop() == "detached before the kernel was told"
    place.after()
    # the file behind the device is shorter than sysfs says
    place.begin()
    short = place.write("short", bytes(MIB))
    real = place.machine.make
    place.machine.make = lambda address, name, file, size, id: real(address, name, short, size, id)
    passed_over(place, FAIL, "the device has 1048576 bytes, the attached disk has %d" % SIZE)
    place.after()


def numbered_targets(place):
    """LSI SAS: each device that appears gets the next target, whatever its unit. A device's name is enough elsewhere."""
    for driver, tells_id, known in (("mptsas", True, "its naa."), ("mptsas", False, "its address"),
                                    ("vmw_pvscsi", True, "its naa.")):
        place.begin()
        for n in range(2, 6):
            place.machine.put("sys/class/scsi_host/host%d/proc_name" % n, driver + "\n")
        place.machine.unit_error, place.machine.tells_id = 3, tells_id
        with place.client() as client:
            attached(place, client)
            assert any("at 2:0:4:0, known by " + known in line for line in client.messages()), client.messages()
            assert client.read_all(SIZE) == place.data
            client.want(OK, "close")
        place.nothing_left()
        place.after()
    place.begin()  # nor is one without a name taken that has another size
    place.machine.put("sys/class/scsi_host/host2/proc_name", "mptsas\n")
    place.machine.tells_id, place.machine.size_error = False, SECTOR
    passed_over(place, FAIL, "has not appeared")


def failing_devices(place):
    """One that may not be opened, or fails when it is read, written or flushed."""
    file = os.path.basename(place.flat)
    with place.client(faults=["open /dev/sdb 0 0 %d" % errno.EACCES]) as client:
        client.connect(transports="hotadd:nbd")
        assert client.want(OK, "open", DISK, READ_ONLY) == "nbd"
        assert "Permission denied" in "\n".join(client.messages())
        client.want(OK, "close")
    place.nothing_left()
    data = bytearray(place.data)
    with place.client(faults=[]) as client:
        attached(place, client, flags=0)
        client.faults("read %s %d %d %d" % (file, MIB, MIB, errno.EIO))
        client.refused(FILE_ERROR, "read", 2048, 8, sentence="cannot read .* Input/output error", begins="")
        assert client.do("async", 0, SIZE // SECTOR, 100)[0] == FILE_ERROR
        client.want(OK, "read", 0, 2048)
        client.faults("write %s 0 %d %d" % (file, SIZE, errno.EIO))
        piece = place.write("piece", os.urandom(8 * SECTOR))
        client.refused(FILE_ERROR, "write", 16, 8, piece, sentence="cannot write .* Input/output error", begins="")
        client.faults("sync %s 0 0 %d" % (file, errno.EIO))
        client.want(OK, "write", 16, 8, piece)
        data[16 * SECTOR:24 * SECTOR] = place.read("piece")
        client.refused(FILE_ERROR, "flush", sentence="Input/output error", begins="")
        client.refused(FILE_ERROR, "close", sentence="Input/output error", begins="")  # it is detached all the same
    place.nothing_left()
    place.after(bytes(data))


def controllers(place):
    """The source's controller does not matter, but for IDE: the disk gets one of ours."""
    for kind in ("VirtualAHCIController", "VirtualNVMEController", "VirtualLsiLogicSASController"):
        place.begin()
        place.replace("config.hardware.device", "ParaVirtualSCSIController", kind)
        with place.client() as client:
            attached(place, client)
            assert client.read_all(SIZE) == place.data
            client.want(OK, "close")
        place.nothing_left()
        place.after()


# ---- what stays behind ----

def detach_fails(place):
    with place.client() as client:
        attached(place, client)
        place.proxy.faults["remove"] = ["NoPermission"]
        client.refused(OBJECT_IS_BUSY, "close", sentence="stays attached to vm-9.*NoPermission", begins="")
        assert place.proxy.attached() == [DISK] and len(place.records()) == 1
        place.proxy.faults["remove"] = ["NoPermission"]
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 1"
        assert place.proxy.attached() == [DISK] and len(place.records()) == 1
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
        place.nothing_left()
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 0"
    place.after()
    # what fails after the disk was attached, and cannot be undone, is remembered too
    place.begin()
    place.machine.appears = "never"
    place.proxy.faults["remove"] = ["NoPermission"]
    with place.client() as client:
        client.connect(transports="hotadd")
        client.refused(FAIL, "open", DISK, READ_ONLY, sentence="has not appeared", begins="")
        assert len(place.records()) == 1
        place.machine.appears = "once"
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
        place.nothing_left()
    place.after()


def kill(client):
    client.process.send_signal(signal.SIGKILL)
    client.process.wait(30)
    client.process.stdin.close()
    client.process.stdout.close()


def crash(place, flags=READ_ONLY):
    client = place.client()
    attached(place, client, flags=flags)
    kill(client)
    assert place.proxy.attached() == [DISK] and len(place.records()) == 1


def crashes(place):
    for flags in (READ_ONLY, 0):
        place.begin()
        crash(place, flags)
        with place.client() as client:
            assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
            place.nothing_left()
        place.after()
        place.begin()
        crash(place, flags)
        with place.client() as client:  # an open does it too, for the same disk
            attached(place, client)
            assert [call[0] for call in place.proxy.calls] == ["add", "remove", "add"]
            assert client.read_all(SIZE) == place.data
            assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 1"  # it is in use
            assert place.proxy.attached() == [DISK]
            client.want(OK, "close")
        place.nothing_left()
        place.after()
    # a crash between the call and its answer: the record has no key
    place.begin()
    crash(place)
    record, = place.records()
    text = open(record).read()
    with open(record, "w") as file:
        file.write(text.replace("key=2001\n", "key=20"))
    with place.client() as client:
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
    place.nothing_left()
    place.after()


def other_names(place):
    """A file that the server spells in another way, and a datastore that gets another name meanwhile."""
    def rename():
        place.proxy.disks[2001]["file"] = DISK.replace("[store]", "[renamed]")
        place.proxy.tell()

    add = place.proxy.add
    place.proxy.add = lambda device, made: [add(device, made), rename()][0]
    with place.client() as client:
        attached(place, client)
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")
    place.nothing_left()
    place.after()
    for flags in (READ_ONLY, 0):
        place.begin()
        with place.client() as client:
            attached(place, client, flags=flags)
            rename()
            client.want(OK, "close")
        place.nothing_left()
        place.after()
        place.begin()
        crash(place, flags)
        rename()
        with place.client() as client:
            assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
        place.nothing_left()
        place.after()
    # without a UUID it may be the same disk or not: no success
    place.begin()
    place.proxy.disk_uuid = None
    with place.client() as client:
        attached(place, client)
        rename()
        client.refused(OBJECT_IS_BUSY, "close", sentence="stays attached.*has another name now: .renamed.", begins="")
        assert len(place.records()) == 1 and len(place.proxy.attached()) == 1
    # another disk has the key: ours is gone
    place.begin()
    with place.client() as client:
        attached(place, client)
        place.proxy.disks[2001].update(file="[store] vm9/own.vmdk", uuid="6000C29b-0011-2233-4455-66778899aabb")
        place.proxy.tell()
        client.want(OK, "close")
        assert place.proxy.attached() == ["[store] vm9/own.vmdk"] and place.records() == []


def no_answer(place):
    """An attach whose answer is lost, and which the server does a while later."""
    place.host.hook = lambda label, data, session: (503, "busy") if label == "soap ReconfigVM_Task" else data
    reconfigure = place.proxy.reconfigure
    late = []
    place.proxy.reconfigure = lambda call: late.append(call)
    with place.client() as client:
        client.connect(transports="hotadd:nbd")
        assert client.want(OK, "open", DISK, READ_ONLY) == "nbd"
        client.want(OK, "close")
        assert place.proxy.attached() == [] and len(place.records()) == 1
        place.host.hook, place.proxy.reconfigure = None, reconfigure
        assert reconfigure(late[0]) is None
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
    place.nothing_left()
    place.after()


def stale_record(place):
    """A crash between the detach and the end of the record: the next disk may get the same key."""
    with place.client() as client:
        attached(place, client)
        record, = place.records()
        text = open(record).read()
        client.want(OK, "close")
        place.nothing_left()
        place.write(os.path.relpath(record, place.folder), text)
        os.chmod(record, 0o600)
        place.proxy.next_key = 2001
        client.want(OK, "open", DISK, READ_ONLY)
        assert 2001 in place.proxy.disks and not os.path.exists(record)
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 1"
        assert client.read_all(SIZE) == place.data and place.proxy.attached() == [DISK]
        client.want(OK, "close")
    place.nothing_left()
    place.after()


def cleanup(place):
    """What is not ours stays."""
    proxy = place.proxy
    proxy.disks[2500] = dict(controller=1000, unit=5, file=DISK, mode=READ_MODE, size=SIZE)  # of a lost record
    proxy.disks[2501] = dict(controller=1000, unit=6, file="[store] vm9/own.vmdk", mode=READ_MODE, size=SIZE)
    proxy.tell()
    with place.client() as client:
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "1 0"
        assert proxy.attached() == ["[store] vm9/own.vmdk"]
        proxy.disks[2502] = dict(controller=1000, unit=5, file=DISK, mode="persistent", size=SIZE)  # on purpose
        proxy.tell()
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 0"
        assert sorted(proxy.attached()) == [DISK, "[store] vm9/own.vmdk"]
        # the machine's own disks are not left over
        assert client.want(OK, *client.login("cleanup", vm="moref=vm-9", last=["-"])) == "0 0"
        assert len(proxy.attached()) == 2
    place.after()


def cleanup_of_others_in_use(place):
    """A process with another tmpDirectory sees no record of ours: the open device tells that the disk is in use."""
    os.mkdir(place.path("tmp2"))
    elsewhere = place.settings.replace(place.path("tmp") + "\n", place.path("tmp2") + "\n")
    for tells_id, driver in ((True, "vmw_pvscsi"), (False, "vmw_pvscsi"), (False, "mptsas")):
        place.machine.tells_id = tells_id
        place.machine.put("sys/class/scsi_host/host2/proc_name", driver + "\n")
        place.machine.unit_error = 2 if driver == "mptsas" else 0
        reader = place.client()
        attached(place, reader)
        with Driven(place, elsewhere) as other:
            calls = list(place.proxy.calls)
            assert other.want(OK, *other.login("cleanup", last=["-"])) == "0 1"
            assert place.proxy.attached() == [DISK]
            assert any(re.search("stays attached to vm-9: .*locked", line) for line in other.messages()), other.messages()
            assert place.proxy.calls == calls and len(place.records()) == 1
            for address in os.listdir(place.machine.path("sys/bus/scsi/devices")):  # nothing was changed here, too
                assert place.machine.read("sys/bus/scsi/devices/%s/delete" % address) == ""
            assert reader.read_all(SIZE) == place.data
            kill(reader)  # and once it is gone, the disk is left over
            assert other.want(OK, *other.login("cleanup", last=["-"])) == "1 0"
            assert place.proxy.attached() == []
            os.unlink(place.records()[0])
            if not tells_id:  # a device that does not say what it is, is not touched
                assert place.proxy.complaints.pop() == "detached before the kernel was told"
    place.after()


def records_of_others(place):
    crash(place)
    record, = place.records()
    text = open(record).read()
    for old, new in (("proxy=vm-9", "proxy=vm-10"), ("server=", "server=x"), ("key=2001", "key=2000"),
                     ("path=" + DISK, "path=[store] vm9/boot.vmdk\nuuid=another")):
        with open(record, "w") as file:
            file.write(text.replace(old, new))
        place.proxy.disks[2001]["mode"] = "persistent"  # so that the record is all that tells of it
        place.proxy.tell()
        with place.client() as client:
            assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 0", old
        assert place.proxy.attached() == [DISK], old
        if not os.path.exists(record):  # it told of nothing that is there
            place.write(os.path.relpath(record, place.folder), text)
            os.chmod(record, 0o600)
    os.unlink(record)
    # what others may write to, or have put there, is not believed
    folder = os.path.dirname(record)
    place.write(os.path.relpath(record, place.folder), text)
    os.chmod(record, 0o644)
    os.symlink("/etc/passwd", folder + "/disk-0000000000000001")
    with open(os.open(folder + "/disk-0000000000000002", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write("vixdisk hotadd 1\nserver=")  # cut
    os.mkfifo(folder + "/disk-0000000000000003", 0o600)
    with place.client() as client:
        assert client.want(OK, *client.login("cleanup", last=["-"])) == "0 0"
    assert sorted(os.path.basename(name)[-1:] for name in place.records() if name != record) == ["1", "3"]
    os.chmod(folder, 0o755)
    place.proxy.disks.pop(2001)
    place.machine.unplug(0, 1)
    place.proxy.tell()
    passed_over_with_records(place, folder)
    place.after()


def passed_over_with_records(place, folder):
    with place.client() as client:
        client.connect(transports="hotadd")
        client.refused(FILE_ACCESS_ERROR, "open", DISK, READ_ONLY, sentence="0700", begins="")
        assert place.proxy.attached() == []
        client.want(OK, "disconnect")
    os.chmod(folder, 0o700)


def twice(place):
    with place.client() as first:
        attached(place, first)
        passed = place.client()
        with passed as second:
            second.connect(transports="hotadd")
            second.refused(FILE_ALREADY_LOCKED, "open", DISK, READ_ONLY, sentence="another open disk has it")
            second.want(OK, "disconnect")
            second.connect(transports="hotadd:nbd")
            assert second.want(OK, "open", DISK, READ_ONLY) == "nbd"
            assert second.read_all(SIZE) == place.data
            second.want(OK, "close")
        assert place.proxy.attached() == [DISK]
        assert first.read_all(SIZE) == place.data
        first.want(OK, "close")
    place.nothing_left()
    place.after()


def choice(place):
    with place.client() as client:  # no list: only where the configuration says so
        client.connect(transports="-")
        assert client.want(OK, "open", DISK, READ_ONLY) == "nbdssl"
        client.want(OK, "close")
    assert place.proxy.calls == [] and place.proxy.asked == []
    with place.client("vixdisk.hotadd.enable = 1\n") as client:
        client.connect(transports="-")
        assert client.want(OK, "open", DISK, READ_ONLY) == "hotadd"
        client.want(OK, "close")
    with place.client() as client:
        client.connect(transports="nbd:hotadd")
        assert client.want(OK, "open", DISK, READ_ONLY) == "nbd"
        client.want(OK, "close")
        client.want(OK, "disconnect")
        client.connect(transports="file:HotAdd")
        assert client.want(OK, "open", DISK, READ_ONLY) == "hotadd"
        client.want(OK, "close")
    place.nothing_left()
    place.after()


# ---- a new disk, which is attached to its machine where the host opens it in no other way ----

NEW, NEW_DISK = "[store] vm1/new.vmdk", (
    '<VirtualDevice xsi:type="VirtualDisk"><key>2055</key><backing xsi:type="VirtualDiskFlatVer2BackingInfo">'
    "<fileName>%s</fileName><diskMode>persistent</diskMode></backing><controllerKey>1000</controllerKey>"
    "<unitNumber>9</unitNumber><capacityInKB>%d</capacityInKB></VirtualDevice>" % ("[store] vm1/new.vmdk", SIZE // 1024))


class Source:
    """The source's machine in the place of ours: gets NEW, and loses it. No ticket is given for the datastore."""

    def __init__(self, place):
        self.place, self.host, self.moref = place, place.host, place.host.vm
        self.calls, self.faults, self.lost, self.delay = [], {}, None, 0
        self.host.proxy, self.host.hook = self, self.answer

    def answer(self, label, data, session):
        if label == "soap NfcFileManagement":
            return 500, host.ENVELOPE % host.Fault("NoPermission").xml()
        if self.lost and self.calls and label == self.lost[0] and self.lost[1] in data:
            self.lost = None
            return 503, "the services are starting"
        return data

    def has(self):
        return NEW in self.host.objects["VirtualMachine", self.moref]["config.hardware.device"]

    def change(self, operation):
        value = self.host.objects["VirtualMachine", self.moref]
        devices = value["config.hardware.device"]
        value["config.hardware.device"] = (devices.replace("</val>", NEW_DISK + "</val>") if operation == "add" else
                                           devices.replace(NEW_DISK, ""))

    def reconfigure(self, call):
        operation, = [node.text for node in call.iter() if proxies.local(node.tag) == "operation"]
        self.calls.append(operation)
        if self.delay:
            threading.Timer(self.delay, self.change, (operation,)).start()
        elif operation not in self.faults:
            self.change(operation)
        return self.faults.get(operation)


def new_disk(place):
    local = place.path("local.vmdk")
    subprocess.run([vixdisk, "create", "-q", local, str(SIZE)], check=True)

    def copy(code, sentence="", **how):
        place.begin()
        source = Source(place)
        for name, value in how.items():
            setattr(source, name, value)
        with place.client() as client:
            client.connect(transports="nbdssl")
            if code == OK:
                client.want(OK, "clone", NEW, local, 7, 0, "to")
            else:
                client.refused(code, "clone", NEW, local, 7, 0, "to", sentence=sentence, begins="")
            there = os.path.exists(place.path("store/vm1/new-flat.vmdk"))
            result = source.calls, source.has(), there
            if there:
                os.unlink(place.path("store/vm1/new-flat.vmdk"))
        return result

    kept = "what was made of it is not removed, because it may be attached"
    assert copy(OK) == (["add", "remove"], False, True)
    # attached, though no answer says so: found, and detached; the files go only where that works
    lost = ("soap RetrievePropertiesEx", NEW)
    assert copy(SERVER_NOT_AVAILABLE, "503", lost=lost) == (["add", "remove"], False, False)
    assert copy(SERVER_NOT_AVAILABLE, kept, lost=lost, faults={"remove": "NoPermission"}) == (
        ["add", "remove"], True, True)
    # a call without an answer: it may be done later
    assert copy(SERVER_NOT_AVAILABLE, kept, lost=("soap ReconfigVM_Task", ""), delay=3) == (["add"], False, True)
    assert copy(NOT_SUPPORTED, "InvalidDeviceSpec", faults={"add": "InvalidDeviceSpec"}) == (["add"], False, False)
    # a machine that runs has the locks of its disks: nothing is attached to it
    begin = place.begin

    def begin_running():
        begin()
        place.running()

    place.begin = begin_running
    try:
        assert copy(FILE_ACCESS_ERROR, "NfcFileManagement: NoPermission") == ([], False, False)
    finally:
        place.begin = begin
    place.begin()


TESTS = [("reads", reads), ("writes", writes), ("what NFC tells of an attached disk", facts),
         ("a clone, and a local child on top", copies), ("a running machine with a snapshot", snapshots),
         ("spellings of the UUID", spellings), ("not in a machine of the server", not_here),
         ("disks that are not attached", refusals), ("disks that are not written", write_refusals),
         ("units and controllers", units), ("a server that differs", servers_that_differ), ("faults of the server", faults),
         ("devices that are late, or tell no name", devices), ("devices that are not the disk", wrong_devices),
         ("devices whose target is not their unit", numbered_targets), ("devices that fail", failing_devices), ("controllers of the source", controllers),
         ("a detach that fails", detach_fails), ("crashes", crashes), ("other names", other_names),
         ("an attach without an answer", no_answer), ("a record that outlives its disk", stale_record),
         ("Cleanup leaves others' disks alone", cleanup),
         ("Cleanup leaves what another folder's process reads alone", cleanup_of_others_in_use),
         ("records of others", records_of_others), ("one disk, opened twice", twice), ("which transport is taken", choice),
         ("a new disk is attached while it is filled", new_disk)]


def main():
    wanted = sys.argv[1:]
    with Here() as place:
        for name, test in TESTS:
            if not wanted or any(word in name for word in wanted):
                place.begin()
                tap.check(name, test, place)
    with Here(vcenter=False, release="7.0.3") as place:
        for name, test in (("reads", reads), ("crashes", crashes), ("disks that are not attached", refusals)):
            if not wanted:
                place.begin()
                tap.check("ESXi: " + name, test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
