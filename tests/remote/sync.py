#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""vixdisk sync against change tracking that stops early, faults, begins anew and lies; sessions that end; runs that are
killed.   sync.py SIMULATOR"""
import json
import os
import random
import signal
import subprocess
import sys
import time

import tap
from simulated import SIZE
from tracked import *

rng = random.Random(int(os.environ.get("VIXDISK_TEST_SEED", "4711")))


def sync(place, *more, status=0, source=None):
    """One run: what it told, which must agree with the copy."""
    out, said = place.tool("sync", "--json", *more, source or place.disk, "copy.raw", status=status)
    assert place.snapshots() == [], place.snapshots()
    if status == 0 and "--dry-run" not in more:
        assert place.read("copy.raw") == place.content()
        state = json.loads(place.read("copy.raw.vixstate"))
        assert state["complete"] and state["capacity"] == SIZE and state["vm"] == place.moref, state
    return (json.loads(out) if out else None), said


def delta(place, size, *more):
    told, said = sync(place, *more)
    assert told["mode"] == "delta" and told["changed-bytes"] == size, (told, said)


def full(place, why, *more):
    told, said = sync(place, *more)
    assert told["mode"] == "full" and why in told["reason"], (told, said)


def passes(place):
    full(place, "no state")
    delta(place, 0)
    place.guest_writes(1500 * 1024, os.urandom(1000))  # the first answers are empty
    delta(place, KIB64)
    for _ in range(3):
        sizes = set()
        for _ in range(4):
            at, size = rng.randrange(SIZE - 200000), rng.randrange(1, 150000)
            place.guest_writes(at, rng.choice((bytes(size), rng.randbytes(size))))
            sizes |= set(range(at // KIB64, (at + size - 1) // KIB64 + 1))
        delta(place, len(sizes) * KIB64, "--verify", "changed")
    place.guest_writes(0, b"dry")
    told, _ = sync(place, "--dry-run")
    assert told["mode"] == "full" or told["changed-bytes"] == KIB64, told
    delta(place, KIB64)


def reasons(place):
    """When everything is copied, and why."""
    sync(place)
    place.log["uuid"] = "52 00 11 22 33 44 55 66-77 88 99 aa bb cc dd ee"
    place.guest_writes(3 * KIB64, b"under another tracking")
    _, said = sync(place, "--no-full", status=3)
    assert "begun anew" in said, said
    full(place, "begun anew")
    delta(place, 0)
    place.guest_writes(5 * KIB64, b"x")
    for fault in ("FileFault", "NotFound"):
        place.tell(fault=fault, after=3)
        full(place, "not known: 127.0.0.1")
        place.guest_writes(5 * KIB64, b"y")
    place.tell(fault="FileFault", after=1)
    sync(place, "--no-full", status=3)
    place.tell()
    delta(place, KIB64)
    full(place, "--full", "--full")
    full(place, "no change tracking", "--map", "alloc")
    place.log["writes"], before = [], place.log["writes"]  # back to an earlier time
    place.tell()
    full(place, "begun anew")
    place.log["writes"] = before
    uuid, place.log["uuid"] = place.log["uuid"], ""
    place.tell()
    full(place, "no change tracking")
    _, said = sync(place, "--map", "cbt", status=1)
    assert "--enable-cbt" in said or "enable-cbt" in str(_), (_, said)
    place.log["uuid"] = uuid
    place.tell()
    full(place, "not completed")


def failures(place):
    """What may pass by itself, and what must not be taken for the whole: the state stays, the next run is right."""
    sync(place)
    place.guest_writes(KIB64, b"early")
    place.guest_writes(SIZE - KIB64, b"late")
    for fault, status in (("HostCommunication", 75), ("NoPermission", 1)):
        place.tell(fault=fault, after=4)
        told, _ = sync(place, status=status)
        assert fault in told["message"], told
        state = json.loads(place.read("copy.raw.vixstate"))
        assert not state["complete"] and state["change-id"] is None, state
    for lie in ("offset", "length", "outside"):
        place.tell(lie=lie, after=4)
        told, _ = sync(place, status=1)
        assert "QueryChangedDiskAreas" in told["message"], told
    place.tell(lie="once-length", after=4)
    told, _ = sync(place)
    assert told["mode"] == "delta", told
    place.tell()
    delta(place, 0)


def session_ends(place):
    sync(place)
    place.guest_writes(SIZE - 5, b"after")
    place.tell(expire=True, after=3)
    delta(place, KIB64)
    place.tell()


def tracking_that_forgets(place):
    """A host that does not tell a write: only a look at everything finds it, and the next run copies everything."""
    sync(place)
    with open(place.flat, "r+b") as file:
        file.seek(9 * KIB64)
        file.write(b"not told")
    told, _ = sync(place, "--verify", "full", status=1)
    assert "differs" in told["message"], told
    full(place, "not completed", "--verify", "full")


def snapshots_of_others(place):
    """One that is there can be used, and stays; the machine's disk as it is; and what a killed run has left goes."""
    sync(place)
    place.guest_writes(2 * KIB64, b"before")
    with Driven(place) as client:
        simulated.connect(client)
        made = client.want(OK, "snapshot", "nightly", "of another program")
        told = json.loads(place.tool("sync", "--json", "--snapshot", made, place.disk, "copy.raw")[0])
        assert told["changed-bytes"] == KIB64 and [s["moref"] for s in place.snapshots()] == [made]
        client.want(OK, "remove-snapshot", made)
    name = None

    def stall(label, data, session):
        if label == "request":
            time.sleep(30 if name is None else 0)
        return data
    place.guest_writes(4 * KIB64, b"while it is killed")
    place.host.hook = stall
    run = subprocess.Popen([vixdisk, "sync", "--vm", "moref=" + place.moref, place.disk, "copy.raw"],
                           env=place.variables(), cwd=place.folder)
    while not place.snapshots():
        time.sleep(0.02)
    name = place.snapshots()[0]["name"]
    run.send_signal(signal.SIGKILL)
    run.wait()
    place.host.hook = None
    assert len(place.snapshots()) == 1 and name.startswith("vixdisk-sync-")
    place.tool("sync", "--cleanup", place.disk, "copy.raw")
    assert place.snapshots() == []
    sync(place)


def signals(place):
    """A run that is asked to stop removes its snapshot, and the next one goes on."""
    sync(place)
    place.guest_writes(0, rng.randbytes(MIB))

    def slow(label, data, session):
        if label == "request":
            time.sleep(0.3)
        return data
    place.host.hook = slow
    run = subprocess.Popen([vixdisk, "sync", "-q", "--checkpoint", "64K", "--vm", "moref=" + place.moref, place.disk,
                            "copy.raw"], env=place.variables(), cwd=place.folder, stderr=subprocess.PIPE)
    while len(json.loads(place.read("copy.raw.vixstate"))["parts"]) < 2:
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    run.stderr.read()
    assert run.wait() == 128 + signal.SIGTERM, run.returncode
    run.stderr.close()
    place.host.hook = None
    assert place.snapshots() == []
    parts = json.loads(place.read("copy.raw.vixstate"))["parts"]
    assert len(parts) == 2 and parts[0]["change-id"] == place.id(), parts
    delta(place, MIB - parts[0]["end"])


def refuse(place):
    _, said = place.tool("sync", "[LocalDS_0] none/n.vmdk", "none.raw", status=1)
    assert "no such disk" in said and not os.path.exists(place.path("none.raw")), said
    assert place.snapshots() == []
    _, said = place.tool("sync", "copy.raw", place.disk, status=2)
    assert "--state" in said, said


def to_the_server(place):
    """From a local disk to one of the server."""
    data = sample(SIZE, 77)
    place.write("local.raw", data)
    place.tool("sync", "--overwrite", "--state", "up.state", "local.raw", place.disk)
    assert place.content() == data


def main():
    with Tracked(sys.argv[1]) as place:
        for name, test in (("passes", passes), ("reasons for a full pass", reasons), ("failures", failures),
                           ("a session that ends", session_ends), ("tracking that forgets", tracking_that_forgets),
                           ("snapshots", snapshots_of_others), ("signals", signals), ("refused", refuse),
                           ("to a disk of the server", to_the_server)):
            tap.check("sync: " + name, test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
