#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library and disks by SAN: LUNs of a machine that is a folder, VMFS volumes on them, a server that says where the
disk is. What is on the LUNs is not what NFC would give, so that it is seen which way a disk was read."""
import errno
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import host_disks
import tap
from driving import *
from vmfs_image import FS_UUID_TEXT, Volume, bytes_of, put_bytes

SIZE = 4 * MIB
OBJECT_IS_BUSY, FILE_ERROR, NEEDKEY, INVALIDDISK = 5, 7, 16014, 16063
FLAT = "vm1/disk-flat.vmdk"
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
        v.blocks(FLAT, SIZE, kinds(4))

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
                kib=SIZE // 1024, sharing="sharingNone", extra=""):
        """files: of the disk, as of the snapshot; now: as it is."""
        objects = self.place.host.objects
        vm = ("VirtualMachine", self.place.host.vm)

        def devices(names):
            inner = ""
            for name in reversed(names):
                tag = "backing" if name == names[0] else "parent"
                inner = '<%s xsi:type="%s"><fileName>%s</fileName><sharing>%s</sharing>%s%s</%s>' % (
                    tag, kind, name, sharing, extra, inner, tag)
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

    def client(self, settings="vixdisk.san.compare=0", faults=None):
        return Driven(self.place, "vixdisk.hostRoot=%s\n%s\n" % (self.root, settings), faults)

    def data(self, path=FLAT):
        return self.volume.files[path].expect(0, SIZE)

    def fault(self, kind, off, length, number):
        """A rule of tests/remote/faults.c about a place of the volume."""
        lun, at, _ = self.volume.where(off)
        return "%s %s %d %d %d" % (kind, os.path.basename(self.volume.luns[lun]), at, length, number)


def nothing_else_changed(lab, f, data, before):
    """Of the LUNs, whose bytes were `before`, only what makes a file hold data."""
    old = lab.data()
    for off in range(0, SIZE, SECTOR):
        if data[off:off + SECTOR] != old[off:off + SECTOR]:
            lun, at, _ = lab.volume.where(f.places[off // MIB] + off % MIB)
            put_bytes(before[lun], at, data[off:off + SECTOR])
    for path, right in zip(lab.volume.luns, before):
        assert bytes_of(path) == right, "other bytes of %s changed" % path


def opened(lab, path=DISK, flags=READ_ONLY, settings="vixdisk.san.compare=0", faults=None, **how):
    """The transport that a disk is opened by, or the code of the failure."""
    with lab.client(settings, faults) as client:
        client.connect(**how)
        code, text = client.do("open", path, flags)
        return text if code == OK else code


def passed_over(lab, code, flags=READ_ONLY, path=DISK, why=None, settings="vixdisk.san.compare=0", faults=None, **how):
    """san fails with a code, and nbdssl is used in its place; why is in the log."""
    with lab.client(settings, faults) as client:
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
    v.blocks(FLAT, SIZE, kinds(4), at=2 * 256 - 2)


def thin(v):
    v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk"))
    v.blocks(FLAT, SIZE, kinds(4, _1=None, _2="zeroed"))


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
    v.blocks(FLAT, SIZE, kinds(4, _2="partly"))


def ambiguous(place):
    lab = Lab(place, 6, fill=unsure)
    passed_over(lab, NOT_SUPPORTED, why="zeroed in part")


CHAIN = ["[store] vm1/disk-00000%d.vmdk" % n for n in (2, 1)] + [DISK]


class Chain:
    """Flat, COWD on it, SE sparse on that, made by others and put on a volume as they are."""

    def __init__(self, place):
        self.place = place
        shutil.rmtree(place.path("chain"), ignore_errors=True)
        os.makedirs(place.path("chain"))
        image = bytearray(sample(SIZE, 9))
        place.write("chain/image.raw", bytes(image))
        self.run(vixdisk, "convert", "-q", "-f", "raw", "-t", "vmfs", "image.raw", "disk.vmdk")
        self.run(vixdisk, "snapshot", "-t", "vmfsSparse", "disk.vmdk", "disk-000001.vmdk")
        piece = os.urandom(65536 * 3)
        image[70000 // 512 * 512:70000 // 512 * 512 + len(piece)] = piece
        with open(place.write("chain/piece", piece), "rb") as file:
            self.run(vixdisk, "write", "-q", "-o", str(70000 // 512 * 512), "disk-000001.vmdk", stdin=file)
        place.write("chain/image.raw", bytes(image))
        self.run(root + "/tests/lib/make-sesparse", "image.raw", "disk-000002", "disk-000001.vmdk")
        self.data = [place.read("chain/disk-000002.raw"), bytes(image), sample(SIZE, 9)]  # by CHAIN
        assert self.data[0] != self.data[1]

    def run(self, *words, **how):
        subprocess.run(words, check=True, cwd=self.place.path("chain"), stdout=subprocess.DEVNULL, **how)

    def hint(self, hint):
        """Names the base anew in the COWD link."""
        text = self.place.read("chain/disk-000001.vmdk")
        self.place.write("chain/disk-000001.vmdk", re.sub(b'parentFileNameHint="[^"]*"',
                                                          b'parentFileNameHint="%s"' % hint.encode(), text))

    def put(self, v, without=()):
        for name in sorted(os.listdir(self.place.path("chain"))):
            if not name.endswith(".vmdk") or name in without:
                continue
            data = self.place.read("chain/" + name)
            if len(data) < 900:
                v.resident("vm1/" + name, data)
            elif len(data) < 60000:
                v.sub_blocks("vm1/" + name, data)
            else:
                v.blocks("vm1/" + name, len(data), kinds(-(-len(data) // MIB)),
                         data_of=lambda index, data=data: data[index * MIB:(index + 1) * MIB])

    def reads(self, lab):
        """Each link with those below it."""
        for path, data in zip(CHAIN, self.data):
            with lab.client() as client:
                client.connect(transports="san")
                want(client.want(OK, "open", path, READ_ONLY), "san")
                assert client.read_all(SIZE) == data, path
                client.want(OK, "close")


def chains(place):
    chain = Chain(place)
    for version in (5, 6):
        lab = Lab(place, version, fill=chain.put)
        lab.machine(CHAIN)
        chain.reads(lab)
        for path in CHAIN[:2]:
            with lab.client() as client:
                client.connect(transports="san")
                client.refused(FILE_READ_ONLY, "open", path, 0, sentence="is a child")
        want(opened(lab, DISK, 0, transports="san"), "san")
    for volume in (FS_UUID_TEXT, "store1"):
        chain.hint("/vmfs/volumes/%s/vm1/disk.vmdk" % volume)
        lab = Lab(place, fill=chain.put)
        lab.machine(CHAIN)
        chain.reads(lab)
    chain.hint("/vmfs/volumes/%s/vm1/disk.vmdk" % FS_UUID_TEXT.replace("5", "6"))
    lab = Lab(place, fill=lambda v: chain.put(v, ("disk.vmdk", "disk-flat.vmdk")))
    lab.machine(CHAIN)
    want(opened(lab, CHAIN[0], transports="san") in (OK, "san"), False)


def linked_clone(place):
    """A parent in another folder of the volume: only if the server says that it is one of the disk's files."""
    chain = Chain(place)
    base = "[store] base/disk.vmdk"
    for hint in ("/vmfs/volumes/%s/base/disk.vmdk" % FS_UUID_TEXT, "../base/disk.vmdk"):
        chain.hint(hint)

        def fill(v):
            v.folder("base")
            chain.put(v, ("disk.vmdk", "disk-flat.vmdk", "disk-000002.vmdk"))
            v.resident("base/disk.vmdk", place.read("chain/disk.vmdk"))
            v.blocks("base/disk-flat.vmdk", SIZE, kinds(4), data_of=lambda i: chain.data[2][i * MIB:(i + 1) * MIB])

        lab = Lab(place, fill=fill)
        lab.machine((CHAIN[1], base))
        with lab.client() as client:
            client.connect(transports="san")
            want(client.want(OK, "open", CHAIN[1], READ_ONLY), "san")
            assert client.read_all(SIZE) == chain.data[1]
            client.want(OK, "close")
        for other in ("[store] base/other.vmdk", "[other] base/disk.vmdk", "[store] base/disk.vmdk.vmdk"):
            lab.machine((CHAIN[1], other))
            want(opened(lab, CHAIN[1], transports="san"), FILE_ACCESS_ERROR)
        lab.machine((CHAIN[1],))
        want(opened(lab, CHAIN[1], transports="san"), FILE_ACCESS_ERROR)
        want(opened(lab, CHAIN[1], settings="vixdisk.san.compare=0\nvixdisk.allowOutsidePaths=1", transports="san"), "san")


# ---- what a disk tells ----

def facts(place):
    """The same by SAN as over NFC, of the disk and of the machine's hardware."""
    for thin in ("", "<thinProvisioned>true</thinProvisioned>"):
        lab = Lab(place)
        lab.machine(extra=thin)
        told = {}
        for transport in ("san", "nbdssl"):
            with lab.client() as client:
                client.connect(transports=transport)
                want(client.want(OK, "open", DISK, READ_ONLY), transport)
                told[transport] = client.want(OK, "facts")
                client.want(OK, "close")
        want(told["san"], told["nbdssl"])
        want(told["san"].endswith("; vmdk %d 1%s; %s on -" % (SIZE // SECTOR, " thin" if thin else "", DISK)), True)
    chain = Chain(place)
    lab = Lab(place, fill=chain.put)
    lab.machine(CHAIN)
    with lab.client() as client:
        client.connect(transports="san")
        client.want(OK, "open", CHAIN[0], READ_ONLY)
        text = client.want(OK, "facts")
        for part in ("capacity %d " % (SIZE // SECTOR), " links 3 parent %s uuid " % CHAIN[1], " sectors 512/512; ",
                     "; vmdk %d 3; %s on %s; %s on %s; %s on -" % (SIZE // SECTOR, CHAIN[0], CHAIN[1], CHAIN[1], DISK,
                                                                  DISK)):
            assert part in text, (part, text)
        client.want(OK, "close")


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
    lab.link("wwn-0x" + lab.names[0][4:], "sdb")
    lab.link("scsi-1other", "sda")
    key = "vixDiskLib.transport.san."
    for settings, right in ((key + "denyList=/dev/sdb", NOT_SUPPORTED), (key + "denyList=/dev/sda,/dev/sdc", "san"),
                            (key + "denyList=/dev/sd*", NOT_SUPPORTED), (key + "denyList=all", NOT_SUPPORTED),
                            (key + "blacklist=/dev/sd?", NOT_SUPPORTED), (key + "denyList=" + lab.names[0], NOT_SUPPORTED),
                            (key + "denyList=all\n" + key + "allowList=/dev/sdb", "san"),
                            (key + "denyList=all\n" + key + "allowList=/dev/sdx, /dev/sd[ab]", "san"),
                            (key + "blacklist=all\n" + key + "whitelist=/dev/sdb", "san"),
                            (key + "denyList=all\n" + key + "allowList=/dev/sdc", NOT_SUPPORTED),
                            (key + "denyList=/dev/disk/by-id/wwn-*", NOT_SUPPORTED),
                            (key + "denyList=/dev/disk/by-id/scsi-*", "san"),
                            (key + "denyList=all\n" + key + "allowList=/dev/disk/by-id/wwn-0x" + lab.names[0][4:], "san")):
        want((settings, opened(lab, settings=settings + "\nvixdisk.san.compare=0", transports="san")), (settings, right))


    lab.device("dm-3", lab.volume.luns[0], {"dm/uuid": "mpath-3" + lab.names[0][4:], "dm/name": "mpatha"})
    os.makedirs(lab.root + "/sys/block/sdb/holders/dm-3")
    for settings, right in ((key + "denyList=/dev/mapper/mpath*", NOT_SUPPORTED), (key + "denyList=/dev/mapper/mpathb", "san"),
                            (key + "denyList=/dev/dm-3", NOT_SUPPORTED),
                            (key + "denyList=all\n" + key + "allowList=/dev/mapper/mpatha", "san")):
        want((settings, opened(lab, settings=settings + "\nvixdisk.san.compare=0", transports="san")), (settings, right))


# ---- devices that fail ----

def rights(place):
    """A device that this process may not open: what to do is told."""
    lab = Lab(place)
    lab.machine(now=(CHILD, DISK))
    for kind, flags, word in (("open", READ_ONLY, "reading"), ("open", 0, "writing"), ("open-write", 0, "writing")):
        for number in (errno.EACCES, errno.EPERM):
            passed_over(lab, NOT_SUPPORTED, flags, faults=["%s /dev/sdb 0 0 %d" % (kind, number)],
                        why="/dev/sdb: this process may not open it for %s: run it as root, or" % word)
    want(opened(lab, faults=["open-write /dev/sdb 0 0 %d" % errno.EACCES], transports="san"), "san")
    passed_over(lab, FILE_READ_ONLY, 0, faults=["open-write /dev/sdb 0 0 %d" % errno.EROFS])  # a LUN that is read only
    other_path(lab)
    want(opened(lab, faults=["open /dev/sdb 0 0 %d" % errno.EACCES], transports="san"), "san")


def other_path(lab):
    """Another device of the LUN, over a file that has a name of its own."""
    file = lab.place.path("path2.img")
    if os.path.exists(file):
        os.unlink(file)
    os.link(lab.volume.luns[0], file)
    lab.device("sdc", file, {"device/wwid": lab.names[0]})


def went_on(client):
    """By which devices."""
    return re.findall(r": goes on by (\S+)", "\n".join(client.messages()))


def paths_fail(place):
    """In the middle: another path of the LUN, and the error where none is left."""
    lab = Lab(place)
    other_path(lab)
    lun, at, _ = lab.volume.where(lab.volume.files[FLAT].places[2])
    one, two = ("read %s %d %d %%d" % (name, at, MIB) for name in ("lun0.img", "path2.img"))
    io = errno.EIO
    with lab.client(faults=[]) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, READ_ONLY), "san")
        client.faults(one % io)
        assert client.read_all(SIZE) == lab.data()
        want(went_on(client), ["/dev/sdc"])
        client.faults(two % errno.ENXIO)
        assert client.read_all(SIZE, 100) == lab.data()  # many requests at once
        want(went_on(client), ["/dev/sdc", "/dev/sdb"])
        client.faults(one % io, two % io)
        client.refused(FILE_ERROR, "read", 4096, 1, sentence="cannot read .* Input/output error", begins="")
        want(client.do("async", 0, SIZE // SECTOR, 100)[0], FILE_ERROR)
        client.want(OK, "read", 0, 4096)
        client.faults()
        assert client.read_all(SIZE) == lab.data()
        before = went_on(client)
        client.faults(one % errno.EINVAL, two % errno.EINVAL)  # not of a path
        client.want(FILE_ERROR, "read", 4096, 1)
        want(went_on(client), before)
        client.want(OK, "close")


def at_once(place):
    """Several requests are under way: of one large read, and of many small ones."""
    lab = Lab(place)
    with lab.client(faults=[]) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, READ_ONLY), "san")
        client.faults("slow lun0.img 0 %d 300" % (1 << 40))
        with Deadline(1):
            assert client.read_all(SIZE) == lab.data()  # 4 pieces
        with Deadline(4):
            assert client.read_all(SIZE, 350) == lab.data()  # 24
        client.want(OK, "close")


def paths_are_others(place):
    """What is no path of the LUN any more, or cannot be opened, is not taken."""
    lab = Lab(place)
    lun, at, _ = lab.volume.where(lab.volume.files[FLAT].places[2])
    rule = "read lun0.img %d %d %d" % (at, MIB, errno.EIO)

    def none():
        pass

    def another():
        lab.attribute("sdc", "device/wwid", NAA % 77)

    def shorter():
        lab.device("sdc", place.write("short.img", bytes(20 * MIB)))

    def denied():
        client.faults(rule, "open /dev/sdc 0 0 %d" % errno.EACCES)

    def dead():
        client.faults(rule, "read path2.img 0 %d %d" % (1 << 40, errno.EIO))

    for change, says in ((none, None), (another, ""), (shorter, "of another size"), (denied, "may not open it"),
                         (dead, "Input/output error")):
        other_path(lab)
        with lab.client(faults=[]) as client:
            client.connect(transports="san")
            want(client.want(OK, "open", DISK, READ_ONLY), "san")
            client.faults(rule)
            change()
            got = client.do("read", 4096, 8, place.path("out"))[0]
            want((change.__name__, got), (change.__name__, OK if says is None else FILE_ERROR))
            want(went_on(client), ["/dev/sdc"] if says is None else [])
            assert not says or re.search("not by /dev/sdc: .*" + says, "\n".join(client.messages())), client.messages()
            client.want(OK, "read", 0, 8)
            client.want(OK, "close")


def paths_fail_for_writes(place):
    lab = Lab(place)
    lab.machine(now=(CHILD, DISK))
    other_path(lab)
    before = [bytes_of(path) for path in lab.volume.luns]
    data = bytearray(lab.data())
    everything = "0 %d %d" % (1 << 40, errno.EIO)
    with lab.client(faults=[]) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, 0), "san")
        for rule, sector, count in (("write lun0.img", 7, 1025), ("write path2.img", 2040, 4100)):
            client.faults("%s %s" % (rule, everything))
            piece = os.urandom(count * SECTOR)
            client.want(OK, "write", sector, count, place.write("piece", piece))
            data[sector * SECTOR:(sector + count) * SECTOR] = piece
        client.faults("sync lun0.img 0 0 %d" % errno.EIO)
        client.want(OK, "flush")
        want(went_on(client), ["/dev/sdc", "/dev/sdb", "/dev/sdc"])
        client.faults("write lun0.img " + everything, "write path2.img " + everything)
        client.refused(FILE_ERROR, "write", 0, 8, place.path("piece"), sentence="Input/output error", begins="")
        client.faults("sync lun0.img 0 0 %d" % errno.EIO, "sync path2.img 0 0 %d" % errno.EIO)
        client.refused(FILE_ERROR, "flush", sentence="Input/output error", begins="")
        client.faults()
        assert client.read_all(SIZE) == bytes(data)
        client.want(OK, "close")
    nothing_else_changed(lab, lab.volume.files[FLAT], data, before)


def changing(place):
    """A descriptor that is another one when it is read again: the map is read anew, three times."""
    lab = Lab(place)
    lab.machine(now=(CHILD, DISK))
    before = [bytes_of(path) for path in lab.volume.luns]
    token = lab.volume.files[FLAT].inode + 0x1C

    def reads_of_it(changes):
        with lab.client(faults=[lab.fault("change", token, 1, changes)]) as client:
            client.connect(transports="san")
            want((changes, client.want(OK, "open", DISK, 0)), (changes, "san"))
            client.want(OK, "close")
            return len(client.met("change"))

    count = reads_of_it(0)  # the last one is the one that compares
    want([reads_of_it(n) for n in (count - 1, count)], [count + 1, count + 2])
    want(opened(lab, DISK, 0, faults=[lab.fault("change", token, 1, count + 1)], transports="san"), OBJECT_IS_BUSY)
    passed_over(lab, OBJECT_IS_BUSY, 0, why="a host changes the file: its map was not the same twice in 3 tries",
                faults=[lab.fault("change", token, 1, 10000)])
    want([bytes_of(path) for path in lab.volume.luns] == before, True)


def unreadable(place):
    """Tables of a volume that give errors: what they say is taken to be as everywhere, compared with the host's bytes, and
    not written by."""
    for version, luns, table in ((5, 1, "extents"), (6, 2, "extents"), (6, 1, "bitmap"), (6, 1, "small")):
        lab = Lab(place, version, luns, at_edge if luns > 1 else None)
        lab.machine(now=(CHILD, DISK))
        v = lab.volume
        bitmap = v.system["fbb"].first_block * v.fbs
        rule = {"extents": "read lun%d.img %d 4096 5" % (luns - 1, v.pe_entry(luns - 1, 0)),
                "bitmap": lab.fault("read", bitmap, 64, errno.EIO),
                "small": lab.fault("read", bitmap + 0x8000, 64, errno.EIO)}[table]
        for settings in ("", "vixdisk.san.compare=0") if version == 5 else ("vixdisk.san.compare=0",):
            place.write("store/" + FLAT, lab.data())
            with lab.client(settings, [rule]) as client:
                client.connect(transports="san")
                want((table, client.want(OK, "open", DISK, READ_ONLY)), (table, "san"))
                assert client.met("read") and "they are taken to be where" in "\n".join(client.messages())
                assert client.read_all(SIZE) == lab.data()
                client.want(OK, "close")
            place.write("store/" + FLAT, bytes(SIZE))
            passed_over(lab, NOT_SUPPORTED, settings=settings, faults=[rule], why="are not those that the host gives")
            os.unlink(place.path("store/" + FLAT))
            want(opened(lab, settings=settings, faults=[rule], transports="san"), NOT_SUPPORTED)
            place.fill()
        passed_over(lab, FILE_READ_ONLY, 0, faults=[rule], why="a table that tells where the volume's pieces are")
    lab = Lab(place, 5)
    lab.machine(now=(CHILD, DISK))
    bitmap = lab.volume.system["fbb"].first_block * lab.volume.fbs
    want(opened(lab, DISK, 0, faults=[lab.fault("read", bitmap, 64, errno.EIO)], transports="san"), "san")
    sub_blocks = lab.volume.system["sbc"].first_block * lab.volume.fbs
    passed_over(lab, FILE_ERROR, faults=[lab.fault("read", sub_blocks, 64, errno.EIO)], why=".sbc.sf: ")


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
    lab.datastore(names=[NAA % n for n in range(33)])
    passed_over(lab, NOT_SUPPORTED, why="no LUNs, or too many")
    lab.datastore(names=["mpx.vmhba1:C0:T0:L0"])
    passed_over(lab, NOT_SUPPORTED, why="mpx.vmhba1")
    lab.datastore(names=[lab.names[0]])
    passed_over(lab, NOT_SUPPORTED, why="on 2 LUNs")
    lab.datastore()
    lab.machine(kib=SIZE // 1024 * 2)
    want(opened(lab, transports="san"), INVALIDDISK)
    lab.machine(kind="VirtualDiskRawDiskMappingVer1BackingInfo")
    passed_over(lab, NOT_SUPPORTED, why="raw device mapping")
    passed_over(lab, FILE_READ_ONLY, 0, why="raw device mapping")
    lab.machine((CHILD,))
    want(opened(lab, transports="san"), NOT_SUPPORTED)  # no disk of the machine
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


def name_of_two_datastores(place):
    """The one that the machine is on is read."""
    lab = Lab(place)
    there = place.host.objects
    ordinary = dict(there)
    there.clear()
    there["Datacenter", "datacenter-9"] = {"name": host_disks.string("DC1"),
                                           "datastore": host_disks.list_of("Datastore", "datastore-7")}
    there["Datastore", "datastore-7"] = dict(ordinary["Datastore", "datastore-1"], info='<val xsi:type="NasDatastoreInfo"/>')
    there.update(ordinary)
    want(opened(lab, transports="san"), "san")
    there["VirtualMachine", place.host.vm]["datastore"] = host_disks.list_of("Datastore", "datastore-8")
    passed_over(lab, INVALID_ARG, why="2 datastores are called store")


def encrypted(place):
    """On the LUN there is what only the host can read."""
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk", hint='encryptionKeys="x"')),
                                     v.blocks(FLAT, SIZE, kinds(4))))
    passed_over(lab, NEEDKEY, why="the disk is encrypted")


def in_a_machine(place):
    """VDDK has no SAN in a virtual machine: a line of the log tells that we have."""
    lab = Lab(place)
    for vendor, says in (("VMware, Inc.", True), ("QEMU", False)):
        os.makedirs(lab.root + "/sys/class/dmi/id", exist_ok=True)
        place.write(lab.root + "/sys/class/dmi/id/sys_vendor", vendor + "\n")
        with lab.client() as client:
            client.connect(transports="san")
            want(client.want(OK, "open", DISK, READ_ONLY), "san")
            want("by SAN in a virtual machine of VMware" in "\n".join(client.messages()), says)
            client.want(OK, "close")


def damage(place):
    lab = Lab(place)
    header = 0x200000
    for off, data, why in ((header + 4, b"\x19", "internal version 25"), (header, b"\x60", "magic 0x2fabf160")):
        lun, at, _ = lab.volume.where(off)
        with open(lab.volume.luns[lun], "r+b") as file:
            old = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), data, at)
            passed_over(lab, NOT_SUPPORTED, why=why)
            os.pwrite(file.fileno(), old, at)
    want(opened(lab, transports="san"), "san")
    lun, at, _ = lab.volume.where(lab.volume.files["vm1/disk-flat.vmdk"].inode + 4)
    with open(lab.volume.luns[lun], "r+b") as file:
        file.seek(at)
        file.write(b"\1")
    passed_over(lab, INVALIDDISK, why="no descriptor of a file at byte")
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", b"no descriptor"),
                                     v.blocks(FLAT, SIZE, kinds(4))))
    want(opened(lab, transports="san") in (OK, "san"), False)
    want(opened(lab, transports="san:nbdssl"), "nbdssl")
    lab = Lab(place, fill=lambda v: v.blocks(FLAT, SIZE, kinds(4)))
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
                                                 v.blocks(FLAT, SIZE, kinds(4, _3=k))))
        check(lab, text)
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk")),
                                     v.blocks(FLAT, SIZE, kinds(4), lock=1)))
    check(lab, "a host has it open")
    want(opened(lab, transports="san"), "san")
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk", parent="01234568",
                                                                           hint='parentFileNameHint="p.vmdk"')),
                                     v.blocks(FLAT, SIZE, kinds(4))))
    with lab.client() as client:
        client.connect(transports="san")
        client.refused(FILE_READ_ONLY, "open", DISK, 1 << 1, sentence="child")  # a single link
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk",
                                                                           hint='changeTrackPath="disk-ctk.vmdk"')),
                                     v.blocks(FLAT, SIZE, kinds(4))))
    check(lab, "its changes are tracked")
    want(opened(lab, transports="san"), "san")
    chain = Chain(place)
    text = place.read("chain/disk-000001.vmdk")
    place.write("chain/disk-000001.vmdk", re.sub(b'(?m)^parentFileNameHint=.*\n', b"",
                                                 re.sub(b"(?m)^parentCID=.*$", b"parentCID=ffffffff", text)))
    lab = Lab(place, fill=chain.put)
    lab.machine((CHAIN[1],))
    want(opened(lab, CHAIN[1], transports="san"), "san")
    with lab.client() as client:
        client.connect(transports="san")
        client.refused(FILE_READ_ONLY, "open", CHAIN[1], 0, sentence="an extent that is not plain bytes")


TESTS = [("holes, blocks to be zeroed, and what is allocated", holes), ("blocks that are zeroed in part", ambiguous),
         ("chains of flat, COWD and SE sparse links", chains),
         ("a parent in another folder", linked_clone), ("what a disk tells", facts), ("names of LUNs", names),
         ("a scan for LUNs", rescan), ("multipath", multipath), ("lists of devices", lists),
         ("devices that may not be opened", rights), ("requests at once", at_once), ("paths that fail", paths_fail),
         ("paths that are none any more", paths_are_others), ("paths that fail for writes", paths_fail_for_writes),
         ("descriptors that change", changing), ("tables that cannot be read", unreadable),
         ("what is not by SAN", refusals), ("a name of two datastores", name_of_two_datastores),
         ("an encrypted disk", encrypted), ("in a virtual machine", in_a_machine),
         ("damaged volumes", damage), ("writes that are refused", writes_refused)]


def main():
    wanted = sys.argv[1:]
    with Place(SIZE) as place:
        for version in () if wanted else (3, 5, 6):
            for luns in (1, 2):
                for what, test in (("reads", reads), ("writes", writes)):
                    place.host.reset()
                    lab = Lab(place, version, luns, at_edge if luns > 1 else None)
                    tap.check("VMFS %d on %d LUNs: %s" % (version, luns, what), test, lab)
        for name, test in TESTS:
            if not wanted or any(word in name for word in wanted):
                place.host.reset()
                place.host.make_inventory()
                tap.check(name, test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
