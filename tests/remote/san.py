#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library and disks by SAN: LUNs of a machine that is a folder, VMFS volumes on them, a server that says where the
disk is. What is on the LUNs is not what NFC would give, so that it is seen which way a disk was read."""
import os
import shutil
import subprocess
import sys
import threading
import time

import tap
from driving import *
from vmfs_image import FS_UUID_TEXT, Volume, bytes_of, put_bytes

SIZE = 4 * MIB
INVALIDDISK = 16063
NAA = "naa.600508b1001c5e0ff1ce0000000000%02x"
CHILD = "[store] vm1/disk-000001.vmdk"

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=%s
parentCID=%s
createType="vmfs"
%s
# Extent description
RW %d %s "%s"

# The Disk Data Base
#DDB
ddb.adapterType = "lsilogic"
ddb.uuid = "60 00 C2 9a 00 11 22 33-44 55 66 77 88 99 aa bb"
ddb.virtualHWVersion = "13"
"""


def descriptor(flat, sectors=SIZE // SECTOR, kind="VMFS", cid="01234567", parent="ffffffff", hint=""):
    return (DESCRIPTOR % (cid, parent, hint, sectors, kind, flat)).encode()


def kinds(n, **others):
    found = dict.fromkeys(range(n), "data")
    found.update({int(k[1:]): v for k, v in others.items()})
    return {k: v for k, v in found.items() if v}


class Lab:
    """A Place, a volume on LUNs, and the tree that the library takes for the machine."""

    def __init__(self, place, version=6, luns=1, fill=None, pes=3, **how):
        self.place = place
        self.root = place.path("machine")
        shutil.rmtree(self.root, ignore_errors=True)
        os.makedirs(self.root + "/dev/disk/by-id")
        os.makedirs(self.root + "/sys/block")
        self.volume = Volume(place.folder, version, luns=luns, pes=pes, **how)
        with self.volume as v:
            v.folder("vm1")
            (fill or self.ordinary)(v)
        self.names = [NAA % i for i in range(luns)]
        for i, name in enumerate(self.names):
            self.device("sd" + "bcdefg"[i], self.volume.luns[i], {"device/wwid": name})
        self.machine()
        self.datastore()

    @staticmethod
    def ordinary(v):
        v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk"))
        v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4))

    def attribute(self, device, name, text):
        path = "%s/sys/block/%s/%s" % (self.root, device, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode() + b"\n")

    def device(self, name, image, attributes=None):
        os.makedirs("%s/sys/block/%s/holders" % (self.root, name), exist_ok=True)
        for key, text in (attributes or {}).items():
            self.attribute(name, key, text)
        node = self.root + "/dev/" + name
        if os.path.lexists(node):
            os.unlink(node)
        if image:
            os.symlink(image, node)

    def forget(self, device):
        shutil.rmtree("%s/sys/block/%s" % (self.root, device))

    def link(self, name, device):
        os.symlink("../../" + device, self.root + "/dev/disk/by-id/" + name)

    # ---- what the server says ----

    def machine(self, files=(DISK,), power="poweredOff", snapshot=True, now=None, kind="VirtualDiskFlatVer2BackingInfo",
                kib=SIZE // 1024, sharing="sharingNone"):
        """files: of the disk, as of the snapshot; now: as it is."""
        objects = self.place.host.objects
        vm = ("VirtualMachine", self.place.host.vm)

        def devices(names):
            inner = ""
            for name in reversed(names):
                tag = "backing" if name == names[0] else "parent"
                inner = '<%s xsi:type="%s"><fileName>%s</fileName><sharing>%s</sharing>%s</%s>' % (
                    tag, kind, name, sharing, inner, tag)
            return ('<val xsi:type="ArrayOfVirtualDevice"><VirtualDevice xsi:type="VirtualDisk"><key>2000</key>%s'
                    "<unitNumber>0</unitNumber><capacityInKB>%d</capacityInKB></VirtualDevice></val>" % (inner, kib))

        objects[vm]["config.hardware.device"] = devices(now or files)
        objects[vm]["runtime.powerState"] = '<val xsi:type="VirtualMachinePowerState">%s</val>' % power
        objects[("VirtualMachineSnapshot", "snapshot-44")]["config.hardware.device"] = devices(files)
        if snapshot:
            objects[vm]["snapshot"] = (
                '<val xsi:type="VirtualMachineSnapshotInfo"><currentSnapshot type="VirtualMachineSnapshot">snapshot-44'
                "</currentSnapshot></val>")
        else:
            objects[vm].pop("snapshot", None)

    def datastore(self, kind="VmfsDatastoreInfo", uuid=FS_UUID_TEXT, names=None):
        extents = "".join("<extent><diskName>%s</diskName><partition>%d</partition></extent>"
                          % (name, self.volume.partition) for name in names or self.names)
        self.place.host.objects[("Datastore", "datastore-1")]["info"] = (
            '<val xsi:type="%s"><name>store</name><vmfs><name>store</name><uuid>%s</uuid><majorVersion>6</majorVersion>'
            "%s</vmfs></val>" % (kind, uuid, extents))

    def client(self, settings="vixdisk.san.compare=0"):
        return Driven(self.place, "vixdisk.hostRoot=%s\n%s\n" % (self.root, settings))

    def data(self, path="vm1/disk-flat.vmdk"):
        return self.volume.files[path].expect(0, SIZE)


def nothing_else_changed(lab, f, data, before):
    """Of the LUNs, whose bytes were `before`, only what makes a file hold data."""
    old = lab.data()
    for off in range(0, SIZE, SECTOR):
        if data[off:off + SECTOR] != old[off:off + SECTOR]:
            lun, at, _ = lab.volume.where(f.places[off // MIB] + off % MIB)
            put_bytes(before[lun], at, data[off:off + SECTOR])
    for path, right in zip(lab.volume.luns, before):
        assert bytes_of(path) == right, "other bytes of %s changed" % path


def opened(lab, path=DISK, flags=READ_ONLY, settings="vixdisk.san.compare=0", **how):
    """The transport that a disk is opened by, or the code of the failure."""
    with lab.client(settings) as client:
        client.connect(**how)
        code, text = client.do("open", path, flags)
        return text if code == OK else code


def passed_over(lab, code, flags=READ_ONLY, path=DISK, why=None, settings="vixdisk.san.compare=0", **how):
    """san fails with a code, and nbdssl is used in its place; why is in the log."""
    with lab.client(settings) as client:
        client.connect(transports="san:nbdssl", **how)
        got = client.do("open", path, flags)
        assert got == (OK, "nbdssl"), got
        log = "\n".join(client.messages())
        assert "so transport nbdssl is tried" in log and (why is None or why in log), log
        client.want(OK, "close")
        client.want(OK, "disconnect")
        client.connect(transports="san", **how)
        client.refused(code, "open", path, flags, sentence=why)


def want(got, right):
    assert got == right, "%r, wanted %r" % (got, right)


# ---- reading ----

def reads(lab):
    place = lab.place
    for transports in ("san", "san:nbdssl:nbd", "nosuch:file:san:nbd", "-"):
        with lab.client() as client:
            client.connect(transports=transports, read_only=1)
            want(client.want(OK, "open", DISK, READ_ONLY), "san")
            want(client.want(OK, "info"), str(SIZE // SECTOR))
            assert client.read_all(SIZE) == lab.data()
            assert client.read_all(SIZE, 100) == lab.data()
            assert client.read_all(SIZE, 3000) == lab.data()
            client.want(OUTOFRANGE, "read", SIZE // SECTOR - 1, 2)
            client.want(FILE_READ_ONLY, "write", 0, 1, place.flat)
            want(client.want(OK, "get", "adapterType"), "lsilogic")
            client.want(FILE_READ_ONLY, "set", "comment", "x")
            client.want(OK, "close")
            client.want(OK, "disconnect")
    assert not place.host.sessions, "NFC was used"


def at_edge(v):
    """Over the end of an extent, and of a LUN."""
    v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk"))
    v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4), at=2 * 256 - 2)


def thin(v):
    v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk"))
    v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4, _1=None, _2="zeroed"))


def holes(place):
    for version in (5, 6):
        lab = Lab(place, version, fill=thin)
        with lab.client() as client:
            client.connect(transports="san")
            want(client.want(OK, "open", DISK, READ_ONLY), "san")
            assert client.read_all(SIZE) == lab.data()
            assert lab.data()[MIB:3 * MIB] == bytes(2 * MIB)
            want(client.want(OK, "blocks", 0, SIZE // SECTOR, 128), "0+2048 6144+2048 ")


def unsure(v):
    v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk"))
    v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4, _2="partly"))


def ambiguous(place):
    lab = Lab(place, 6, fill=unsure)
    passed_over(lab, NOT_SUPPORTED, why="zeroed in part")


def chains(place):
    """Flat, COWD on it, SE sparse on that, made by others and put on the volume as they are."""
    folder = place.path("chain")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)

    def run(*words):
        subprocess.run(words, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    image = bytearray(sample(SIZE, 9))
    place.write("chain/image.raw", bytes(image))
    run(vixdisk, "convert", "-q", "-f", "raw", "-t", "vmfs", "image.raw", "disk.vmdk")
    run(vixdisk, "snapshot", "-t", "vmfsSparse", "disk.vmdk", "disk-000001.vmdk")
    piece = os.urandom(65536 * 3)
    image[70000 // 512 * 512:70000 // 512 * 512 + len(piece)] = piece
    with open(place.write("chain/piece", piece), "rb") as file:
        subprocess.run([vixdisk, "write", "-q", "-o", str(70000 // 512 * 512), "disk-000001.vmdk"], check=True, cwd=folder,
                       stdin=file, stdout=subprocess.DEVNULL)
    place.write("chain/image.raw", bytes(image))
    run(root + "/tests/lib/make-sesparse", "image.raw", "disk-000002", "disk-000001.vmdk")
    top = place.read("chain/disk-000002.raw")
    assert top != bytes(image)

    def fill(v):
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".vmdk"):
                continue
            data = place.read("chain/" + name)
            if len(data) < 900:
                v.resident("vm1/" + name, data)
            elif len(data) < 60000:
                v.sub_blocks("vm1/" + name, data)
            else:
                whole = v.blocks("vm1/" + name, len(data), kinds(-(-len(data) // MIB)))
                for index, off in whole.places.items():
                    v.put(off, data[index * MIB:(index + 1) * MIB])

    for version in (5, 6):
        lab = Lab(place, version, fill=fill)
        files = ["[store] vm1/disk-00000%d.vmdk" % n for n in (2, 1)] + [DISK]
        lab.machine(files)
        for path, data in zip(files, (top, bytes(image), sample(SIZE, 9))):
            with lab.client() as client:
                client.connect(transports="san")
                want(client.want(OK, "open", path, READ_ONLY), "san")
                assert client.read_all(SIZE) == data, path
        for path in files[:2]:
            with lab.client() as client:
                client.connect(transports="san")
                client.refused(FILE_READ_ONLY, "open", path, 0, sentence="is a child")
        want(opened(lab, DISK, 0, transports="san"), "san")


# ---- finding the LUN ----

def page83(name):
    naa = bytes.fromhex(name.split(".")[1])
    body = b"\x02\x01\0\x08VMware  " + bytes([1, 0x13, 0, 8]) + b"\x60" * 8 + bytes([1, 3, 0, len(naa)]) + naa
    return b"\0\x83" + len(body).to_bytes(2, "big") + body


def names(place):
    lab = Lab(place)
    name = lab.names[0]
    want(opened(lab, transports="san"), "san")
    lab.attribute("sdb", "device/wwid", name.upper())
    want(opened(lab, transports="san"), "san")
    for attribute, text in (("device/vpd_pg83", page83(name)), ("wwid", name)):
        lab.forget("sdb")
        lab.device("sdb", lab.volume.luns[0], {attribute: text})
        want(opened(lab, transports="san"), "san")
    for link in ("wwn-0x" + name[4:], "scsi-3" + name[4:]):
        lab.forget("sdb")
        lab.device("sdb", lab.volume.luns[0])
        lab.link(link, "sdb")
        want(opened(lab, transports="san"), "san")
        os.unlink(lab.root + "/dev/disk/by-id/" + link)
    want(opened(lab, transports="san"), NOT_SUPPORTED)
    os.makedirs(lab.root + "/inquiry")
    place.write(lab.root + "/inquiry/sdb.83", page83(name))
    for attributes, right in (({}, NOT_SUPPORTED), ({"device/type": "5"}, NOT_SUPPORTED), ({"device/type": "0"}, "san"),
                              ({"device/type": "0", "device/wwid": "naa.60"}, NOT_SUPPORTED)):
        lab.forget("sdb")
        lab.device("sdb", lab.volume.luns[0], attributes)
        want((attributes, opened(lab, transports="san")), (attributes, right))
    place.write(lab.root + "/inquiry/sdb.83", page83(NAA % 99))
    lab.forget("sdb")
    lab.device("sdb", lab.volume.luns[0], {"device/type": "0"})
    want(opened(lab, transports="san"), NOT_SUPPORTED)
    for kind, text in (("eui.0025385b71b0c1d2", None), ("t10.ATA_____Disk_of_1TB", "t10.ATA     Disk of 1TB")):
        lab.forget("sdb")
        lab.device("sdb", lab.volume.luns[0], {"device/wwid": text or kind})
        lab.datastore(names=[kind])
        want(opened(lab, transports="san"), "san")
    for damaged in (page83(name)[:20], b"\0\x83\xff\xff" + page83(name)[4:-1], b"", b"\0\x80\0\0", os.urandom(500)):
        lab.forget("sdb")
        lab.device("sdb", lab.volume.luns[0], {"device/vpd_pg83": damaged})
        lab.datastore()
        want(opened(lab, transports="san"), NOT_SUPPORTED)


def rescan(place):
    """A LUN that is not there is looked for only where the configuration says so."""
    lab = Lab(place)
    lab.forget("sdb")
    scans = ["%s/sys/class/scsi_host/host%d/scan" % (lab.root, i) for i in (0, 7)]
    for path in scans:
        os.makedirs(os.path.dirname(path))
        open(path, "w").close()
    want(opened(lab, transports="san"), NOT_SUPPORTED)
    want([os.path.getsize(path) for path in scans], [0, 0])

    def appears():
        end = time.monotonic() + 8
        while time.monotonic() < end and not all(os.path.getsize(path) for path in scans):
            time.sleep(0.05)
        lab.device("sdb", lab.volume.luns[0], {"device/wwid": lab.names[0]})

    thread = threading.Thread(target=appears)
    thread.start()
    want(opened(lab, settings="vixdisk.san.compare=0\nvixDiskLib.transport.san.rescan=1", transports="san"), "san")
    thread.join()
    for path in scans:
        with open(path, encoding="ascii") as file:
            want(file.read(), "- - -")


def multipath(place):
    """The multipath device, and never a path below it; without one, the first path that answers."""
    lab = Lab(place)
    name = lab.names[0]
    bad = place.write("bad.img", b"\xff" * 4 * MIB)
    short = place.write("short.img", b"")
    lab.device("sdb", bad)
    lab.device("sdc", bad, {"device/wwid": name})
    lab.device("dm-3", lab.volume.luns[0], {"dm/uuid": "mpath-3" + name[4:]})
    lab.device("dm-2", bad, {"dm/uuid": "LVM-x"})
    for path in ("sdb", "sdc"):
        os.makedirs("%s/sys/block/%s/holders/dm-2" % (lab.root, path))
        os.makedirs("%s/sys/block/%s/holders/dm-3" % (lab.root, path))
    want(opened(lab, transports="san"), "san")
    for path in ("sdb", "sdc"):
        os.rmdir("%s/sys/block/%s/holders/dm-3" % (lab.root, path))
    want(opened(lab, transports="san"), NOT_SUPPORTED)  # what is there is no VMFS
    lab.device("sdb", short)
    lab.device("sdc", lab.volume.luns[0])
    want(opened(lab, transports="san"), "san")
    lab.device("sdb", None)
    want(opened(lab, transports="san"), "san")


def lists(place):
    lab = Lab(place)
    key = "vixDiskLib.transport.san."
    for settings, right in ((key + "denyList=/dev/sdb", NOT_SUPPORTED), (key + "denyList=/dev/sda,/dev/sdc", "san"),
                            (key + "denyList=/dev/sd*", NOT_SUPPORTED), (key + "denyList=all", NOT_SUPPORTED),
                            (key + "blacklist=/dev/sd?", NOT_SUPPORTED), (key + "denyList=" + lab.names[0], NOT_SUPPORTED),
                            (key + "denyList=all\n" + key + "allowList=/dev/sdb", "san"),
                            (key + "denyList=all\n" + key + "allowList=/dev/sdx, /dev/sd[ab]", "san"),
                            (key + "blacklist=all\n" + key + "whitelist=/dev/sdb", "san"),
                            (key + "denyList=all\n" + key + "allowList=/dev/sdc", NOT_SUPPORTED)):
        want((settings, opened(lab, settings=settings + "\nvixdisk.san.compare=0", transports="san")), (settings, right))


# ---- what is not by SAN ----

def refusals(place):
    lab = Lab(place, luns=2)
    other = '<val xsi:type="NasDatastoreInfo"><name>store</name></val>'
    lab.datastore(kind="NasDatastoreInfo")
    passed_over(lab, NOT_SUPPORTED, why="not VMFS")
    place.host.objects[("Datastore", "datastore-1")]["info"] = other
    passed_over(lab, NOT_SUPPORTED, why="not VMFS")
    del place.host.objects[("Datastore", "datastore-1")]["info"]
    passed_over(lab, NOT_SUPPORTED, why="not VMFS")
    lab.datastore(uuid=FS_UUID_TEXT.replace("5", "6"))
    passed_over(lab, NOT_SUPPORTED, why="is not the datastore's")
    lab.datastore(names=[NAA % 99, lab.names[1]])
    passed_over(lab, NOT_SUPPORTED, why="LUN naa.600508b1001c5e0ff1ce000000000063: no block device")
    lab.datastore(names=["mpx.vmhba1:C0:T0:L0"])
    passed_over(lab, NOT_SUPPORTED, why="mpx.vmhba1")
    lab.datastore(names=[lab.names[0]])
    passed_over(lab, NOT_SUPPORTED, why="on 2 LUNs")
    lab.datastore()
    lab.machine(kib=SIZE // 1024 * 2)
    want(opened(lab, transports="san"), INVALIDDISK)
    lab.machine(kind="VirtualDiskRawDiskMappingVer1BackingInfo")
    passed_over(lab, NOT_SUPPORTED, why="raw device mapping")
    lab.machine(sharing="sharingMultiWriter")
    passed_over(lab, NOT_SUPPORTED, why="several machines")
    lab.machine(power="poweredOn", files=(DISK,), now=(CHILD, DISK))
    passed_over(lab, NOT_SUPPORTED, why="names no snapshot")
    want(opened(lab, transports="san", snapshot="snapshot-44"), "san")
    lab.machine(power="poweredOn", files=(DISK,), now=(DISK,))
    passed_over(lab, NOT_SUPPORTED, why="writes to this file", snapshot="snapshot-44")
    lab.machine()
    for device in ("sdb", "sdc"):
        lab.forget(device)
    passed_over(lab, NOT_SUPPORTED, why="no device that could be a LUN")


def damage(place):
    lab = Lab(place)
    lun, at, _ = lab.volume.where(lab.volume.files["vm1/disk-flat.vmdk"].inode + 4)
    with open(lab.volume.luns[lun], "r+b") as file:
        file.seek(at)
        file.write(b"\1")
    passed_over(lab, INVALIDDISK, why="no descriptor of a file at byte")
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", b"no descriptor"),
                                     v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4))))
    want(opened(lab, transports="san") in (OK, "san"), False)
    want(opened(lab, transports="san:nbdssl"), "nbdssl")
    lab = Lab(place, fill=lambda v: v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4)))
    passed_over(lab, FILE_NOT_FOUND, why="not on the datastore")
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("raw.vmdk", kind="VMFSRDM")),
                                     v.special("vm1/raw.vmdk", 6)))
    want(opened(lab, transports="san:nbdssl"), "nbdssl")
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("../other/x-flat.vmdk")), v.folder("other"),
                                     v.blocks("other/x-flat.vmdk", SIZE, kinds(4))))
    want(opened(lab, transports="san"), FILE_ACCESS_ERROR)


# ---- writing ----

def writes(lab):
    """A disk that is zeroed eagerly, of a machine with a snapshot; every other byte of the LUNs stays."""
    place, v = lab.place, lab.volume
    f = v.files["vm1/disk-flat.vmdk"]
    lab.machine(now=(CHILD, DISK))
    before = [bytes_of(path) for path in v.luns]
    data = bytearray(lab.data())
    with lab.client() as client:
        client.connect(transports="san:nbdssl")
        want(client.want(OK, "open", DISK, 0), "san")
        for sector, count, seed in ((0, 1, 1), (7, 1025, 2), (2040, 4100, 3), (SIZE // SECTOR - 3, 3, 4)):
            piece = sample(count * SECTOR, seed) if count > 1000 else os.urandom(count * SECTOR)
            place.write("piece", piece)
            client.want(OK, "write", sector, count, place.path("piece"))
            data[sector * SECTOR:(sector + count) * SECTOR] = piece
        client.want(OK, "flush")
        assert client.read_all(SIZE) == bytes(data)
        client.want(NOT_SUPPORTED, "set", "comment", "x")
        client.want(OK, "close")
        client.want(OK, "disconnect")
    nothing_else_changed(lab, f, data, before)
    assert not place.host.sessions


def writes_refused(place):
    def check(lab, why, flags=0, path=DISK, code=FILE_READ_ONLY, **how):
        before = [bytes_of(p) for p in lab.volume.luns]
        passed_over(lab, code, flags, path, why, **how)
        want([bytes_of(p) for p in lab.volume.luns] == before, True)

    lab = Lab(place)
    lab.machine(snapshot=False)
    check(lab, "only when the machine has a snapshot")
    want(opened(lab, transports="san"), "san")
    lab.machine(power="poweredOn", now=(DISK,))
    check(lab, "writes to this file", snapshot="snapshot-44", code=NOT_SUPPORTED)
    lab = Lab(place, fill=thin)
    check(lab, "1048576 are not allocated, 1048576 are to be zeroed")
    for kind, text in (("shared", "1048576 are shared"), ("zeroed", "1048576 are to be zeroed"),
                       (None, "1048576 are not allocated"), ("partly", "1048576 are to be zeroed")):
        lab = Lab(place, fill=lambda v, k=kind: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk")),
                                                 v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4, _3=k))))
        check(lab, text)
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk")),
                                     v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4), lock=1)))
    check(lab, "a host has it open")
    want(opened(lab, transports="san"), "san")
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk", parent="01234568",
                                                                           hint='parentFileNameHint="p.vmdk"')),
                                     v.blocks("vm1/disk-flat.vmdk", SIZE, kinds(4))))
    with lab.client() as client:
        client.connect(transports="san")
        client.refused(FILE_READ_ONLY, "open", DISK, 1 << 1, sentence="child")  # a single link


TESTS = [("holes, blocks to be zeroed, and what is allocated", holes), ("blocks that are zeroed in part", ambiguous),
         ("chains of flat, COWD and SE sparse links", chains), ("names of LUNs", names), ("a scan for LUNs", rescan), ("multipath", multipath),
         ("lists of devices", lists), ("what is not by SAN", refusals), ("damaged volumes", damage),
         ("writes that are refused", writes_refused)]


def main():
    with Place(SIZE) as place:
        for version in (3, 5, 6):
            for luns in (1, 2):
                for what, test in (("reads", reads), ("writes", writes)):
                    place.host.reset()
                    lab = Lab(place, version, luns, at_edge if luns > 1 else None)
                    tap.check("VMFS %d on %d LUNs: %s" % (version, luns, what), test, lab)
        for name, test in TESTS:
            place.host.reset()
            place.host.make_inventory()
            tap.check(name, test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
