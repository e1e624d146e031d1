#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The disk host under load: killed at random moments, or for a long time with clients of every kind.

  tests/soak/host.py --kills N [--seed S]        SIGKILL, N times, while four clients write
  tests/soak/host.py --minutes M [--sessions N]  N sessions at once: readers, writers, clients that are killed, that show
                                                 wrong tickets, that talk nonsense, and that are slow

After every kill each disk is sound (`vixdisk check --repair` leaves nothing), and holds all that a client was told to be
written; of a write that was cut short each sector is old or new. At the end of a long run every byte that was told to be
written is there, and memory and open files of the host are what they were in the second fifth of it.

VIXDISK and VIXDISKD are the programs under test."""
import argparse
import os
import random
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../remote"))
from diskhost import DiskHost  # noqa: E402

VIXDISK = os.environ["VIXDISK"]
KIB, MIB = 1 << 10, 1 << 20
SECTOR = 512
SIZE = 8 * MIB
TYPES = ["monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat", "vmfsThin"]
STEADY_MEMORY = 1.25  # times the memory of the second fifth of the run, medians: what grows does not come down again
PEAK_MEMORY = 256 * KIB  # KiB, at any moment: 64 sessions with all their buffers, and the passwords that are being checked
STEADY_FILES = 8      # more open files than then
SETTLED = 5           # minutes before that says anything


class Fault(Exception):
    """Something was lost, or grows."""


class Place:
    """A host with disks, and how to reach them."""

    def __init__(self, disks, limits=""):
        self.host = DiskHost(limits)
        self.names = []
        for i in range(disks):
            name = "disk%d.vmdk" % i
            subprocess.run([VIXDISK, "create", "-q", "-s", str(SIZE), "-t", TYPES[i % len(TYPES)], self.path(name)], check=True)
            self.names.append(name)
        self.host.start()

    def path(self, name):
        return self.host.at("vm1", name)

    def options(self, transport="nbdssl"):
        host = self.host
        return ["--host", "127.0.0.1", "--port", str(host.port), "--nfc-port", str(host.nfc_port), "--user", "vixdisk",
                "--password-file", os.path.join(host.root, "password"), "--thumbprint", host.thumbprint, "--vm",
                "[datastore1] vm1/vm1.vmx", "--transport", transport]

    def argv(self, command, *args, name, transport="nbdssl"):
        return [VIXDISK, command, "-q", *args, *self.options(transport), "[datastore1] vm1/" + name]

    def restart(self):
        self.host.start()


class Model:
    """What a disk holds: for each sector the bytes that it may have."""

    def __init__(self):
        self.sure = bytearray(SIZE)
        self.maybe = {}

    def begin(self, at, data):
        """A write has begun: until it is told to be done each sector is old or new."""
        for i in range(0, len(data), SECTOR):
            self.maybe.setdefault(at + i, set()).add(bytes(data[i:i + SECTOR]))

    def done(self, at, data):
        self.sure[at:at + len(data)] = data
        for i in range(0, len(data), SECTOR):
            self.maybe.pop(at + i, None)

    def settle(self, found, name):
        """Compares, and takes what was found for what is there."""
        for at in range(0, SIZE, SECTOR):
            sector = found[at:at + SECTOR]
            if sector != self.sure[at:at + SECTOR] and bytes(sector) not in self.maybe.get(at, ()):
                raise Fault("%s: sector %d is neither what was written nor what was being written" % (name, at // SECTOR))
        self.sure[:] = found
        self.maybe.clear()


def read_local(place, name):
    done = subprocess.run([VIXDISK, "check", "-q", "--repair", place.path(name)], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise Fault("%s: check ends with %d: %s" % (name, done.returncode, done.stdout + done.stderr))
    return subprocess.run([VIXDISK, "read", "-q", place.path(name)], capture_output=True, check=True).stdout


class Writer(threading.Thread):
    """Writes at random places of a disk of its own, each time with a client of its own."""

    def __init__(self, place, name, seed, stop, pause=0.0, check_back=False):
        super().__init__(daemon=True)
        self.place, self.name, self.rnd, self.stop, self.pause = place, name, random.Random(seed), stop, pause
        self.check_back = check_back
        self.model = Model()
        self.told = self.failed = 0
        self.fault = None

    def run(self):
        while not self.stop.is_set() and self.fault is None:
            length = self.rnd.randrange(1, 600) * SECTOR
            at = self.rnd.randrange(0, (SIZE - length) // SECTOR + 1) * SECTOR
            data = self.rnd.randbytes(length)
            self.model.begin(at, data)
            argv = self.place.argv("write", "-o", str(at), name=self.name, transport=self.rnd.choice(["nbd", "nbdssl"]))
            done = subprocess.run(argv, input=data, capture_output=True, check=False)
            if done.returncode == 0:
                self.model.done(at, data)
                self.told += 1
                if self.check_back and self.told % 8 == 0:
                    self.look(at, data)
            else:
                self.failed += 1
                time.sleep(0.05)
            time.sleep(self.pause)

    def look(self, at, data):
        argv = self.place.argv("read", "-o", str(at), "-n", str(len(data)), name=self.name)
        done = subprocess.run(argv, capture_output=True, check=False)
        if done.returncode == 0 and done.stdout != data:
            self.fault = "%s: what was written at %d reads as something else" % (self.name, at)


def kills(count, seed):
    rnd = random.Random(seed)
    place = Place(len(TYPES), "login-delay-ms = 0\n")
    told = failed = under_load = 0
    models = {name: Model() for name in place.names}
    for n in range(count):
        stop = threading.Event()
        writers = [Writer(place, name, seed * 1000003 + n * 17 + i, stop) for i, name in enumerate(place.names)]
        for writer in writers:
            writer.model = models[writer.name]
            writer.start()
        time.sleep(rnd.uniform(0.05, 0.5))
        place.host.process.kill()
        place.host.process.wait()
        stop.set()
        for writer in writers:
            writer.join(timeout=120)
            if writer.is_alive():
                raise Fault("a client of a host that is gone does not end")
            told += writer.told
            failed += writer.failed
        under_load += any(writer.failed for writer in writers)
        for name in place.names:
            models[name].settle(read_local(place, name), name)
        place.restart()
    place.host.stop()
    print("%d kills, %d of them with a client at work; %d writes told to be done, %d cut short: nothing lost" %
          (count, under_load, told, failed))


# ---- a long time ----

def readers(place, name, rnd, stop):
    while not stop.is_set():
        subprocess.run(place.argv("bench", "read", "-s", "64K", "-c", "200", "-d", "8", "--random", name=name,
                                  transport=rnd.choice(["nbd", "nbdssl"])), capture_output=True, check=False)


def cut_short(place, name, rnd, stop):
    """A client that is killed while it reads."""
    while not stop.is_set():
        child = subprocess.Popen(place.argv("bench", "read", "-s", "1M", "-c", "100000", "-d", "16", name=name,
                                            transport=rnd.choice(["nbd", "nbdssl"])), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        time.sleep(rnd.uniform(0.1, 2))
        child.send_signal(signal.SIGKILL)
        child.wait()


def tls_to(place):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    bare = socket.create_connection(("127.0.0.1", place.host.nfc_port), timeout=20)
    bare.recv(4096)
    return context.wrap_socket(bare)


def wrong_tickets(place, _name, rnd, stop):
    while not stop.is_set():
        try:
            with tls_to(place) as line:
                line.sendall(b"SESSION %s\r\n" % rnd.randbytes(16).hex().encode())
                line.recv(4096)
        except OSError:
            pass
        time.sleep(rnd.uniform(0.05, 0.3))


def nonsense(place, _name, rnd, stop):
    while not stop.is_set():
        try:
            port = rnd.choice([place.host.nfc_port, place.host.port])
            with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
                line.sendall(rnd.randbytes(rnd.randrange(1, 20000)))
                if rnd.random() < 0.5:
                    line.settimeout(1)
                    line.recv(4096)
        except OSError:
            pass
        time.sleep(rnd.uniform(0.05, 0.3))


def slow(place, _name, rnd, stop):
    """Says its first line a byte at a time."""
    while not stop.is_set():
        try:
            with tls_to(place) as line:
                for byte in b"SESSION 52 a very slow client\r\n" * 4:
                    line.sendall(bytes([byte]))
                    if stop.wait(rnd.uniform(0.1, 1)):
                        break
        except OSError:
            time.sleep(0.2)


def usage(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines["VmRSS"].split()[0]), len(os.listdir("/proc/%d/fd" % pid)), int(lines["Threads"])


def long_time(minutes, sessions, seed):
    roles = [readers] * 6 + [None] * 4 + [cut_short] * 2 + [wrong_tickets, nonsense, slow, slow]  # None: a writer
    count = sum(roles[i % len(roles)] is None for i in range(sessions))
    place = Place(count + 4, "connections-per-address = 512\nhttp-connections = 512\nconnections = 512\n"
                             "handshake-seconds = 20\nlogin-delay-ms = 0\nsessions = 4096\nsession-idle-seconds = 60\n")
    stop = threading.Event()
    threads, writers = [], []
    for i in range(sessions):
        role = roles[i % len(roles)]
        if role is None:
            writers.append(Writer(place, place.names[4 + len(writers)], seed + i, stop, pause=0.1, check_back=True))
            threads.append(writers[-1])
        else:
            threads.append(threading.Thread(target=role, daemon=True,
                                            args=(place, place.names[i % 4], random.Random(seed + i), stop)))
        threads[-1].start()
    pid, end, peaks = place.host.process.pid, time.monotonic() + minutes * 60, []
    while time.monotonic() < end:
        stop.wait(min(5.0, minutes * 2))
        if place.host.process.poll() is not None:
            raise Fault("the host has ended:\n" + place.host.log()[-4000:])
        peaks.append(usage(pid))
        if len(peaks) % 12 == 0:
            print("%5.1f min: %d KiB, %d files, %d threads; %d writes, %d refused" %
                  (minutes - (end - time.monotonic()) / 60, *peaks[-1], sum(w.told for w in writers),
                   sum(w.failed for w in writers)), flush=True)
    stop.set()
    for thread in threads:
        thread.join(timeout=120)
    faults = [w.fault for w in writers if w.fault is not None]
    if faults:
        raise Fault("\n".join(faults))
    time.sleep(2)
    left = usage(pid)
    fifth = max(1, len(peaks) // 5)
    begin, finish = peaks[fifth:2 * fifth] or peaks, peaks[-fifth:]
    early, late = (statistics.median(p[0] for p in part) for part in (begin, finish))
    most = max(p[0] for p in peaks)
    files = max(p[1] for p in begin), max(p[1] for p in finish)
    place.host.stop()
    for writer in writers:
        writer.model.settle(read_local(place, writer.name), writer.name)
    if min(w.told for w in writers) == 0:
        raise Fault("a writer never came through")
    told, failed = sum(w.told for w in writers), sum(w.failed for w in writers)
    print("%d sessions, %g minutes: %d writes told to be done and there, %d refused or cut short; memory %d KiB at first, "
          "%d KiB at last (medians of a fifth), %d KiB at most; files %d and %d, %d with nobody there" %
          (sessions, minutes, told, failed, early, late, most, *files, left[1]))
    if minutes >= SETTLED and (late > early * STEADY_MEMORY or files[1] > files[0] + STEADY_FILES + sessions // 4):
        raise Fault("the host grows")
    if most > PEAK_MEMORY:
        raise Fault("the host takes %d KiB" % most)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    try:
        if args.kills:
            kills(args.kills, args.seed)
        if args.minutes:
            long_time(args.minutes, args.sessions, args.seed)
    except Fault as fault:
        print("FAULT: %s" % fault)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
