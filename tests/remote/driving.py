# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the library on remote disks share: a folder with a host in it, and driven, a client of the library
in a process of its own."""
import os
import random
import re
import shutil
import subprocess
import tempfile
import time

import host
import nfc

MIB = 1 << 20
SECTOR = 512
DISK = "[store] vm1/disk.vmdk"

# The codes that are asked for by name.
OK, OUT_OF_MEMORY, INVALID_ARG, FILE_NOT_FOUND, NOT_SUPPORTED = 0, 2, 3, 4, 6
FILE_READ_ONLY, FILE_ALREADY_EXISTS, FILE_ACCESS_ERROR, FILE_ALREADY_LOCKED = 11, 12, 13, 15
NOT_SUPPORTED_ON_REMOTE_OBJECT, BUFFER_TOOSMALL, OBJECT_NOT_FOUND = 20, 24, 25
INVALID_XML, HOST_USER_PERMISSIONS, LOGIN_TYPE_NOT_SUPPORTED, VM_NOT_FOUND = 2002, 3014, 3032, 4000
HANDSHAKE, SERVER_NOT_FOUND, CONN_REFUSED, CONN_LOST, SERVER_NOT_AVAILABLE = 14006, 14008, 14009, 14011, 14015
OUTOFRANGE, CID_MISMATCH, KEY_NOTFOUND, CAPACITY_MISMATCH, CANNOT_CONNECT = 16007, 16008, 16052, 16067, 18000
ZLIB, FASTLZ, SKIPZ, READ_ONLY = 1 << 4, 1 << 5, 1 << 6, 1 << 2

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
vixdisk = os.path.realpath(os.environ.get("VIXDISK", root + "/build/release/tool/vixdisk"))
build = os.path.dirname(os.path.dirname(vixdisk))


def sample(size, seed=5):
    """Data that compresses, data that does not, zeros, with a whole MiB of zeros in the middle."""
    bits = random.Random(seed)
    out = bytearray(size)
    out[0:65536] = bits.randbytes(65536)
    out[131072:300000] = (b"the same again and again, nearly %d " * 6000)[:168928]
    for n in range(400000, size - 5000, 70000):
        out[n:n + 300] = bits.randbytes(30) * 10
    if size > 2 * MIB:
        out[MIB:2 * MIB] = bytes(MIB)
    return bytes(out[:size])


class Place:
    """A folder with a datastore, the disk DISK in it, and a host. with Place(...) as place."""

    def __init__(self, size=4 * MIB, **how):
        self.folder = tempfile.mkdtemp(prefix="vixdisk-remote-")
        os.makedirs(self.folder + "/store/vm1")
        self.data = sample(size)
        self.flat = self.folder + "/store/vm1/disk-flat.vmdk"
        self.fill()
        self.identity = nfc.Identity(self.folder, "host")
        self.host = host.Host(self.folder, self.identity, **how)
        self.write("password", self.host.password + "\n")

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.host.stop()
        shutil.rmtree(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb" if isinstance(data, bytes) else "w") as file:
            file.write(data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def fill(self):
        """The disk as it was at the start."""
        with open(self.flat, "wb") as file:
            file.write(self.data)

    def flat_of(self, name):
        return self.read("store/" + name)


class Driven:
    """A client of the library. with Driven(place) as client: client.do("open", DISK, 0)"""
    count = 0

    def __init__(self, place, settings="", faults=None):
        """faults: rules of tests/remote/faults.c that hold from the start; None: never any."""
        self.place = place
        self.log = place.path("log-%d" % Driven.count)
        self.rules = place.path("rules-%d" % Driven.count)
        Driven.count += 1
        config = place.write("config", settings)
        open(self.log, "w").close()
        environment = dict(os.environ)
        if faults is not None:
            self.faults(*faults)
            environment["DRIVEN_FAULTS"] = self.rules
        self.process = subprocess.Popen([build + "/tests/remote/driven", self.log, config], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.process.stdin.close()
        status = self.process.wait(60)
        self.process.stdout.close()
        if fault[0] is None:
            assert status == 0, "the client ended with status %d" % status

    def send(self, *fields):
        self.process.stdin.write("\t".join(str(field) for field in fields) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the client is gone, status %s" % self.process.wait(10))
        code, _, text = line.rstrip("\n").partition("\t")
        return int(code), text

    def do(self, *fields):
        self.send(*fields)
        return self.answer()

    def want(self, code, *fields):
        """The answer's text, if its code is the one that is wanted."""
        got, text = self.do(*fields)
        if got != code:
            raise AssertionError("%s gave %d, not %d: %s" % (fields, got, code, self.do("sentence")[1]))
        return text

    def refused(self, code, *fields, sentence=None, begins=None):
        """That a call fails with a code and a sentence that begins with the server, or with begins, and that was told to
        *warn* once."""
        before = self.warnings()
        self.want(code, *fields)
        text = self.do("sentence")[1]
        server = begins if begins is not None else "127.0.0.1:%d: " % self.place.host.soap_port
        assert text.startswith(server), "%r does not begin with %r" % (text, server)
        assert len(text) > len(server) + 10, text
        assert sentence is None or re.search(sentence, text), "%r has no %r" % (text, sentence)
        told = self.warnings()[len(before):]
        assert len([line for line in told if text[:60] in line]) == 1, told
        assert self.place.host.password not in text
        return text

    def login(self, operation="connect", *, server="127.0.0.1", port=None, nfc_port=0, user=None, password="password",
              thumbprint=None, vm=None, last=(), transports="nbd", read_only=0, snapshot="-"):
        """The fields of connect, or of prepare, end, cleanup with last."""
        there = self.place.host
        fields = [operation, server, there.soap_port if port is None else port, nfc_port,
                  there.user if user is None else user, self.place.path(password),
                  there.identity.sha1 if thumbprint is None else thumbprint,
                  "moref=" + there.vm if vm is None else vm]
        return fields + (list(last) if operation != "connect" else [transports, read_only, snapshot])

    def connect(self, **how):
        self.want(OK, *self.login(**how))

    def faults(self, *rules):
        """The rules of tests/remote/faults.c that hold from now on."""
        self.place.write(self.rules + ".new", "".join(rule + "\n" for rule in rules))
        os.rename(self.rules + ".new", self.rules)

    def met(self, kind):
        """Paths of what rules of a kind have met so far."""
        try:
            with open(self.rules + ".log") as file:
                return [line.split()[1] for line in file if line.startswith(kind + " ")]
        except FileNotFoundError:
            return []

    def warnings(self):
        return [line for line in self.messages() if line.startswith("WARN ")]

    def messages(self):
        with open(self.log) as file:
            return file.read().splitlines()

    def read_all(self, size, piece=None):
        """Everything on the open disk: by one call, or by asynchronous ones."""
        out = self.place.path("out")
        if piece:
            self.want(OK, "async", 0, size // SECTOR, piece, out)
        else:
            self.want(OK, "read", 0, size // SECTOR, out)
        return self.place.read("out")

    def memory_has(self, *secrets):
        """Where the process has one of some texts in memory that it can write."""
        found = []
        with open("/proc/%d/maps" % self.process.pid) as maps, open("/proc/%d/mem" % self.process.pid, "rb", 0) as mem:
            for line in maps:
                where, mode = line.split()[:2]
                first, last = (int(number, 16) for number in where.split("-"))
                if "rw" not in mode or last - first > 1 << 30:  # a shadow of a sanitizer
                    continue
                try:
                    mem.seek(first)
                    data = mem.read(last - first)
                except (OSError, ValueError):
                    continue
                for secret in secrets:
                    if secret in data:
                        found.append((secret, line.strip()))
        return found


class Deadline:
    """That what is within takes no longer."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        self.began = time.monotonic()

    def __exit__(self, *fault):
        if fault[0] is None:
            took = time.monotonic() - self.began
            assert took < self.seconds, "took %.1f s, longer than %d" % (took, self.seconds)
