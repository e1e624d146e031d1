#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""vixdisk sync --all: the disks of a machine as of one snapshot, together and one by one; disks that fail; runs that are
stopped; the report of a run.   sync_all.py SIMULATOR"""
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time

import tap
from simulated import SIZE
from tracked import *

DISKS = 3


def copies(place, folder="copies"):
    """The copies by the number of their disk."""
    names = [name for name in os.listdir(place.path(folder)) if name.endswith((".img", ".vmdk"))]
    return sorted(names, key=lambda name: int(re.fullmatch(r"disk-(-?\d+)\.\w+", name)[1]))


def same(place, folder="copies"):
    names = copies(place, folder)
    assert len(names) == DISKS, names
    for number, name in enumerate(names):
        assert place.read(os.path.join(folder, name)) == place.content(number), name
        assert json.loads(place.read(os.path.join(folder, name + ".vixstate")))["complete"], name
    return names


def sync(place, *more, status=0, folder="copies"):
    out, said = place.tool("sync", "--json", "--all", *more, folder, status=status)
    assert place.snapshots() == [], place.snapshots()
    told = json.loads(out)
    assert [disk["source"] for disk in told["disks"]] == [
        place.disk.replace("disk1", "disk%d" % n) for n in range(1, DISKS + 1)], told
    return told, said


def first_then_changes(place):
    told, _ = sync(place)
    assert [(d["mode"], d["status"], d["error"]) for d in told["disks"]] == [("full", 0, None)] * DISKS, told
    names = same(place)
    assert [os.path.basename(d["target"]) for d in told["disks"]] == names, told
    assert told["activity"]["wire-in"] >= sum(place.content(n) != bytes(SIZE) for n in range(DISKS)) * MIB, told
    place.guest_writes(3 * KIB64, b"of the second", 1)
    place.guest_writes(7 * KIB64 - 3, b"of the third", 2)
    told, _ = sync(place)
    assert [(d["mode"], d["changed-bytes"]) for d in told["disks"]] == [
        ("delta", 0), ("delta", KIB64), ("delta", 2 * KIB64)], told
    same(place)


def as_of_one_snapshot(place):
    """Three at once; each read is made while there is one snapshot, the same."""
    seen = []

    def look(label, data, session):
        if label == "request" and len(seen) < 6:
            seen.append(tuple(s["moref"] for s in place.snapshots()))
        return data
    for disk in range(DISKS):
        place.guest_writes(disk * 5 * KIB64, os.urandom(100), disk)
    place.host.hook = look
    text, _ = place.tool("sync", "--all", "-j", DISKS, "--verify", "changed", "copies")
    place.host.hook = None
    assert len(seen) >= DISKS and len(set(seen)) == 1 and len(seen[0]) == 1, seen
    assert place.snapshots() == []
    same(place)
    lines = text.splitlines()
    assert len(lines) == DISKS + 1 and all("1 area; read 64 KiB" in line for line in lines[:DISKS]), text
    assert lines[-1].startswith("copies: 3 of 3 disks of %s up to date; read " % place.vm_name), text


def one_fails(place):
    """The others are copied, and which one is not is told."""
    for disk in range(DISKS):
        place.guest_writes(SIZE - 9, os.urandom(9), disk)
    before = place.read("copies/" + copies(place)[1])
    with open(place.path("copies/%s.vixstate.lock" % copies(place)[1]), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        told, said = sync(place, status=75)
    assert [d["status"] for d in told["disks"]] == [0, 75, 0], told
    assert "another sync" in told["disks"][1]["error"] and "another sync" in said, (told, said)
    assert place.read("copies/" + copies(place)[1]) == before
    told, _ = sync(place)
    assert [d["changed-bytes"] for d in told["disks"]] == [0, KIB64, 0], told
    same(place)


def a_lock_of_others_stays(place):
    """What a run could not lock is not its own to remove, whoever has it at the end."""
    lock = place.path("copies/%s.vixstate.lock" % copies(place)[1])
    seen = []

    def others(label, data, session):
        if not seen:
            held.close()  # the run that had it has ended, and the next one has begun
            os.unlink(lock)
            with open(lock, "w"):
                seen.append(label)
        return data
    place.guest_writes(0, b"of the first")
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        place.host.hook = others
        sync(place, status=75)
        place.host.hook = None
    assert seen and os.path.exists(lock), seen
    os.unlink(lock)


def changes_are_lost(place):
    place.tell(fault="FileFault", after=1)
    told, said = sync(place, "--no-full", status=3)
    assert [d["status"] for d in told["disks"]] == [3] * DISKS, told
    told, _ = sync(place, "-j", 2)
    assert all("is not known" in d["reason"] for d in told["disks"]), told
    place.tell()
    same(place)


def is_stopped(place):
    """By a signal, and by one that nothing survives."""
    for disk in range(DISKS):
        place.guest_writes(0, os.urandom(SIZE), disk)
    reading = []

    def slow(label, data, session):
        if label == "request":
            reading.append(data)
            time.sleep(0.5)
        return data
    for how, status in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        del reading[:]
        place.host.hook = slow
        run = subprocess.Popen([vixdisk, "sync", "-q", "--all", "-j2", "--vm", "moref=" + place.moref, "copies"],
                               env=place.variables(), cwd=place.folder, stderr=subprocess.PIPE)
        while not reading:
            time.sleep(0.01)
        run.send_signal(how)
        run.stderr.read()
        run.stderr.close()
        assert run.wait() == status, run.returncode
        place.host.hook = None
        assert len(place.snapshots()) == (how == signal.SIGKILL), place.snapshots()
    place.tool("sync", "--cleanup", "--all", "copies")
    assert place.snapshots() == []
    sync(place, "-j3")
    same(place)


def other_types(place):
    sync(place, "-t", "monolithicSparse", folder="vmdks")
    for number, name in enumerate(copies(place, "vmdks")):
        place.write("as.raw", place.content(number))
        place.run("compare", "vmdks/" + name, "as.raw")
    told, _ = sync(place, "--dry-run", "--full", folder="vmdks")
    assert all(d["dry-run"] and d["read-bytes"] == 0 for d in told["disks"]), told


def report(place):
    place.guest_writes(KIB64, b"x", 2)
    os.mkdir(place.path("else"))
    place.write("else/keep", "")
    place.tool("sync", "-q", "--all", "--report", "all.html", "copies")
    page = place.read("all.html").decode()
    names = copies(place)
    for word in ("vixdisk sync: <span class=\"good\">done", "<h2>Disks</h2>", "Disks up to date", "3 of 3",
                 "copied in this run", *names, place.vm_name):
        assert word in page, word
    assert page.count("<figure>") == DISKS
    place.tool("sync", "-q", "--report", "one.html", place.disk, "one.img")
    page = place.read("one.html").decode()
    for word in ("no state of an earlier copy", ">Source<", ">Copy<", "On the wire, in", "What limits it"):
        assert word in page, word
    place.guest_writes(9 * KIB64, b"changed")
    out, _ = place.tool("sync", "--json", "--report", "one.html", place.disk, "one.img")
    told = json.loads(out)
    activity = told["activity"]
    assert told["mode"] == "delta" and activity["wire-in"] > KIB64 and activity["seconds"] > 0, told
    assert activity["busy-percent"]["network"] > 0 and activity["bytes-read"] >= KIB64, activity
    assert {"kind": "read", "start": 9 * KIB64, "length": KIB64} in [
        {key: r[key] for key in ("kind", "start", "length")} for r in activity["slowest"]], activity
    assert "copied in this run" in place.read("one.html").decode()
    place.tell(fault="NoPermission", after=1)
    place.tool("sync", "-q", "--report", "one.html", place.disk, "one.img", status=1)
    assert "failed: " in place.read("one.html").decode() and "NoPermission" in place.read("one.html").decode()
    place.tell()


def mistakes(place):
    for words, said in ((("--all", "copies", "more"), "only DIR"), (("-j", 2, place.disk, "x.img"), "--jobs"),
                        (("--all", "--state", "s", "copies"), "--state"), (("--all", place.disk), "folder of this one"),
                        ((place.disk,), "SRC and DST"), (("--report", "-", place.disk, "x.img"), "wants a file")):
        assert said in place.tool("sync", *words, status=2)[1], words
    _, said = place.tool("sync", "--all", "none/deeper", status=1)
    assert "none/deeper" in said and not os.path.exists(place.path("none")), said


def main():
    with Tracked(sys.argv[1], disks=DISKS) as place:
        for name, test in (("everything, then changes", first_then_changes), ("as of one snapshot", as_of_one_snapshot),
                           ("one disk fails", one_fails),
                           ("a lock of others", a_lock_of_others_stays), ("changes are lost", changes_are_lost),
                           ("runs that are stopped", is_stopped), ("to VMDKs", other_types), ("the report", report),
                           ("mistakes", mistakes)):
            tap.check("sync --all: " + name, test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
