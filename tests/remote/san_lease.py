#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Disks by SAN with a lease, whose map is made from what the builder of the volume knows; and what is found on the LUNs
compared with what the host gives over NFC."""
import os
import subprocess
import sys
import time

import tap
from driving import *
from host_lease import Leases
from san import (CHAIN, CHILD, FLAT, INVALIDDISK, NEEDKEY, Chain, Lab, at_edge, descriptor, kinds,
                 nothing_else_changed, opened, passed_over, want)
from vmfs_image import FS_UUID_TEXT, bytes_of

SIZE = 4 * MIB
CONNECTION_LOST = 36
LEASE = "vixdisk.san.lease=1"
ENDED = "lease of the disk has ended"


def mixed(v):
    """A hole, a block to be zeroed, and data on both sides of the end of an extent."""
    v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk"))
    v.blocks(FLAT, SIZE, kinds(4, _1=None, _2="zeroed"), at=2 * 256 - 1)


def damaged(lab):
    """The volume's descriptor of the disk's file is no more: only a lease tells where it is."""
    v = lab.volume
    lun, at, _ = v.where(v.files[FLAT].inode + 4)
    with open(v.luns[lun], "r+b") as file:
        file.seek(at)
        file.write(b"\1")


def extents(lab, unit=MIB, by_volume=False):
    """The mappings of a host for the disk; unit at most the block of the file system."""
    v, f, of = lab.volume, lab.volume.files[FLAT], {}
    for index, off in f.places.items():
        lun, at, _ = v.where(off)
        flag = {"zeroed": "lazyZero", "partly": "lazyZero"}.get(f.kinds[index], "")
        row = (index * MIB // unit, MIB // unit, (off if by_volume else at) // unit, flag)
        of.setdefault(FS_UUID_TEXT if by_volume else lab.names[lun], []).append(row)
    return [("Vmfs" if by_volume else "Scsi", element, rows) for element, rows in of.items()]


def leased(lab, unit=MIB, by_volume=False, timeout=None):
    leases = Leases(lab.place.host.fault, unit, timeout)
    leases.maps[DISK] = extents(lab, unit, by_volume)
    leases.sizes[DISK] = SIZE // unit
    lab.place.host.leases = leases
    lab.place.write("store/" + FLAT, lab.data())
    return leases


def calls(leases, method):
    return [entry for entry in leases.log if entry[0] == method]


def log_of(client):
    return "\n".join(client.messages())


def has(client, text):
    assert text in log_of(client), "%r is not in the log:\n%s" % (text, log_of(client))


def read_by(lab, how, settings=LEASE, lease=None):
    """Opens, reads everything, closes; how the log says that it was."""
    with lab.client(settings) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, READ_ONLY), "san")
        assert client.read_all(SIZE) == lab.data()
        assert client.read_all(SIZE, 100) == lab.data()
        want(client.want(OK, "info"), str(SIZE // SECTOR))
        want(client.want(OK, "get", "adapterType"), "lsilogic")
        assert "uuid" in client.want(OK, "keys").split()
        client.want(FILE_READ_ONLY, "write", 0, 1, lab.place.flat)
        blocks = client.want(OK, "blocks", 0, SIZE // SECTOR, 128)
        has(client, ", %s, for reading" % how)
        if lease:
            has(client, lease)
        client.want(OK, "close")
        return blocks


# ---- two that tell where the bytes are ----

def agree(place, version, luns):
    lab = Lab(place, version, luns, mixed)
    for by_volume in (False, True):
        leases = leased(lab, by_volume=by_volume)
        by_both = read_by(lab, "by the volume and a lease", lease="lease and volume agree in 4 runs")
        want((leases.held, calls(leases, "read-only")), ({}, [("read-only", "true")]))
        want(len(calls(leases, "ReleaseLease")), 1)
    want(read_by(lab, "by the volume", ""), by_both)
    damaged(lab)
    for by_volume in (False, True):
        leased(lab, by_volume=by_volume)
        want(read_by(lab, "by the lease"), by_both)
    want(by_both, "0+2048 6144+2048 ")


def lease_alone(place):
    """Where the volume does not tell all: a block of which some parts are to be zeroed, and which."""
    lab = Lab(place, 6, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk")),
                                        v.blocks(FLAT, SIZE, kinds(4, _2="partly"))))
    leases = leased(lab)
    want(read_by(lab, "by the lease"), "0+4096 6144+2048 ")
    want(leases.held, {})
    lab.machine(now=(CHILD, DISK))
    passed_over(lab, FILE_READ_ONLY, 0, settings=LEASE)
    want(leases.held, {})
    place.host.leases = None
    passed_over(lab, NOT_SUPPORTED, settings=LEASE, why="zeroed in part")


def flattened(lab, path):
    """The map of a chain in sectors: what `vixdisk map` says of each file, put where the builder has put the file. What is
    not of the top link may not be written."""
    of = {}
    told = subprocess.run([vixdisk, "map", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in told.splitlines()[1:]:
        start, length, _, depth, offset, name = line.split(None, 5)
        if offset == "-":
            continue
        f = lab.volume.files["vm1/" + os.path.basename(name)]
        done = 0
        while done < int(length):
            at = int(offset) + done
            take = min(int(length) - done, f.step - at % f.step)
            lun, there, _ = lab.volume.where(f.places[at // f.step] + at % f.step)
            of.setdefault(lab.names[lun], []).append(((int(start) + done) // SECTOR, take // SECTOR, there // SECTOR,
                                                      "readOnly" if int(depth) else ""))
            done += take
    return [("Scsi", name, rows) for name, rows in of.items()]


def chains(place):
    """Flat, COWD and SE sparse links with a lease: by the volume, and where that is damaged by the lease's map."""
    chain = Chain(place)
    for version, luns in ((5, 1), (6, 2)):
        lab = Lab(place, version, luns, chain.put)
        lab.machine(CHAIN)
        leases = Leases(place.host.fault, SECTOR)
        place.host.leases = leases
        for path, data in zip(CHAIN, chain.data):
            name = os.path.basename(path.split(" ")[1])
            leases.maps[path] = flattened(lab, place.path("chain/" + name))
            leases.sizes[path] = SIZE // SECTOR
            place.write("store/vm1/" + name.replace(".vmdk", "-flat.vmdk"), data)
        for how in ("by the volume and a lease", "by the lease"):
            for path, data in zip(CHAIN, chain.data):
                with lab.client(LEASE) as client:
                    client.connect(transports="san")
                    want(client.want(OK, "open", path, READ_ONLY), "san")
                    assert client.read_all(SIZE) == data, (how, path)
                    assert client.read_all(SIZE, 7) == data, (how, path)
                    has(client, ", %s, for reading" % how)
                    text = client.want(OK, "facts")
                    assert " links %d " % len(CHAIN[CHAIN.index(path):]) in text, text
                    assert path == DISK or " parent %s " % CHAIN[CHAIN.index(path) + 1] in text, text
                    client.want(FILE_READ_ONLY, "write", 0, 1, place.flat)
                    client.want(OK, "close")
            want(leases.held, {})
            want(len(calls(leases, "ReleaseLease")), len(calls(leases, "AcquireLeaseExt")))
            damaged(lab)


def encrypted(place):
    """What a lease leads to is what the volume has: nothing that can be read."""
    lab = Lab(place, fill=lambda v: (v.resident("vm1/disk.vmdk", descriptor("disk-flat.vmdk", hint='encryptionKeys="x"')),
                                     v.blocks(FLAT, SIZE, kinds(4))))
    leases = leased(lab)
    passed_over(lab, NEEDKEY, settings=LEASE, why="the disk is encrypted")
    want(leases.held, {})


def off_by_default(place):
    lab = Lab(place, fill=mixed)
    leases = leased(lab)
    read_by(lab, "by the volume", "")
    want(leases.log, [])
    lab.machine(snapshot=False)
    with lab.client(LEASE) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, READ_ONLY), "san")
        has(client, "no lease is taken: the machine has no snapshot")
    want(leases.log, [])


def spellings(place):
    """Units, names of LUNs, order and parts of a map, namespaces."""
    lab = Lab(place, fill=mixed, luns=2)
    damaged(lab)

    def good(change, unit=MIB):
        leases = leased(lab, unit)
        change(leases)
        read_by(lab, "by the lease")
        want(leases.held, {})

    def set_units(granularity, min_block):
        return lambda leases: leases.__dict__.update(granularity=granularity, min_block=min_block)

    good(set_units(65536, 1 << 20), 65536)
    good(set_units(1 << 20, 65536), 65536)
    good(set_units(1 << 20, 0), 512)
    good(set_units(0, 0), 1)
    vml = {name: "vml.0200000000" + name[4:].upper() + "4d5341" for name in lab.names}
    good(lambda leases: leases.maps.update({DISK: [(k, vml[e], x) for k, e, x in leases.maps[DISK]]}))
    good(lambda leases: leases.maps.update({DISK: [(k, e.upper(), x[::-1]) for k, e, x in leases.maps[DISK][::-1]]}))
    good(lambda leases: leases.__dict__.update(page=3), 65536)
    good(lambda leases: leases.__dict__.update(names=["urn:internalvim25"]))
    good(lambda leases: leases.__dict__.update(ddb={k[4:]: v for k, v in leases.ddb.items()}))


def unusable(place):
    """What a lease's map must not be: then the volume alone is read, and the lease is given back."""
    lab = Lab(place, fill=mixed)
    name, rows = lab.names[0], extents(Lab(place, fill=mixed))[0][2]

    def bad(sentence, change):
        leases = leased(lab)
        change(leases)
        seen = len(client.messages())
        want(client.want(OK, "open", DISK, READ_ONLY), "san")
        log = "\n".join(client.messages()[seen:])
        for text in ("no lease is held: ", sentence, ", by the volume, for reading"):
            assert text in log, (text, log)
        assert client.read_all(SIZE) == lab.data()
        want(leases.held, {})
        want(client.want(OK, "close"), "")

    def mapping(*more, kind="Scsi", element=name, of=None):
        return lambda leases: leases.maps.update({DISK: [(kind, element, list(rows if of is None else of) + list(more))]})

    def answer(method, text):
        return lambda leases: leases.bad.update({method: "<returnval>%s</returnval>" % text})

    with lab.client(LEASE) as client:
        client.connect(transports="san")
        bad("two extents for one place", mapping((0, 1, 300, "")))
        bad("two extents for one place", mapping((3, 1, 300, "")))
        bad("which is no LUN", mapping(element="naa.6005"))
        bad("which is no LUN", mapping(element="vml.02"))
        bad("is not known", mapping(kind="Vmfs"))
        bad("is not known", mapping(kind="Vmfs", element="52112c2e-60f5b79e-1b9c-000c29aabbcd"))
        bad("neither a LUN nor a volume", mapping(kind="Nas"))
        bad("neither a LUN nor a volume", mapping(element=""))
        bad("too many LUNs", lambda leases: leases.maps.update({DISK: [("Scsi", "naa.%d" % n, [(0, 1, n, "")]) for n in
                                                                      range(257)]}))
        bad("of LUN naa", mapping(of=[(0, 1, 1 << 30, "")]))
        bad("of LUN naa", mapping(of=[(0, 1, (1 << 44) - 1, "")]))
        bad("not of a disk of", mapping(of=[(0, 1, 1 << 60, "")]))
        bad("leads to byte", mapping(kind="Vmfs", element=FS_UUID_TEXT, of=[(0, 1, 1 << 30, "")]))
        bad("not a disk of 4194304", lambda leases: leases.sizes.update({DISK: 5}))
        bad("no size", lambda leases: leases.sizes.update({DISK: 0}))
        bad("no lease", answer("AcquireLeaseExt", "<blockInfo><size>4</size></blockInfo>"))
        bad("another part of the disk", answer("LeaseMapDiskRegion", "<mapStart>1</mapStart>"))
        bad("another part of the disk", answer("LeaseMapDiskRegion", "<mapLength>0</mapLength>"))
        bad("another part of the disk", answer("LeaseMapDiskRegion", "<mapLength>5</mapLength>"))
        for at, physical, length in ((4, 0, 1), (3, 0, 2), (0, 0, 0), (-1, 0, 1), (0, -1, 1), (0, "x", 1),
                                     ((1 << 64) - 1, 0, 2)):
            bad("not within what was asked for", answer(
                "LeaseMapDiskRegion", '<map xsi:type="HostDiskBlockInfoScsiMapping"><element>%s</element><extent>'
                "<logicalStart>%s</logicalStart><physicalStart>%s</physicalStart><length>%s</length></extent></map>"
                % (name, at, physical, length)))
        bad("no map", lambda leases: leases.bad.update({"LeaseMapDiskRegion": ""}))
        bad("not a disk of", lambda leases: leases.__dict__.update(granularity=0, min_block=0))


def faults(place):
    """Any fault is that there is no lease here."""
    lab = Lab(place, fill=mixed)
    with lab.client(LEASE) as client:
        client.connect(transports="san")
        for method in ("AcquireLeaseExt", "LeaseMapDiskRegion"):
            for kind in ("LeaseFault", "InvalidDiskFormat", "NoPermission", "MethodNotFound", "NotSupported",
                         "OutOfBounds", "Timedout", "InvalidState", "NotFound", "InvalidDatastore", "ConcurrentAccess",
                         "NoDiskSpace"):
                leases = leased(lab)
                leases.faults[method] = [kind]
                want(client.want(OK, "open", DISK, READ_ONLY), "san")
                has(client, "no lease is held: 127.0.0.1:%d: %s: %s: " % (place.host.soap_port, method, kind))
                want(client.want(OK, "close"), "")
                want(leases.held, {})
                want(len(calls(leases, "ReleaseLease")), int(method == "LeaseMapDiskRegion"))
    damaged(lab)
    leased(lab).faults["AcquireLeaseExt"] = ["LeaseFault"]
    passed_over(lab, INVALIDDISK, settings=LEASE, why="no descriptor of a file at byte")
    place.host.leases = None
    with lab.client(LEASE) as client:
        client.connect(transports="san:nbdssl")
        want(client.want(OK, "open", DISK, READ_ONLY), "nbdssl")
        has(client, "gives no leases of disks")


def disagree(place):
    """A map that is another one than the volume's, and one that leads to other bytes than the host gives."""
    lab = Lab(place, fill=mixed)

    def shifted(leases, change):
        kind, element, rows = leases.maps[DISK][0]
        leases.maps[DISK] = [(kind, element, change(rows))]

    for change in (lambda rows: [(s, n, p + 1, f) for s, n, p, f in rows],
                   lambda rows: [(s, n, p, "") for s, n, p, f in rows],
                   lambda rows: rows[:-1],
                   lambda rows: [(s, n, p, "lazyZero") for s, n, p, f in rows]):
        leases = leased(lab)
        shifted(leases, change)
        passed_over(lab, NOT_SUPPORTED, settings=LEASE, why="is not that of the volume")
        want(leases.held, {})
        lab.machine(now=(CHILD, DISK))
    damaged(lab)
    for change in (lambda rows: [(s, n, p + 1, f) for s, n, p, f in rows],
                   lambda rows: [(s, n, p, "") for s, n, p, f in rows],
                   lambda rows: rows[:-1]):
        leases = leased(lab)
        shifted(leases, change)
        for settings in (LEASE, LEASE + "\nvixdisk.san.compare=0"):  # a lease alone is compared in any case
            passed_over(lab, NOT_SUPPORTED, settings=settings, why="are not those that the host gives")
        want(leases.held, {})


# ---- how long it is held ----

def wait_for(test, seconds=20):
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def renewed(place):
    lab = Lab(place, fill=mixed)
    leases = leased(lab, timeout=1)
    with lab.client(LEASE) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, READ_ONLY), "san")
        wait_for(lambda: len(calls(leases, "RenewLease")) >= 4)
        assert client.read_all(SIZE) == lab.data()
        want({entry[2] for entry in calls(leases, "RenewLease")}, {"urn:vim25"})
        want(client.want(OK, "close"), "")
    want(leases.held, {})


def had_again(place):
    """A lease that the host has forgotten, with or without the session, is taken again."""
    lab = Lab(place, fill=mixed)
    for what in ("lease", "session", "both"):
        leases = leased(lab, timeout=2)
        with lab.client(LEASE) as client:
            client.connect(transports="san")
            want(client.want(OK, "open", DISK, READ_ONLY), "san")
            with place.host.lock:
                if what != "session":
                    leases.held.clear()
                if what != "lease":
                    place.host.cookies.clear()
            seen = len(calls(leases, "RenewLease"))
            wait_for(lambda: len(calls(leases, "RenewLease")) > seen + 1)
            assert client.read_all(SIZE) == lab.data()
            want(client.want(OK, "close"), "")
            want("the lease was taken again" in log_of(client), what != "session")
        want(leases.held, {})


def lost(place):
    """One that is not had again, or has another map then: not a byte more."""
    lab = Lab(place, fill=mixed)
    for kind, broken in (("Timedout", False), ("another map", False), ("InvalidState", True), ("another map", True)):
        if broken:
            damaged(lab)
        leases = leased(lab, timeout=1)
        with lab.client(LEASE) as client:
            client.connect(transports="san")
            want(client.want(OK, "open", DISK, READ_ONLY), "san")
            with place.host.lock:
                if kind == "another map":
                    leases.held.clear()
                    of = leases.maps[DISK][0]
                    leases.maps[DISK] = [(of[0], of[1], of[2][:-1])] + leases.maps[DISK][1:]
                else:
                    leases.faults.update({"RenewLease": [kind], "AcquireLeaseExt": ["LeaseFault"]})
            wait_for(lambda: client.do("read", 0, 8)[0] == CONNECTION_LOST)
            client.refused(CONNECTION_LOST, "read", 0, 8, sentence=ENDED)
            want(client.do("async", 0, SIZE // SECTOR, 100)[0], CONNECTION_LOST)
            client.want(CONNECTION_LOST, "read", 0, SIZE // SECTOR)
            want(client.want(OK, "close"), "")
        want(leases.held, {})


# ---- writing ----

def writes(place, version):
    lab = Lab(place, version, 2, at_edge)
    v, f = lab.volume, lab.volume.files[FLAT]
    lab.machine(now=(CHILD, DISK))
    leases = leased(lab)
    before = [bytes_of(path) for path in v.luns]
    data = bytearray(lab.data())
    with lab.client(LEASE) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, 0), "san")
        want(calls(leases, "read-only"), [("read-only", "false")])
        has(client, ", by the volume and a lease, for writing")
        for sector, count in ((0, 1), (2040, 4100)):
            piece = os.urandom(count * SECTOR)
            place.write("piece", piece)
            client.want(OK, "write", sector, count, place.path("piece"))
            data[sector * SECTOR:(sector + count) * SECTOR] = piece
        assert client.read_all(SIZE) == bytes(data)
        want(client.want(OK, "close"), "")
    want(leases.held, {})
    nothing_else_changed(lab, f, data, before)


def writes_refused(place):
    lab = Lab(place)
    lab.machine(now=(CHILD, DISK))
    before = [bytes_of(p) for p in lab.volume.luns]

    def unchanged():
        want([bytes_of(p) for p in lab.volume.luns] == before, True)

    leases = leased(lab)
    kind, element, rows = leases.maps[DISK][0]
    leases.maps[DISK] = [(kind, element, rows[:2] + [rows[2][:3] + ("readOnly",)] + rows[3:])]
    passed_over(lab, FILE_READ_ONLY, 0, settings=LEASE, why="does not let the 1048576 bytes at 2097152 be written")
    unchanged()
    want(opened(lab, settings=LEASE, transports="san"), "san")
    for change in (rows[2][:3] + ("lazyZero",), None):
        leases.maps[DISK] = [(kind, element, rows[:2] + ([change] if change else []) + rows[3:])]
        passed_over(lab, NOT_SUPPORTED, 0, settings=LEASE, why="is not that of the volume")
        unchanged()
    want(leases.held, {})
    leases = leased(lab, timeout=1)
    with lab.client(LEASE) as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, 0), "san")
        leases.faults.update({"RenewLease": ["Timedout"], "AcquireLeaseExt": ["LeaseFault"]})
        wait_for(lambda: client.do("read", 0, 8)[0] == CONNECTION_LOST)
        place.write("piece", b"\x55" * 4 * MIB)
        client.refused(CONNECTION_LOST, "write", 0, 8, place.path("piece"), sentence=ENDED)
        client.want(CONNECTION_LOST, "write", 0, SIZE // SECTOR, place.path("piece"))
        want(client.want(OK, "close"), "")
    unchanged()


# ---- compared with the host's bytes ----

def compared(place):
    """The volume's map too: on a difference at any of the samples the disk is not by SAN."""
    lab = Lab(place, fill=mixed)
    place.write("store/" + FLAT, lab.data())
    want(opened(lab, settings="", transports="san"), "san")
    assert place.host.sessions, "nothing was compared"
    for at in (0, 3 * MIB, SIZE - 4096, MIB, 2 * MIB - 512):
        other = bytearray(lab.data())
        other[at // MIB * MIB:at // MIB * MIB + MIB] = b"\x77" * MIB
        place.write("store/" + FLAT, bytes(other))
        passed_over(lab, NOT_SUPPORTED, settings="", why="are not those that the host gives")
        want(opened(lab, transports="san"), "san")
    place.write("store/" + FLAT, lab.data() + bytes(MIB))
    passed_over(lab, NOT_SUPPORTED, settings="", why="8192 sectors on the LUNs, the host gives 10240")


def not_comparable(place):
    """A host that gives nothing: the disk is read, and not written unless the configuration says so."""
    lab = Lab(place)
    lab.machine(now=(CHILD, DISK))
    os.unlink(place.flat)
    before = [bytes_of(p) for p in lab.volume.luns]
    with lab.client("") as client:
        client.connect(transports="san")
        want(client.want(OK, "open", DISK, READ_ONLY), "san")
        has(client, "not compared with the host's bytes")
        assert client.read_all(SIZE) == lab.data()
        client.want(OK, "close")
        client.refused(FILE_READ_ONLY, "open", DISK, 0, sentence="cannot be compared with the host's")
    want([bytes_of(p) for p in lab.volume.luns] == before, True)
    want(opened(lab, DISK, 0, transports="san"), "san")
    leased(lab)
    os.unlink(place.flat)
    damaged(lab)
    want(opened(lab, settings=LEASE, transports="san"), NOT_SUPPORTED)


TESTS = [("a lease where the volume does not tell all", lease_alone), ("chains of links with a lease", chains),
         ("an encrypted disk with a lease", encrypted), ("no lease unless it is asked for", off_by_default),
         ("units, names, parts of a map", spellings), ("maps that are none", unusable), ("faults of leases", faults),
         ("lease, volume and host that do not agree", disagree), ("a lease is renewed", renewed),
         ("a lease is had again", had_again), ("a lease is lost", lost), ("writes that are refused", writes_refused),
         ("samples are compared with the host's bytes", compared), ("a host that gives nothing to compare", not_comparable)]


def main():
    with Place(SIZE) as place:
        def run(name, test, *arguments):
            place.host.reset()
            place.host.make_inventory()
            place.fill()
            tap.check(name, test, place, *arguments)

        for version in (3, 5, 6):
            for luns in (1, 2):
                run("VMFS %d on %d LUNs: lease and volume agree" % (version, luns), agree, version, luns)
        for version in (5, 6):
            run("VMFS %d: writes with a lease" % version, writes, version)
        for name, test in TESTS:
            run(name, test)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
