#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The command and disks on a server: options, variables, passwords, every sub-command, failures."""
import glob
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import host
import nfc
import tap
from driving import *

SIZE = 4 * MIB


class Run:
    """What a run of the command has left."""

    def __init__(self, place, *arguments, variables=None, **how):
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("VIXDISK", "GOVC"))}
        plain.update(server_of(place) if variables is None else variables)
        done = subprocess.run([vixdisk] + [str(word) for word in arguments], env=plain, capture_output=True,
                              cwd=place.folder, timeout=120, **{"stdin": subprocess.DEVNULL, **how})
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr.decode()
        assert place.host.password not in self.err and place.host.password.encode() not in self.out

    def json(self):
        return json.loads(self.out)


def server_of(place, **more):
    there = place.host
    out = dict(VIXDISK_HOST="127.0.0.1:%d" % there.soap_port, VIXDISK_USER=there.user,
               VIXDISK_PASSWORD_FILE=place.path("password"), VIXDISK_THUMBPRINT=there.identity.sha1,
               VIXDISK_VM="moref=" + there.vm)
    out.update(more)
    return {key: value for key, value in out.items() if value is not None}


def done(place, *arguments, **how):
    run = Run(place, *arguments, **how)
    assert run.status == 0, (arguments, run.status, run.err)
    return run


def refused(place, status, pattern, *arguments, **how):
    """One line on standard error, which matches."""
    run = Run(place, *arguments, **how)
    assert run.status == status, (arguments, run.status, run.err)
    assert re.fullmatch(pattern, run.err.rstrip("\n")), (pattern, run.err)
    assert not run.out or "--json" in arguments, run.out
    return run


def options(place):
    there = place.host
    line = ["--host", "127.0.0.1", "--port", there.soap_port, "--user", there.user, "--password-file", "password",
            "--thumbprint", there.identity.sha256, "--vm", "moref=" + there.vm, "--nfc-port", there.nfc_port]
    for more, transport in (([], "nbdssl"), (["--transport", "nbd"], "nbd"), (["--compress", "zlib"], "nbdssl"),
                            (["--snapshot", "snapshot-44"], "nbdssl")):
        run = done(place, "info", "--json", *line, *more, DISK, variables={})
        assert run.json()["transport"] == transport and run.json()["virtual-size"] == SIZE, run.out
    usage = r"vixdisk: info: .* \(see 'vixdisk help info'\)"
    refused(place, 2, usage, "info", *line, "--compress", "gzip", DISK, variables={})
    refused(place, 2, usage, "info", *line, "--port", "0", DISK, variables={})
    refused(place, 2, usage, "info", *line, "--host", "a:b:c:", "--host", "x:99999", DISK, variables={})
    refused(place, 2, usage, "info", "--host", "127.0.0.1", DISK, variables={})
    refused(place, 2, usage, "info", "--host", "127.0.0.1", "--user", "x", DISK, variables={}, start_new_session=True)
    refused(place, 2, r"vixdisk: ls: the server is missing: .*", "ls", variables={})
    refused(place, 2, r"vixdisk: info: the virtual machine .* is missing: --vm .*", "info", DISK,
            variables=server_of(place, VIXDISK_VM=None))
    refused(place, 1, r"vixdisk: info: none: VIX_E_FILE_NOT_FOUND \(4\): .*", "info", *line, "--password-file", "none", DISK,
            variables={})
    refused(place, 1, r"vixdisk: info: \[store\] vm1/disk.vmdk: VIX_E_INVALID_ARG \(3\): .*needs a connection to a server.*",
            "info", DISK, variables={})


def variables(place):
    there = place.host
    url = "https://%s:%s@127.0.0.1:%d/sdk" % (there.user.replace("@", "%40"), "Pass%3cword%3e%26-8f41c7", there.soap_port)
    for names in (dict(GOVC_URL=url, GOVC_INSECURE="1"),
                  dict(GOVC_URL="127.0.0.1:%d" % there.soap_port, GOVC_USERNAME=there.user, GOVC_PASSWORD=there.password,
                       GOVC_INSECURE="true"),
                  server_of(place, VIXDISK_PASSWORD_FILE=None, VIXDISK_PASSWORD=there.password),
                  server_of(place, VIXDISK_TRANSPORT="nbd", VIXDISK_COMPRESS="skipz", VIXDISK_SNAPSHOT="snapshot-44")):
        run = done(place, "info", "--json", "--vm", "moref=" + there.vm, DISK, variables=names)
        assert run.json()["transport"] == names.get("VIXDISK_TRANSPORT", "nbdssl")
    # what govc is told is told to govc's server only, and certificates are not trusted without being asked
    refused(place, 2, r"vixdisk: ls: the user is missing: .*", "ls", "--host", "127.0.0.1:1",
            variables=dict(GOVC_URL=url, GOVC_USERNAME="x", GOVC_PASSWORD="y"))
    refused(place, 1, r"vixdisk: ls: VIX_E_CANNOT_CONNECT_TO_HOST \(18000\): .*certificate.*", "ls",
            variables=dict(GOVC_URL=url))
    refused(place, 2, r"vixdisk: ls: GOVC_URL .*", "ls", variables=dict(GOVC_URL="http://" + url[8:]))


def passwords(place):
    there = place.host
    line = ["info", "--json", DISK, "--password-fd", "0"]
    done(place, *line, stdin=None, input=(there.password + "\nmore\n").encode())
    refused(place, 1, r"vixdisk: info: VIX_E_HOST_USER_PERMISSIONS \(3014\): .*", *line[:1], DISK, "--password-fd", "0",
            stdin=None, input=b"wrong\n")
    # on a terminal
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(vixdisk, [vixdisk, "info", DISK], server_of(place, VIXDISK_PASSWORD_FILE=None, PATH="/usr/bin"))
    said = b""
    while b"Password of" not in said:
        said += os.read(terminal, 1000)
    time.sleep(0.2)
    os.write(terminal, there.password.encode() + b"\n")
    try:
        while True:
            said += os.read(terminal, 1000)
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    assert b"nbdssl" in said and there.password.encode() not in said, said
    os.close(terminal)


def cookie(place):
    with Driven(place) as client:
        client.connect()
        place.write("cookie", next(iter(place.host.cookies)) + "\n")
        done(place, "info", DISK, "--cookie-file", "cookie")
        client.want(OK, "disconnect")


def lists(place):
    there = place.host
    text = done(place, "ls").out.decode()
    for pattern in (r"^127.0.0.1:%d: VMware VirtualCenter " % there.soap_port, r"^moref=vm-57  vm1  poweredOff  ",
                    r"^  disk      \[store\] vm1/disk.vmdk  4 MiB, thin  Hard disk 1$", r"^  snapshot  snapshot-44  first/one",
                    r"^  snapshot    snapshot-45  second .*\(current\)$", r"^datastore \[store\]  1 TiB, 1 GiB free  VMFS$"):
        assert re.search(pattern, text, re.M), (pattern, text)
    all = done(place, "ls", "--json").json()
    vm = all["vms"][0]
    assert vm["moref"] == "vm-57" and vm["disks"][0]["filename"] == DISK and vm["disks"][0]["virtual-size"] == SIZE, all
    assert [(s["moref"], s["depth"], s["current"]) for s in vm["snapshots"]] == [("snapshot-44", 0, False),
                                                                                ("snapshot-45", 1, True)], vm
    assert all["vcenter"] and all["datastores"][0]["free"] == 1 << 30, all
    there.hook = lambda label, data, session: (500, host.ENVELOPE % host.Fault("NoPermission").xml()) if (
        label == "soap CreateContainerView") else data
    refused(place, 1, r"vixdisk: ls: VIX_E_HOST_USER_PERMISSIONS \(3014\): .*127.0.0.1:\d+: .*NoPermission.*", "ls")


def thumbprints(place):
    there = place.host
    name = "127.0.0.1:%d" % there.soap_port
    assert done(place, "thumbprint", name, variables={}).out.decode() == "SHA-1    %s\nSHA-256  %s\n" % (
        there.identity.sha1, there.identity.sha256)
    assert done(place, "thumbprint", "--json", name, variables={}).json() == {
        "host": "127.0.0.1", "port": there.soap_port, "sha1": there.identity.sha1, "sha256": there.identity.sha256}
    refused(place, 75, r"vixdisk: thumbprint: VIX_E_HOST_NETWORK_CONN_REFUSED \(14009\): .*: 127.0.0.1:1: .*", "thumbprint",
            "127.0.0.1:1", variables={})
    for wrong in ("", ":1", "a:0", "a:65536", "a:x", "[::1", "[::1]x"):
        refused(place, 2, r"vixdisk: thumbprint: .*", "thumbprint", wrong, variables={})


def reports(place):
    """What a conversion was at: waiting for the server, and the bytes on the wire."""
    run = done(place, "convert", "--json", "--report", "r.html", "-t", "raw", DISK, "reported.raw")
    told = run.json()
    assert told["from"] == DISK and told["virtual-size"] == SIZE and told["wire-in"] >= told["bytes-read"] > 0, told
    assert told["busy-percent"]["network"] > 0 and told["busy-percent"]["read"] == 0, told
    page = open(place.path("r.html")).read()
    assert "On the wire, in" in page and page.count("<figure>") == 2, page
    assert place.host.password not in page
    run = done(place, "convert", "--json", "--report", "w.html", "--overwrite", "reported.raw", "[store] made/reported.vmdk")
    told = run.json()
    assert told["busy-percent"]["network"] > 0 and told["wire-out"] >= told["bytes-written"] > 0, told


def converts(place):
    """There and back, by every transport and compression."""
    data = sample(3 * MIB, 9)
    place.write("in.raw", data)
    for n, (transport, compress) in enumerate((t, c) for t in ("nbd", "nbdssl")
                                              for c in ("none", "zlib", "fastlz", "skipz")):
        way = ["--transport", transport, "--compress", compress]
        new = "[store] made/d%d.vmdk" % n
        done(place, "convert", "in.raw", new, *way)
        assert place.flat_of("made/d%d-flat.vmdk" % n) == data and place.host.created[-1][0] == "thin"
        done(place, "compare", "in.raw", new, *way)
        done(place, "convert", "-t", "streamOptimized", new, "back%d.vmdk" % n, *way)
        done(place, "compare", "back%d.vmdk" % n, "in.raw", variables={})
    first = "[store] made/d0.vmdk"
    refused(place, 1, r"vixdisk: convert: \[store\] made/d0.vmdk: VIX_E_FILE_ALREADY_EXISTS \(12\): .*", "convert", "in.raw",
            first)
    done(place, "convert", "-t", "vmfs", "--overwrite", "in.raw", first)
    assert place.host.created[-1][0] == "preallocated" and place.flat_of("made/d0-flat.vmdk") == data
    other = sample(3 * MIB, 10)
    place.write("other.raw", other)
    done(place, "convert", "-n", "other.raw", first)  # zeros are written too
    assert place.flat_of("made/d0-flat.vmdk") == other
    done(place, "convert", DISK, "[store] made/within.vmdk")
    assert place.flat_of("made/within-flat.vmdk") == place.data
    run = done(place, "convert", "-t", "raw", DISK, "-")
    assert run.out == place.data
    refused(place, 2, r"vixdisk: convert: .*", "convert", "-t", "raw", "in.raw", first)
    refused(place, 2, r"vixdisk: convert: .*", "convert", "-n", "--overwrite", "in.raw", first)
    refused(place, 1, r"vixdisk: convert: .*VIX_E_INVALID_ARG \(3\): .*", "convert", "--overwrite", DISK, DISK)


def progress(place):
    place.write("in.raw", place.data)
    run = done(place, "convert", "-p", "in.raw", "[store] made/p.vmdk")
    last = run.err.rstrip("\n").rpartition("\n")[2]
    assert re.fullmatch(r"convert: 100.0%  4 MiB of 4 MiB  \S+ \S+/s  wire (\S+) MiB  \S+ \S+/s  \d+:\d\d", last), run.err
    read, write = os.pipe()
    done(place, "convert", "--progress=%d" % write, "--overwrite", "in.raw", "[store] made/p.vmdk", pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as lines:
        assert lines.read().endswith("100/100\n")


def informs(place):
    """What the hardware of the machine tells, without a call for it."""
    disk = place.host.objects["VirtualMachine", place.host.vm]
    kept, database = disk["config.hardware.device"], place.host.database
    parents = ("<parent><fileName>[store] vm1/base-1.vmdk</fileName><parent><fileName>[store] vm1/base.vmdk</fileName>"
               "</parent></parent></backing>")
    disk["config.hardware.device"] = kept.replace("</backing>", parents)
    run = done(place, "info", "--json", DISK)
    told = run.json()
    assert told["chain"] == [{"filename": DISK, "backing-filename": "[store] vm1/base-1.vmdk", "cid": 0x01234567},
                             {"filename": "[store] vm1/base-1.vmdk", "backing-filename": "[store] vm1/base.vmdk"},
                             {"filename": "[store] vm1/base.vmdk"}], told
    assert told["links"] == 3 and told["thin-provisioned"] and told["adapter-type"] == "lsilogic", told
    assert told["uuid"] == database["uuid"] and told["transport"] == "nbdssl", told
    place.host.database = {}  # then the hardware is asked for more
    told = done(place, "info", "--json", DISK).json()
    assert told["uuid"] == "6000C29a-0011-2233-4455-66778899aabb" and told["adapter-type"] == "lsilogic", told
    text = done(place, "info", DISK).out.decode()
    assert re.search(r"transport: +nbdssl, thin\n(.*\n)*links:\n  \[0\] \[store\] vm1/disk.vmdk\n    CID 01234567\n"
                     r"  \[1\] \[store\] vm1/base-1.vmdk\n  \[2\] \[store\] vm1/base.vmdk\n", text), text
    os.link(place.flat, place.path("store/vm1/base-1-flat.vmdk"))
    told = done(place, "info", "--json", "[store] vm1/base-1.vmdk").json()
    assert told["links"] == 2 and [row["filename"] for row in told["chain"]] == ["[store] vm1/base-1.vmdk",
                                                                               "[store] vm1/base.vmdk"], told
    os.unlink(place.path("store/vm1/base-1-flat.vmdk"))
    disk["config.hardware.device"] = kept.replace("ParaVirtualSCSI", "VirtualIDE")
    assert done(place, "info", "--json", DISK).json()["adapter-type"] == "ide"
    disk["config.hardware.device"], place.host.database = kept, database


def sub_commands(place):
    place.fill()
    new = "[store] dir/n.vmdk"
    done(place, "create", "-s", "1M", "-t", "vmfsThin", new)
    done(place, "grow", "-s", "2M", new)
    assert place.flat_of("dir/n-flat.vmdk") == bytes(2 * MIB)
    assert done(place, "measure", "-t", "raw", DISK).out
    size = done(place, "measure", "--json", "-t", "streamOptimized", DISK).json()
    done(place, "convert", "-t", "streamOptimized", DISK, place.path("measured.vmdk"))
    assert os.path.getsize(place.path("measured.vmdk")) <= size["required"] < size["fully-allocated"], size
    run = done(place, "map", "--json", DISK)
    end = sum(row["length"] for row in run.json())
    assert end == SIZE and any(row["zero"] for row in run.json()), run.out
    assert done(place, "read", "-o", "512", "-n", "1024", DISK).out == place.data[512:1536]
    piece = os.urandom(1024)
    done(place, "write", "-o", "2048", DISK, stdin=None, input=piece)
    assert place.flat_of("vm1/disk-flat.vmdk")[2048:3072] == piece
    place.fill()
    assert done(place, "meta", DISK, "adapterType").out == b"lsilogic\n"
    assert b"uuid" in done(place, "meta", DISK).out
    done(place, "snapshot", DISK, "child.vmdk")
    assert done(place, "bench", "read", "-c", "64", DISK).out
    done(place, "rm", new)
    assert not os.listdir(place.path("store/dir"))
    for words in (["check", DISK], ["shrink", DISK], ["defrag", DISK], ["rename", DISK, new], ["commit", DISK],
                  ["info", "-f", "raw", DISK], ["convert", "--salvage", "-t", "raw", DISK, "x.raw"]):
        status = 8 if words[0] == "check" else 1
        refused(place, status, r"vixdisk: %s: \[store\] vm1/disk.vmdk: VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT \(20\): .*"
                % words[0], *words)


def failures(place):
    there = place.host
    run = refused(place, 1, "(?s).*", "info", "--json", "[store] vm1/none.vmdk")
    assert run.json()["name"] == "VIX_E_FILE_NOT_FOUND" and not run.json()["retryable"], run.out
    refused(place, 75, r"vixdisk: info: VIX_E_HOST_NETWORK_CONN_REFUSED \(14009\): .*", "info", DISK,
            variables=server_of(place, VIXDISK_HOST="127.0.0.1:1"))
    refused(place, 75, r"vixdisk: info: \[store\] vm1/disk.vmdk: VIX_E_HOST_NETWORK_CONN_REFUSED \(14009\): .*", "info",
            "--nfc-port", "1", DISK)
    wrong = server_of(place, VIXDISK_THUMBPRINT="00:" * 19 + "00")  # no retry makes that right
    refused(place, 1, r"vixdisk: ls: VIX_E_CANNOT_CONNECT_TO_HOST \(18000\): .*thumbprint.*", "ls", variables=wrong)
    run = refused(place, 1, "(?s).*", "ls", "--json", variables=wrong)
    assert run.json()["code"] == CANNOT_CONNECT and not run.json()["retryable"], run.out
    there.hook = lambda label, data, session: (503, "") if label == "soap Login" else data
    refused(place, 75, r"vixdisk: ls: VIX_E_HOST_SERVER_NOT_AVAILABLE \(14015\): .*", "ls")

    def cut(label, data, session):
        if label == "request" and data >= 5:
            session.wire.close()
            raise nfc.Cut()
        return data
    place.write("in.raw", place.data)
    there.hook = cut
    refused(place, 75, r"vixdisk: convert: \[store\] made/q.vmdk: VIX_E_HOST_TCP_CONN_LOST \(14011\): .*", "convert",
            "--set", "vixdisk.nfc.requestKiB=64", "in.raw", "[store] made/q.vmdk")
    assert not os.path.exists(place.path("store/made/q-flat.vmdk"))


def lost_while_opening(place):
    """A connection that is lost before the disk is open is made once more; one that is lost again may pass, too."""
    there = place.host
    lost = []

    def lose(at, times):
        def hook(label, data, session):
            if label == at and len(lost) < times:
                lost.append(label)
                session.wire.close()
                raise nfc.Cut()
            return data
        del lost[:]
        there.hook = hook

    for at in ("banner", "PROXY", "classic 51", "aio 4"):
        lose(at, 1)
        run = done(place, "info", "--json", DISK)
        assert lost == [at] and run.json()["transport"] == "nbdssl", (lost, run.out)
        lose(at, 2)
        run = refused(place, 75, "(?s).*", "info", "--json", "--transport", "nbdssl", DISK)
        assert lost == [at] * 2 and run.json()["code"] == HANDSHAKE and run.json()["retryable"], (lost, run.out)
    there.hook = None
    there.take_ticket, kept = (lambda session_id: None), there.take_ticket
    run = refused(place, 1, "(?s).*", "info", "--json", DISK)
    there.take_ticket = kept
    assert run.json()["code"] == HANDSHAKE and not run.json()["retryable"], run.out


def holds_something(path):
    try:
        with open(path, "rb") as file:
            return any(file.read())
    except FileNotFoundError:  # has just got another name
        return False


def stop_copy(place, number, pattern, *arguments):
    """The exit status of a copy to a server that gets a signal once it has written something to a file."""
    def slow(label, data, session):
        if label == "request":
            time.sleep(0.2)
        return data
    place.host.hook = slow
    process = subprocess.Popen([vixdisk, "convert", "--set", "vixdisk.nfc.requestKiB=64", place.path("in.raw"), *arguments],
                               env=server_of(place), stderr=subprocess.PIPE)
    while not any(holds_something(file) for file in glob.glob(place.path(pattern))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    place.host.hook = None
    process.communicate(timeout=60)
    return process.returncode


def stopping(place):
    """A signal ends a copy to a server, and what was made is gone."""
    place.write("in.raw", place.data)
    assert stop_copy(place, signal.SIGTERM, "store/made/s-flat.vmdk", "[store] made/s.vmdk") == 128 + signal.SIGTERM
    assert not os.path.exists(place.path("store/made/s-flat.vmdk"))


def stopping_over(place):
    """A disk that was to be replaced is what it was after a signal; only what kills leaves the half-made one."""
    over, data = ("--overwrite", "[store] over/s.vmdk"), sample(MIB, 12)
    place.write("in.raw", data)
    done(place, "convert", "in.raw", over[1])
    place.write("in.raw", place.data)
    for number, status, left in ((signal.SIGTERM, 128 + signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL, 1)):
        assert stop_copy(place, number, "store/over/s.part-????????-flat.vmdk", *over) == status
        assert place.flat_of("over/s-flat.vmdk") == data
        assert len(os.listdir(place.path("store/over"))) == 1 + left, os.listdir(place.path("store/over"))
    done(place, "convert", "in.raw", *over)
    assert place.flat_of("over/s-flat.vmdk") == place.data


TESTS = [("options", options), ("variables", variables), ("passwords", passwords), ("a cookie", cookie), ("ls", lists),
         ("thumbprint", thumbprints), ("convert and compare", converts), ("reports", reports), ("progress", progress),
         ("info", informs), ("every other command", sub_commands), ("failures and their exit status", failures),
         ("a connection that is lost while a disk is opened", lost_while_opening), ("a signal", stopping), ("a signal while a disk is replaced", stopping_over)]


def main():
    with Place(SIZE) as place:
        for name, test in TESTS:
            place.host.reset()
            tap.check("the command: " + name, test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
