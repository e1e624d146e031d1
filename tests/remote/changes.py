#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""vixdisk changes, and doctor, against change tracking that stops early, has empty answers, faults and contradictions.
changes.py SIMULATOR"""
import json
import re
import socket
import sys

import tap
from simulated import SIZE
from tracked import *


def areas(place, since, *more):
    told = json.loads(place.tool("changes", "--json", "--since", since, *more, place.disk)[0])
    assert told["changed-bytes"] == sum(a["length"] for a in told["areas"]), told
    assert told["changed-areas"] == len(told["areas"]), told
    return [(a["start"], a["length"]) for a in told["areas"]]


def empty_answers(place):
    """Eight answers of 256 KiB; the first ones, and ones in between, have nothing."""
    before = place.id()
    assert areas(place, before) == []
    place.guest_writes(1600 * 1024 + 5, b"late")
    place.guest_writes(900 * 1024, bytes(100))
    place.guest_writes(2 * MIB - 10, b"0123456789")
    wanted = [(896 * 1024, KIB64), (1600 * 1024, KIB64), (2 * MIB - KIB64, KIB64)]
    assert areas(place, before) == wanted
    for step in (0, KIB64, 100 * SECTOR, SIZE * 2):
        place.tell(step=step)
        assert areas(place, before) == wanted, step
    place.tell(step=256 * 1024)
    assert areas(place, "*") == wanted


def areas_that_meet(place):
    before = place.id()
    place.guest_writes(3 * 256 * 1024 - 10, bytes(20))  # across two answers
    place.guest_writes(3 * 256 * 1024 - 10, bytes(20))
    assert areas(place, before) == [(3 * 256 * 1024 - KIB64, 2 * KIB64)]
    text, _ = place.tool("changes", "--totals", "--since", before, place.disk)
    assert text == "1 area, 128 KiB of 2 MiB\n", text


def snapshots(place):
    """Since a snapshot, and as of one."""
    with Driven(place) as client:
        simulated.connect(client)
        first = client.want(OK, "snapshot", "one", "by the test")
        place.guest_writes(KIB64, b"x")
        second = client.want(OK, "snapshot", "two", "by the test")
        place.guest_writes(5 * KIB64, b"x")
        assert [s["name"] for s in place.snapshots()] == ["one", "two"]
        assert areas(place, first) == [(KIB64, KIB64), (5 * KIB64, KIB64)]
        assert areas(place, first, "--snapshot", second) == [(KIB64, KIB64)]
        assert areas(place, second, "--snapshot", second) == []
        client.refused(OBJECT_NOT_FOUND, "remove-snapshot", "snapshot-99999")
        client.want(OK, "remove-snapshot", first)
        client.want(OK, "remove-snapshot", second)
        assert place.snapshots() == []


def faults(place):
    """The list is whole or there is none."""
    before = place.id()
    place.guest_writes(0, b"x")
    for fault, status, word in (("FileFault", 1, "FileFault"), ("NotFound", 1, "NotFound"),
                                ("NoPermission", 1, "VirtualMachine.Config.ChangeTracking"),
                                ("HostCommunication", 75, "HostCommunication")):
        place.tell(fault=fault, after=5)
        out, said = place.tool("changes", "--since", before, place.disk, status=status)
        assert out == "" and word in said, (out, said)
    for lie in ("offset", "length", "outside"):
        place.tell(lie=lie, after=5)
        out, said = place.tool("changes", "--since", before, place.disk, status=1)
        assert out == "" and "QueryChangedDiskAreas at %d" % MIB in said, (lie, out, said)
        place.tell(lie="once-" + lie, after=5)
        assert areas(place, before) == [(0, KIB64)]
    place.tell()
    _, said = place.tool("changes", "--since", "00 11/3", place.disk, status=1)
    assert "changeId" in said, said
    _, said = place.tool("changes", "--since", before, "[LocalDS_0] none/x.vmdk", status=1)
    assert "no such disk" in said, said


def session_ends(place):
    before = place.id()
    place.guest_writes(7 * KIB64, b"x")
    place.tell(expire=True, after=3)
    assert areas(place, before) == [(7 * KIB64, KIB64)]
    place.tell()


def doctor(place, *more, ends, status=1, **variables):
    """The steps up to the one that fails, which is named; nothing comes after it but what does not need it."""
    steps = json.loads(place.tool("doctor", "--json", *more, status=status, **variables)[0])
    assert [s["step"] for s in steps if not s["ok"]] == ([ends] if status else []), steps
    assert all(s["ok"] == (s["advice"] is None) for s in steps), steps
    assert steps[-1]["step"] == ends or ends == "tracking", steps
    return steps


def doctors(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    before = place.content()
    steps = doctor(place, place.disk, ends="buffers", status=0)
    assert [s["step"] for s in steps] == ["library", "name", "server", "certificate", "login", "product", "machine",
                                          "privileges", "disk", "ticket", "disk host", "open", "read", "speed", "buffers"]
    found = {s["step"]: s["found"] for s in steps}
    assert found["product"].startswith(json.loads(place.run("ls", "--json"))["product"] + ", API "), found
    rates = re.fullmatch(r"([\d.]+) MB/s one by one, ([\d.]+) MB/s with 16 at once", found["speed"])
    assert rates and all(float(rate) > 0 for rate in rates.groups()), found
    doctor(place, "--for", "xo", "--libdir", place.folder, place.disk, ends="plain name")
    doctor(place, "--host", "no.such.name.invalid", ends="name")
    doctor(place, "--host", "127.0.0.1:%d" % closed, ends="server")
    doctor(place, "--thumbprint", "00:" * 19 + "00", ends="certificate")
    place.write("wrong", "wrong\n")
    doctor(place, "--password-file", "wrong", ends="login")
    doctor(place, "--vm", "moref=vm-99999", place.disk, ends="machine")
    doctor(place, "--snapshot", "snapshot-99999", place.disk, ends="machine")
    doctor(place, "[LocalDS_0] none/x.vmdk", ends="disk")
    doctor(place, "--nfc-port", closed, place.disk, ends="disk host")
    place.host.tickets_file, kept = place.write("none", ""), place.host.tickets_file
    doctor(place, place.disk, ends="open")
    place.host.tickets_file = kept
    for memory, step in ((256, "read"), (1024, "speed")):
        place.host.memory = memory
        advice = doctor(place, place.disk, ends=step)[-1]["advice"]
        assert "vixDiskLib.nfcAio.Session.BufSizeIn64KB=1" in advice, advice
    place.host.memory = 0
    found = doctor(place, "--tracking", place.disk, ends="tracking")
    assert "change tracking is off" in str(found), found
    with Driven(place) as client:
        simulated.connect(client)
        client.want(OK, "track")
    doctor(place, "--tracking", place.disk, ends="buffers", status=0)
    assert place.content() == before


def privileges(place):
    everything = "may read disks, write disks, make snapshots, remove snapshots, switch change tracking"
    reading = ["VirtualMachine.Provisioning.GetVmFiles", "VirtualMachine.Provisioning.DiskRandomRead"]
    for old in (False, True):
        def found(denied, *more, status=0):
            place.tell(old=old, denied=denied)
            steps = json.loads(place.tool("doctor", "--json", *more, place.disk, status=status)[0])
            return [(s["found"], s["advice"], s is steps[-1]) for s in steps if s["step"] == "privileges"][0]
        assert found([]) == (everything, None, False)
        assert found(reading[:1]) == (everything, None, False)  # the other one is enough
        assert found(["VirtualMachine.Provisioning.DiskRandomAccess"]) == (
            "may read disks, make snapshots, remove snapshots, switch change tracking; may not write disks", None, False)
        assert found(reading, status=1) == (
            everything.replace("read disks, ", "") + "; may not read disks", "the role needs " + reading[0], True)
        lost = ["VirtualMachine.State.RemoveSnapshot", "VirtualMachine.Config.ChangeTracking"]
        assert found(lost) == (
            "may read disks, write disks, make snapshots; may not remove snapshots, switch change tracking", None, False)
        # change tracking is on here: it need not be switched
        assert found(lost, "--tracking", status=1)[1:] == ("the role needs " + lost[0], False)
    place.tell()


def main():
    with Tracked(sys.argv[1]) as place:
        for name, test in (("empty and early answers", empty_answers), ("areas that meet", areas_that_meet),
                           ("snapshots", snapshots), ("faults", faults), ("a session that ends", session_ends),
                           ("doctor", doctors), ("privileges", privileges)):
            tap.check("changes: " + name, test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
