#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""vixdiskd tracks changes by the links of chains: what QueryChangedDiskAreas tells beside what qemu-io has written, and
vixdisk sync from such a host: links that come and go, writes to the top link, runs that are killed."""
import json
import os
import re
import signal
import subprocess
import time

import client
import diskhost
import tap

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
vixdisk = os.path.realpath(os.environ["VIXDISK"])
host = diskhost.DiskHost("login-delay-ms = 0\n")
for folder in ("big", "many", "two", "up"):
    os.makedirs(host.at(folder))


def run(*words, status=0, **environment):
    """The command; what it prints on both."""
    done = subprocess.run([vixdisk, *map(str, words)], capture_output=True, text=True, cwd=host.folder, timeout=120,
                          env={**os.environ, **environment})
    assert done.returncode == status, (words, done)
    return done.stdout, done.stderr


def qemu(*words, folder=None):
    subprocess.run(words, check=True, capture_output=True, cwd=folder)


def write(path, at, size, pattern):
    qemu("qemu-io", "-f", "vmdk", "-c", "write -P %d %d %d" % (pattern, at, size), path)


def child_of(name, child, folder="vm1"):
    qemu("qemu-img", "create", "-q", "-f", "vmdk", "-b", name, "-F", "vmdk", child, folder=host.at(folder))


qemu("qemu-img", "create", "-q", "-f", "vmdk", host.at("vm1", "vm1.vmdk"), "8M")  # in the place of the one of --init
write(host.at("vm1", "vm1.vmdk"), 0, 256 * KIB, 0x11)
write(host.at("vm1", "vm1.vmdk"), 5 * MIB, 64 * KIB, 0x12)
for name in ("a", "b"):
    qemu("qemu-img", "create", "-q", "-f", "vmdk", host.at("two", name + ".vmdk"), "4M")
qemu("qemu-img", "create", "-q", "-f", "vmdk", host.at("up", "up.vmdk"), "8M")
STRIPES = [n * 128 * KIB for n in range(1, 2501)]
with open(os.path.join(host.folder, "stripes"), "wb") as file:
    for at in STRIPES:
        file.seek(at)
        file.write(b"x" * 512)
    file.truncate(GIB)
qemu("qemu-img", "convert", "-f", "raw", "-O", "vmdk", os.path.join(host.folder, "stripes"), host.at("many", "many.vmdk"))
run("create", "-q", "-s", 1024 * GIB, "-t", "vmfsThin", host.at("big", "big.vmdk"))
diskhost.run("--add-user", "reader", "--read-only", "--config", host.config, text="reader\n")
host.start()
vim = host.login()
VM1, BIG, MANY, TWO, UP = (vim.find_vm("[datastore1] %s/%s.vmx" % (name, name))
                           for name in ("vm1", "big", "many", "two", "up"))
DISK = "[datastore1] vm1/vm1.vmdk"


def backings(vm):
    """[(key, uuid, change ID)] of the machine's disks."""
    found = []
    for device in vim.properties("VirtualMachine", vm, "config.hardware.device")["config.hardware.device"]:
        fields = {client.local(node.tag): node for node in device}
        if "backing" in fields:
            backing = {client.local(node.tag): node.text for node in fields["backing"]}
            found.append((int(fields["key"].text), backing.get("uuid"), backing.get("changeId")))
    return found


def change_id(vm=None):
    return backings(vm or VM1)[0][2]


def ask(since, start=0, vm=None, key=2000, snapshot=""):
    """(start, length, areas) of one answer."""
    answer = vim.call("QueryChangedDiskAreas", ("VirtualMachine", vm or VM1),
                      "%s<deviceKey>%s</deviceKey><startOffset>%s</startOffset><changeId>%s</changeId>"
                      % (snapshot, key, start, since))[0]
    fields = [(client.local(node.tag), node) for node in answer]
    number = {tag: int(node.text) for tag, node in fields if node.text}
    areas = [tuple(int(part.text) for part in node) for tag, node in fields if tag == "changedArea"]
    return number["startOffset"], number["length"], areas


def areas(since, vm=None):
    """All answers."""
    found, pos, count = [], 0, 0
    size = {BIG: 1024 * GIB, MANY: GIB}.get(vm, 8 * MIB)
    while pos < size:
        start, length, part = ask(since, pos, vm)
        assert start == pos and length > 0 and all(pos <= a < a + n <= pos + length for a, n in part), (pos, length, part)
        found, pos, count = found + part, pos + length, count + 1
    assert pos == size, pos
    return found, count


# ---- the call ----

def ids_go_with_links():
    first = change_id()
    assert re.fullmatch(r"([0-9a-f]{2} ){7}[0-9a-f]{2}-([0-9a-f]{2} ){7}[0-9a-f]{2}/\d+", first), first
    assert change_id() == first and vim.properties("VirtualMachine", VM1, "config.changeTrackingEnabled")[
        "config.changeTrackingEnabled"].text == "true"
    write(host.at("vm1", "vm1.vmdk"), 0, 512, 0x13)
    second = change_id()
    assert second != first and second.split("/")[0] == first.split("/")[0], (first, second)
    tap.refused(client.SoapFault, "InvalidArgument", ask, first)
    assert change_id(BIG).split("/")[0] != first.split("/")[0]


def ever_written():
    assert areas("*")[0] == [(0, 256 * KIB), (5 * MIB, 64 * KIB)], areas("*")
    assert areas(change_id())[0] == []


def since_a_link():
    base = change_id()
    child_of("vm1.vmdk", "one.vmdk")
    write(host.at("vm1", "one.vmdk"), 64 * KIB, 64 * KIB, 0)
    write(host.at("vm1", "one.vmdk"), 7 * MIB + 960 * KIB, 64 * KIB, 0x21)
    assert [(key, id.split("/")[0]) for key, _, id in backings(VM1)] == [(2000, base.split("/")[0])]
    assert areas(base)[0] == [(64 * KIB, 64 * KIB), (8 * MIB - 64 * KIB, 64 * KIB)], areas(base)
    one = change_id()
    assert int(one.split("/")[1]) > int(base.split("/")[1])
    child_of("one.vmdk", "two.vmdk")
    write(host.at("vm1", "two.vmdk"), 128 * KIB, 64 * KIB, 0x22)
    assert areas(one)[0] == [(128 * KIB, 64 * KIB)]
    assert areas(base)[0] == [(64 * KIB, 128 * KIB), (8 * MIB - 64 * KIB, 64 * KIB)]
    assert ask(base, 100 * KIB)[2][0] == (100 * KIB, 92 * KIB), ask(base, 100 * KIB)
    os.unlink(host.at("vm1", "two.vmdk"))
    assert change_id() == one
    os.unlink(host.at("vm1", "one.vmdk"))
    tap.refused(client.SoapFault, "InvalidArgument", ask, one)


def answers_have_an_end():
    """Of 1 TiB each answer is about 256 GiB, also where it is empty; of many areas 2,000."""
    written = [700 * GIB, 1024 * GIB - 64 * KIB]
    base = change_id(BIG)
    run("snapshot", "-q", host.at("big", "big.vmdk"), host.at("big", "child.vmdk"))
    for at in written:
        subprocess.run([vixdisk, "write", "-q", "-o", str(at), host.at("big", "child.vmdk")], check=True, input=b"x" * 512)
    found, count = areas(base, BIG)
    assert [at for at, _ in found] == written and count == 4, (found, count)
    start, length, part = ask("*", 0, MANY)
    assert part == [(at, 64 * KIB) for at in STRIPES[:2000]] and length <= STRIPES[2000], (len(part), length)
    found, count = areas("*", MANY)
    assert found == [(at, 64 * KIB) for at in STRIPES] and count == 2, (len(found), count)


def bad_questions():
    for since, start, key, fault in (("", 0, 2000, "InvalidArgument"), ("52 de/1", 0, 2000, "InvalidArgument"),
                                     ("*", 8 * MIB, 2000, "InvalidArgument"), ("*", -1, 2000, "InvalidArgument"),
                                     ("*", "x", 2000, "InvalidArgument"), ("*", 0, 2001, "InvalidArgument"),
                                     ("*", 0, "x", "InvalidArgument"), ("*" * 5000, 0, 2000, "InvalidArgument")):
        tap.refused(client.SoapFault, fault, ask, since, start, VM1, key)
    tap.refused(client.SoapFault, "ManagedObjectNotFound", ask, "*", 0, "vm-0")
    tap.refused(client.SoapFault, "ManagedObjectNotFound", ask, "*", 0, VM1, 2000,
                '<snapshot type="VirtualMachineSnapshot">snapshot-1</snapshot>')
    key = vim.disks(VM1)[DISK]
    nfc = host.nfc()
    nfc.open(vim.write_ticket(VM1, key), DISK, write=True)
    tap.refused(client.SoapFault, "FileLocked", ask, "*")
    nfc.close()
    for _ in range(100):  # it is let go a moment later
        try:
            ask("*")
            return
        except client.SoapFault:
            time.sleep(0.05)
    raise AssertionError("the disk is still locked")


def numbers_stay():
    """Neither the number nor the identity of a disk changes with the links that come above it, or with other disks."""
    run("create", "-q", "-s", "4M", host.at("two", "c.vmdk"))
    before = [(key, uuid, id.split("/")[0]) for key, uuid, id in backings(TWO)]
    assert len(set(key for key, _, _ in before)) == 3 and before[2][1], before
    child_of("a.vmdk", "zz.vmdk", "two")
    run("snapshot", "-q", host.at("two", "c.vmdk"), host.at("two", "0.vmdk"))
    run("create", "-q", "-s", "4M", host.at("two", "two.vmdk"))
    run("create", "-q", "-s", "4M", host.at("two", "0a.vmdk"))
    now = [(key, uuid, id.split("/")[0]) for key, uuid, id in backings(TWO)]
    assert len(now) == 5 and vim.disks(TWO)["[datastore1] two/two.vmdk"] == 2000, now
    assert [disk for disk in now if disk[0] in [key for key, _, _ in before]] == before, (now, before)
    for name in ("two.vmdk", "0a.vmdk"):
        os.unlink(host.at("two", name))
    assert [(key, uuid, id.split("/")[0]) for key, uuid, id in backings(TWO)] == before, backings(TWO)
    os.unlink(host.at("two", "a.vmdk"))  # of a chain without its base nothing is known
    assert [id for _, _, id in backings(TWO)].count(None) == 1
    for name in ("zz.vmdk", "0.vmdk"):
        os.unlink(host.at("two", name))


def privileges():
    names = ["VirtualMachine.Provisioning.GetVmFiles", "VirtualMachine.Provisioning.DiskRandomAccess",
             "VirtualMachine.State.CreateSnapshot", "No.Such & <Privilege>"]
    inner = '<entity type="VirtualMachine">%s</entity><sessionId>%s</sessionId>%s'
    asked = "".join("<privId>%s</privId>" % client.escape(name) for name in names)
    for user, password, wanted in (("vixdisk", None, [True, True, False, False]), ("reader", "reader", [True] + [False] * 3)):
        other = host.login(user, password)
        session = other.properties("SessionManager", "ha-sessionmgr", "currentSession")["currentSession"][0].text
        answer = other.call("HasPrivilegeOnEntities", other.content["authorizationManager"], inner % (VM1, session, asked))
        rows = [[node.text for node in row] for row in answer[0] if client.local(row.tag) == "privAvailability"]
        assert rows == [[name, str(good).lower()] for name, good in zip(names, wanted)], rows
        tap.refused(client.SoapFault, "ManagedObjectNotFound", other.call, "HasPrivilegeOnEntities",
                    other.content["authorizationManager"], inner % ("vm-0", session, asked))
        tap.refused(client.SoapFault, "InvalidArgument", other.call, "HasPrivilegeOnEntities",
                    other.content["authorizationManager"], inner % (VM1, "52", asked))
        other.logout()


def doctors():
    """That there are no snapshots is told with what to do, and is no fault where none is wanted."""
    steps = json.loads(run("doctor", "--json", "--tracking", DISK, status=1, **{**variables, "VIXDISK_SNAPSHOT": ""})[0])
    assert [s["step"] for s in steps if not s["ok"]] == ["snapshots"] and steps[-1]["step"] == "buffers", steps
    found = [s for s in steps if s["step"] == "snapshots"][0]
    assert "makes none" in found["found"] and "--snapshot none" in found["advice"], found
    steps = json.loads(run("doctor", "--json", "--tracking", DISK, **variables)[0])
    assert all(s["ok"] for s in steps) and "snapshots" in [s["step"] for s in steps], steps
    capability = vim.properties("VirtualMachine", VM1, "capability")["capability"]
    assert {client.local(node.tag): node.text for node in capability} == {
        "snapshotOperationsSupported": "false", "changeTrackingSupported": "true"}, capability


# ---- sync ----

def variables_of(place, vm=VM1):
    return {"VIXDISK_HOST": "127.0.0.1:%d" % place.port, "VIXDISK_USER": "vixdisk", "VIXDISK_VM": "moref=" + vm,
            "VIXDISK_PASSWORD_FILE": os.path.join(place.root, "password"), "VIXDISK_THUMBPRINT": place.thumbprint,
            "VIXDISK_SNAPSHOT": "none"}


variables = variables_of(host)


def sync(*more, status=0, copy="copy.img"):
    out, said = run("sync", "--json", *more, DISK, copy, status=status, **variables)
    if status == 0 and "--dry-run" not in more:
        top = sorted(name for name in os.listdir(host.at("vm1")) if name.endswith(".vmdk"))
        top = host.at("vm1", [name for name in ("three.vmdk", "two.vmdk", "one.vmdk", "vm1.vmdk") if name in top][0])
        qemu("qemu-img", "compare", "-q", "-f", "vmdk", "-F", "raw", top, os.path.join(host.folder, copy))
    return json.loads(out) if out else None, said


def delta(size, *more):
    told, said = sync(*more)
    assert (told["mode"], told["changed-bytes"]) == ("delta", size), (told, said)


def full(*reasons):
    told, said = sync()
    assert told["mode"] == "full" and any(why in told["reason"] for why in reasons), (told, said)


LOST = "not known", "begun anew"  # by chance: of two IDs of one link either may have the larger number


def copies():
    full("no state")
    delta(0)
    child_of("vm1.vmdk", "one.vmdk")
    write(host.at("vm1", "one.vmdk"), 3 * MIB, 64 * KIB, 0x31)
    write(host.at("vm1", "one.vmdk"), 0, 64 * KIB, 0)  # over data
    delta(2 * 64 * KIB, "--verify", "full")
    child_of("one.vmdk", "two.vmdk")
    write(host.at("vm1", "two.vmdk"), 8 * MIB - 64 * KIB, 64 * KIB, 0x32)
    delta(64 * KIB)
    write(host.at("vm1", "two.vmdk"), 4 * MIB, 64 * KIB, 0x33)  # to the link that was copied
    said = sync("--no-full", status=3)[1]
    assert any(why in said for why in LOST), said
    full(*LOST)
    delta(0)


def by_other_clients():
    """What a client of NFC writes to the top link is found out; a disk that is being written is not copied."""
    (top, key), = vim.disks(VM1).items()
    subprocess.run([vixdisk, "write", "-q", "-o", "1M", top], check=True, input=b"x" * 512, cwd=host.folder,
                   env={**os.environ, **variables, "VIXDISK_SNAPSHOT": ""})
    full(*LOST)
    nfc = host.nfc()
    nfc.open(vim.write_ticket(VM1, key), top, write=True)
    _, said = run("sync", DISK, "copy.img", status=75, **variables)
    assert "LOCKED" in said, said
    nfc.close()
    time.sleep(0.2)
    delta(0)


def back_in_time():
    """A run that is killed while it copies a link which is gone afterwards: what it had copied goes too."""
    child_of("two.vmdk", "three.vmdk")
    write(host.at("vm1", "three.vmdk"), 0, 8 * MIB, 0x41)
    state = os.path.join(host.folder, "copy.img.vixstate")
    before = open(state, "rb").read()
    process = subprocess.Popen([vixdisk, "sync", "-q", "--checkpoint", "64K", DISK, "copy.img"], cwd=host.folder,
                               env={**os.environ, **variables})
    while open(state, "rb").read() == before:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.unlink(host.at("vm1", "three.vmdk"))
    child_of("two.vmdk", "three.vmdk")
    write(host.at("vm1", "three.vmdk"), 6 * MIB, 64 * KIB, 0x42)
    told, _ = sync()
    assert told["mode"] == "full", told
    delta(0)


def another_place():
    """A disk of the same name that is another chain."""
    sync()
    os.rename(host.at("vm1", "vm1.vmdk"), host.at("two", "kept.vmdk"))
    for name in ("one", "two", "three"):
        os.unlink(host.at("vm1", name + ".vmdk"))
    qemu("qemu-img", "create", "-q", "-f", "vmdk", host.at("vm1", "vm1.vmdk"), "8M")
    write(host.at("vm1", "vm1.vmdk"), MIB, 64 * KIB, 0x51)
    told, _ = sync()
    assert told["mode"] == "full", told


def open_in_qemu():
    """QEMU changes the content ID with the first write of an open only: a copy made meanwhile is of no known time."""
    disk = host.at("vm1", "vm1.vmdk")
    copies = (DISK, "copy.img", variables), (disk, "local.img", {})
    for _, copy, _ in copies:
        subprocess.run(["rm", "-f", os.path.join(host.folder, copy), os.path.join(host.folder, copy + ".vixstate")], check=True)
    writer = subprocess.Popen(["qemu-io", "-f", "vmdk", disk], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def put(at, pattern):
        writer.stdin.write("write -P %d %d 64k\nflush\n" % (pattern, at))
        writer.stdin.flush()
        while "ops" not in writer.stdout.readline():
            pass

    try:
        put(MIB, 0x52)
        for source, copy, there in copies:
            told = json.loads(run("sync", "--json", source, copy, **there)[0])
            assert (told["mode"], told["change-id"]) == ("full", None), told
        assert change_id() is None
        put(4 * MIB, 0x53)
        writer.communicate("quit\n", timeout=30)
    finally:
        writer.kill()
        writer.wait()
    for mode in ("full", "delta"):
        for source, copy, there in copies:
            told = json.loads(run("sync", "--json", source, copy, **there)[0])
            assert told["mode"] == mode and told["change-id"], told
            qemu("qemu-img", "compare", "-q", "-f", "vmdk", "-F", "raw", disk, os.path.join(host.folder, copy))


def all_disks():
    for name in ("b.vmdk", "c.vmdk"):
        write(host.at("two", name), 0, 64 * KIB, 0x61)
    there = {**variables, "VIXDISK_VM": "moref=" + TWO}
    run("sync", "--all", "-j2", "all", **there)
    child_of("b.vmdk", "zz.vmdk", "two")
    write(host.at("two", "zz.vmdk"), MIB, 64 * KIB, 0x62)
    told = json.loads(run("sync", "--json", "--all", "all", **there)[0])
    tops = {"kept.vmdk": "kept.vmdk", "b.vmdk": "zz.vmdk", "c.vmdk": "c.vmdk"}
    assert sorted(d["changed-bytes"] for d in told["disks"]) == [0, 0, 64 * KIB], told
    assert all(d["mode"] == "delta" for d in told["disks"]), told
    keys = vim.disks(TWO)
    for top in tops.values():
        qemu("qemu-img", "compare", "-q", "-f", "vmdk", "-F", "raw", host.at("two", top),
             os.path.join(host.folder, "all/disk-%d.img" % keys["[datastore1] two/" + top]))


def a_disk_that_is_damaged():
    """A copy stays that of its disk, whatever becomes of the disk; and what another disk's is, is not written over."""
    there = {**variables, "VIXDISK_VM": "moref=" + TWO}
    keys = vim.disks(TWO)
    at = {name: os.path.join(host.folder, "all/disk-%d.img" % keys["[datastore1] two/%s.vmdk" % name])
          for name in ("c", "kept", "zz")}

    def all_bytes():
        return {name: open(path, "rb").read() for name, path in at.items()}

    kept = all_bytes()
    with open(host.at("two", "b.vmdk"), "r+b") as file:  # the base of zz
        head = file.read(512)
        file.seek(0)
        file.write(bytes(512))
    run("sync", "--all", "all", status=1, **there)
    assert all_bytes() == kept
    with open(host.at("two", "b.vmdk"), "r+b") as file:
        file.write(head)
    run("sync", "--all", "all", **there)
    assert all_bytes() == kept
    with open(at["c"] + ".vixstate", encoding="utf-8") as file:
        state = json.load(file)
    for key, other in (("disk-uuid", "12345678-1234-1234-1234-123456789abc"), ("vm", None)):
        with open(at["c"] + ".vixstate", "w", encoding="utf-8") as file:
            json.dump({**state, key: other}, file)
        write(host.at("two", "c.vmdk"), 2 * MIB, 64 * KIB, 0x71)
        out, said = run("sync", "--json", "--all", "all", status=1, **there)
        assert sorted(d["status"] for d in json.loads(out)["disks"]) == [0, 0, 1] and "another disk" in said, (out, said)
        assert all_bytes() == kept
        run("sync", "--all", "--full", "all", **there)
        kept = all_bytes()
        qemu("qemu-img", "compare", "-q", "-f", "vmdk", "-F", "raw", host.at("two", "c.vmdk"), at["c"])


def sessions_end():
    """While a copy is under way, between two questions about changes, the session is idle for too long, or the host starts
    anew: the run goes on with a login of its own, or with a cookie ends in one sentence, and the next one goes on."""
    idle = diskhost.DiskHost("login-delay-ms = 0\nsession-idle-seconds = 2\n")
    os.makedirs(idle.at("big"))
    run("create", "-q", "-s", 520 * GIB, "-t", "vmfsThin", idle.at("big", "big.vmdk"))
    idle.start()
    with open(idle.config, encoding="utf-8") as file:
        config = file.read()
    with open(idle.config, "w", encoding="utf-8") as file:  # the same ports again
        file.write(re.sub(r"(?m)^port = 0", "port = %d" % idle.port,
                          re.sub(r"(?m)^nfc-port = 0", "nfc-port = %d" % idle.nfc_port, config)))
    there = variables_of(idle, idle.login().find_vm("[datastore1] big/big.vmx"))
    copy, links = os.path.join(idle.folder, "copy.raw"), ["big.vmdk"]
    places = [answer * 258 * GIB + n * MIB for answer in range(3) for n in range(24)]
    run("sync", "-q", "[datastore1] big/big.vmdk", copy, **there)

    def start_anew():
        idle.stop()
        idle.start("--test-knob", "delay-ms=100")

    def written():
        """A new link with other data, of which each answer tells some; the byte that it is full of."""
        links.append("%d.vmdk" % len(links))
        qemu("qemu-img", "create", "-q", "-f", "vmdk", "-b", links[-2], "-F", "vmdk", links[-1], folder=idle.at("big"))
        writes = [word for at in places for word in ("-c", "write -P %d %d 64k" % (len(links), at))]
        qemu("qemu-io", "-f", "vmdk", *writes, idle.at("big", links[-1]))
        return len(links)

    def held(happens, *more, meanwhile=lambda: None):
        """A run that is held after the first answer, while it has to ask on: its status, and what it said."""
        process = subprocess.Popen([vixdisk, "sync", "-q", "--checkpoint", "64K", *more, "[datastore1] big/big.vmdk", copy],
                                   text=True, stderr=subprocess.PIPE, cwd=idle.folder, env={**os.environ, **there})
        try:
            end = 0
            while end == 0:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.005)
                meanwhile()
                parts = json.load(open(copy + ".vixstate", encoding="utf-8"))["parts"]
                end = parts[0]["end"] if len(parts) > 1 else 0
            process.send_signal(signal.SIGSTOP)
            assert end < 512 * GIB, end
            happens()
            process.send_signal(signal.SIGCONT)
            return process.wait(timeout=60), process.stderr.read()
        finally:
            process.kill()
            process.wait()

    def is_copied(byte):
        with open(copy, "rb") as file:
            for at in places:
                assert os.pread(file.fileno(), 64 * KIB, at) == bytes([byte]) * 64 * KIB, at

    start_anew()
    byte = written()
    status, said = held(lambda: time.sleep(2.3))
    assert (status, said) == (0, ""), (status, said)
    assert idle.log().count("logged in") > 2, idle.log()  # the run has two sessions
    is_copied(byte)
    byte = written()
    other = idle.login()
    with open(os.path.join(idle.folder, "cookie"), "w", encoding="ascii") as file:
        file.write(other.cookie + "\n")
    status, said = held(lambda: time.sleep(2.3), "--cookie-file", "cookie",
                        meanwhile=lambda: other.call("CurrentTime", ("ServiceInstance", "ServiceInstance")))
    assert status == 1 and said.count("\n") == 1 and "the session has ended" in said, (status, said)
    told = json.loads(run("sync", "--json", "[datastore1] big/big.vmdk", copy, **there)[0])
    assert told["mode"] == "delta" and 0 < told["changed-bytes"] < len(places) * 64 * KIB, told
    is_copied(byte)
    byte = written()
    status, said = held(start_anew)
    assert (status, said) == (0, ""), (status, said)
    assert "logged in" in idle.log(), idle.log()
    is_copied(byte)
    idle.stop()


def to_the_host():
    """A copy on the host that is gone is copied whole; a disk there that is no copy is not written over unasked."""
    there = {**variables_of(host, UP), "VIXDISK_SNAPSHOT": ""}
    source, child = (os.path.join(host.folder, name) for name in ("source.vmdk", "child.vmdk"))

    def send(disk, *more, to="copy", status=0):
        out, said = run("sync", "--json", "--state", to + ".state", *more, disk, "[datastore1] up/%s.vmdk" % to,
                        status=status, **there)
        if status == 0 and "--dry-run" not in more:
            qemu("qemu-img", "compare", "-q", "-f", "vmdk", "-F", "vmdk", disk, host.at("up", to + ".vmdk"))
        return json.loads(out)

    def remove(name):
        for file in os.listdir(host.at("up")):
            if file.startswith(name):
                os.unlink(host.at("up", file))

    qemu("qemu-img", "create", "-q", "-f", "vmdk", source, "8M")
    write(source, 0, 3 * MIB, 0x61)
    assert send(source)["mode"] == "full"
    qemu("qemu-img", "create", "-q", "-f", "vmdk", "-b", source, "-F", "vmdk", child)
    write(child, 5 * MIB, 64 * KIB, 0x62)
    told = send(child, "--dry-run")
    assert (told["mode"], told["changed-bytes"]) == ("delta", 64 * KIB), told
    assert send(child)["changed-bytes"] == 64 * KIB
    remove("copy")
    told = send(child)
    assert told["mode"] == "full" and "gone" in told["reason"], told
    remove("copy")
    told = send(source, "--dry-run")
    assert told["mode"] == "full" and "gone" in told["reason"] and not os.path.exists(host.at("up", "copy.vmdk")), told
    run("sync", "--no-full", "--state", "copy.state", child, "[datastore1] up/copy.vmdk", status=3, **there)
    run("create", "-q", "-s", "8M", "-t", "vmfsThin", host.at("up", "precious.vmdk"))
    subprocess.run([vixdisk, "write", "-q", host.at("up", "precious.vmdk")], check=True, input=b"precious" * 64)
    for more in ((), ("--full",)):
        told = send(source, *more, to="precious", status=1)
        assert told["name"] == "VIX_E_FILE_ALREADY_EXISTS" and "--overwrite" in told["message"], told
    with open(host.at("up", "precious-flat.vmdk"), "rb") as file:
        assert file.read(512) == b"precious" * 64
    assert not os.path.exists(os.path.join(host.folder, "precious.state"))
    assert send(source, "--overwrite", to="precious")["mode"] == "full"
    assert send(source, to="precious")["changed-bytes"] == 0


def a_snapshot_is_asked_for():
    _, said = run("sync", DISK, "copy.img", status=1, **{**variables, "VIXDISK_SNAPSHOT": ""})
    assert "--snapshot none" in said, said


for name, test in (("IDs go with links", ids_go_with_links), ("what was ever written", ever_written),
                   ("since a link", since_a_link), ("answers have an end", answers_have_an_end),
                   ("questions that are refused", bad_questions), ("numbers of disks stay", numbers_stay),
                   ("privileges", privileges), ("doctor", doctors),
                   ("sync", copies), ("sync: other clients write", by_other_clients),
                   ("sync: back in time", back_in_time), ("sync: another disk of that name", another_place),
                   ("sync: QEMU has the disk open", open_in_qemu),
                   ("sync --all", all_disks), ("sync --all: a disk that is damaged", a_disk_that_is_damaged),
                   ("sync: sessions that end", sessions_end), ("sync: to the host", to_the_host),
                   ("sync: no snapshots here", a_snapshot_is_asked_for)):
    tap.check("changes of vixdiskd: " + name, test)
host.stop()
diskhost.remove_all()  # also a host that a failed test has left
tap.end()
