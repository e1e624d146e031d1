#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Kills the command with SIGKILL at random moments while it changes disks, and looks at what is left.

  tests/soak/kill9.py [--kills N] [--seed S] [--only WORD]

Operations: write, grow, defrag, shrink, convert to a new name and over an existing disk, commit; each on several types.
After every kill:
  - the disk opens, at once or after `check --repair`, which finds nothing that it cannot repair;
  - it holds what it held before, or what it shall hold: written sectors are old or new and those of finished commands
    are new; the target of a convert is absent, refused, the old disk or the complete new one; the source is untouched;
  - the command can be given again and then ends well (extents of a half-made target of convert that have their names
    already are in the way and must be removed first);
  - every other file that is left has a name that says so: NAME.tmp-XXXXXX (a file that was to take the place of NAME),
    NAME.part-XXXXXXXX.vmdk and its extents (a disk that was to take the place of NAME, or a merged child).

One line for each operation and type; the last line has the figures. VIXDISK is the command under test."""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
SIZE = 20 * MIB
GROWN = 40 * MIB
SECTOR = 512
VIXDISK = os.path.realpath(os.environ.get(
    "VIXDISK", os.path.join(os.path.dirname(__file__), "../../build/release/tool/vixdisk")))
LEFT_OVER = re.compile(r".*\.tmp-[0-9a-f]{6}$|.*\.part-[0-9a-f]{8}(-.*)?\.vmdk(\.tmp-[0-9a-f]{6})?$")
ALREADY_EXISTS = "VIX_E_FILE_ALREADY_EXISTS"


class Fault(Exception):
    """What is left is not what it must be."""


def run(*args, data=None):
    """The command: exit status, standard output, standard error."""
    done = subprocess.run([VIXDISK, *args], input=data, stdin=None if data is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def must(*args, data=None):
    status, out, said = run(*args, data=data)
    if status != 0:
        raise Fault("%s: exit status %d: %s" % (" ".join(args), status, said.strip()))
    return out


def content(path):
    return must("read", path)


def first_difference(a, b):
    if len(a) != len(b):
        return "lengths %d and %d" % (len(a), len(b))
    for at in range(0, len(a), SECTOR):
        if a[at:at + SECTOR] != b[at:at + SECTOR]:
            return "sector %d" % (at // SECTOR)
    return "none"


def same(got, want, what):
    if got != want:
        raise Fault("%s: differs: %s" % (what, first_difference(got, want)))


def pattern(rng, size, pieces):
    """Bytes of a disk: random pieces, zeros between them, some zeros that are written."""
    image = bytearray(size)
    for _ in range(pieces):
        n = rng.randrange(1, 1500) * SECTOR
        at = rng.randrange(0, (size - n) // SECTOR) * SECTOR
        image[at:at + n] = rng.randbytes(n)
    return image


def fill(path, image, rng):
    """Writes the parts of an image that are not zeros in pieces, in no order, with zeros over some of them first."""
    step = 2 * MIB
    starts = list(range(0, len(image), step))
    rng.shuffle(starts)
    for at in starts:
        piece = bytes(image[at:at + step])
        if any(piece):
            must("write", "-o", str(at), path, data=piece)


class Case:
    """An operation on disks of one type. Files are in the present folder."""
    name = ""

    def __init__(self, rng):
        self.rng = rng

    def prepare(self):
        """Makes the disks."""

    def command(self):
        """Arguments, and what goes to standard input."""

    def check(self):
        """Looks at what a kill left."""

    def again(self):
        """Does it again, to the end, and looks at that."""

    def expected(self):
        """The names of the files that belong there."""
        return set()

    def opens(self, path):
        """Whether the disk opens, if need be after a repair."""
        if run("info", path)[0] != 0:
            status, out, said = run("check", "--repair", path)
            if status not in (0, 1):
                raise Fault("check --repair %s: exit status %d: %s%s" % (path, status, out.decode(), said))
        must("info", path)

    def is_sound(self, path):
        status, out, said = run("check", "--repair", "--chain", path)
        if status not in (0, 1):
            raise Fault("check --repair %s: exit status %d: %s%s" % (path, status, out.decode(), said))
        if run("check", "--chain", path)[0] != 0:
            raise Fault("check %s finds something after the repair" % path)


class OneDisk(Case):
    """An operation that keeps the content of a disk."""

    def __init__(self, rng, kind, operation, *options):
        super().__init__(rng)
        self.kind, self.operation, self.options = kind, operation, options
        self.name = "%s %s" % (operation, kind)

    def prepare(self):
        self.image = pattern(self.rng, SIZE, 24)
        must("create", "-t", self.kind, "-s", str(SIZE), "d.vmdk")
        if self.operation == "shrink":  # what is to be given back
            must("write", "-o", str(SIZE // 2), "d.vmdk", data=self.rng.randbytes(4 * MIB))
            must("write", "-o", str(SIZE // 2), "d.vmdk", data=bytes(4 * MIB))
        fill("d.vmdk", self.image, self.rng)
        must("write", "-o", str(SIZE // 2), "d.vmdk", data=bytes(self.image[SIZE // 2:SIZE // 2 + 4 * MIB]))

    def command(self):
        return [self.operation, *self.options, "d.vmdk"], None

    def check(self):
        self.opens("d.vmdk")
        got = content("d.vmdk")
        if self.operation == "grow" and len(got) == GROWN:
            same(got[SIZE:], bytes(GROWN - SIZE), "new sectors")
            got = got[:SIZE]
        same(got, bytes(self.image), "content")
        self.is_sound("d.vmdk")

    def again(self):
        must(*self.command()[0])
        if self.operation == "grow" and len(content("d.vmdk")) != GROWN:
            raise Fault("grow ended well and the capacity is the old one")
        self.check()

    def expected(self):
        return {"d.vmdk", "d-flat.vmdk", "d-s001.vmdk", "d-f001.vmdk", "d-delta.vmdk"}


class Write(Case):
    """Writes one range after the other; each command has flushed what it wrote when it ends."""

    def __init__(self, rng, kind):
        super().__init__(rng)
        self.kind = kind
        self.name = "write %s" % kind
        self.image = bytearray()
        self.old = b""
        self.start = 0
        self.piece = b""

    def prepare(self):
        self.image = pattern(self.rng, SIZE, 8)
        must("create", "-t", self.kind, "-s", str(SIZE), "d.vmdk")
        fill("d.vmdk", self.image, self.rng)

    def command(self):
        for _ in range(2):  # these end well
            self.put(self.rng.randrange(1, 2000) * SECTOR)
            must("write", "-o", str(self.start), "d.vmdk", data=self.piece)
        self.put(self.rng.randrange(15000, 30000) * SECTOR)
        return ["write", "-o", str(self.start), "d.vmdk"], self.piece

    def put(self, n):
        self.start = self.rng.randrange(0, (SIZE - n) // SECTOR) * SECTOR
        self.piece = self.rng.randbytes(n)
        self.old = bytes(self.image[self.start:self.start + n])
        self.image[self.start:self.start + n] = self.piece

    def check(self):
        self.opens("d.vmdk")
        got = bytearray(content("d.vmdk"))
        for at in range(0, len(self.piece), SECTOR):
            sector = got[self.start + at:self.start + at + SECTOR]
            if sector != self.piece[at:at + SECTOR] and sector != self.old[at:at + SECTOR]:
                raise Fault("sector %d is neither old nor new" % ((self.start + at) // SECTOR))
        got[self.start:self.start + len(self.piece)] = self.piece
        same(bytes(got), bytes(self.image), "outside of the range that was written")
        self.is_sound("d.vmdk")

    def again(self):
        must("write", "-o", str(self.start), "d.vmdk", data=self.piece)
        same(content("d.vmdk"), bytes(self.image), "content")
        self.is_sound("d.vmdk")

    def expected(self):
        return {"d.vmdk", "d-flat.vmdk", "d-s001.vmdk", "d-f001.vmdk", "d-delta.vmdk"}


class Convert(Case):
    """A copy to a new name, or in the place of another disk."""

    def __init__(self, rng, kind, old_kind):
        super().__init__(rng)
        self.kind, self.old_kind = kind, old_kind
        self.name = "convert to %s%s" % (kind, " over %s" % old_kind if old_kind else "")

    def prepare(self):
        self.image = pattern(self.rng, SIZE, 24)
        must("create", "-s", str(SIZE), "src.vmdk")
        fill("src.vmdk", self.image, self.rng)
        with open("src.vmdk", "rb") as file:
            self.source = file.read()
        self.old = None
        if self.old_kind:
            self.old = pattern(self.rng, SIZE, 3)
            must("create", "-t", self.old_kind, "-s", str(SIZE), "d.vmdk")
            fill("d.vmdk", self.old, self.rng)

    def command(self):
        return ["convert", *(["--overwrite"] if self.old_kind else []), "-t", self.kind, "src.vmdk", "d.vmdk"], None

    def check(self):
        with open("src.vmdk", "rb") as file:
            if file.read() != self.source:
                raise Fault("the source has changed")
        if not os.path.exists("d.vmdk"):
            if self.old is not None:
                raise Fault("neither the old disk nor the new one is there")
            return
        status, _, said = run("info", "d.vmdk")
        if status != 0:
            if self.old is not None:
                raise Fault("the target does not open: %s" % said)
            return  # half-made and refused
        got = content("d.vmdk")
        if self.old is not None and got == bytes(self.old):
            return
        same(got, bytes(self.image), "the target opens and")
        self.is_sound("d.vmdk")

    def again(self):
        status, _, said = run(*self.command()[0])
        if status != 0 and self.old is None and ALREADY_EXISTS in said:
            for name in self.expected() - {"src.vmdk"}:
                if os.path.exists(name):
                    os.unlink(name)
            must(*self.command()[0])
        elif status != 0:
            raise Fault("again: exit status %d: %s" % (status, said))
        same(content("d.vmdk"), bytes(self.image), "content")
        self.is_sound("d.vmdk")

    def expected(self):
        return {"src.vmdk", "d.vmdk", "d-flat.vmdk", "d-s001.vmdk", "d-f001.vmdk", "d-delta.vmdk"}


class Commit(Case):
    """A merge: the child reads the same until it is gone, then the parent does."""

    def __init__(self, rng, kind, child_kind):
        super().__init__(rng)
        self.kind, self.child_kind = kind, child_kind
        self.name = "commit %s to %s" % (child_kind, kind)

    def prepare(self):
        base = pattern(self.rng, SIZE, 10)
        must("create", "-t", self.kind, "-s", str(SIZE), "base.vmdk")
        fill("base.vmdk", base, self.rng)
        must("snapshot", "-t", self.child_kind, "base.vmdk", "d.vmdk")
        for _ in range(20):
            n = self.rng.randrange(1, 1500) * SECTOR
            at = self.rng.randrange(0, (SIZE - n) // SECTOR) * SECTOR
            piece = self.rng.randbytes(n) if self.rng.randrange(4) else bytes(n)
            must("write", "-o", str(at), "d.vmdk", data=piece)
            base[at:at + n] = piece
        self.image = base

    def command(self):
        return ["commit", "d.vmdk"], None

    def check(self):
        path = "d.vmdk" if os.path.exists("d.vmdk") else "base.vmdk"
        self.opens(path)
        same(content(path), bytes(self.image), path)
        self.is_sound(path)

    def again(self):
        if os.path.exists("d.vmdk"):
            must("commit", "d.vmdk")
        if os.path.exists("d.vmdk"):
            raise Fault("commit ended well and the child is there")
        self.check()

    def expected(self):
        # d-*: extents of a merged child whose descriptor is gone already
        return {"base.vmdk", "base-flat.vmdk", "base-s001.vmdk", "base-f001.vmdk", "base-delta.vmdk",
                "d.vmdk", "d-s001.vmdk", "d-delta.vmdk"}


def all_cases(rng):
    hosted = ["monolithicSparse", "twoGbMaxExtentSparse"]
    targets = ["monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat", "vmfsSparse"]
    cases = [Write(rng, kind) for kind in targets]
    cases += [OneDisk(rng, kind, "grow", "-s", str(GROWN)) for kind in hosted + ["monolithicFlat", "vmfsThin"]]
    cases += [OneDisk(rng, kind, "defrag") for kind in hosted]
    cases += [OneDisk(rng, kind, "shrink") for kind in hosted + ["vmfsThin"]]
    cases += [Convert(rng, kind, None) for kind in targets]
    cases += [Convert(rng, kind, old) for kind, old in zip(targets, targets[1:] + targets[:1])]
    cases += [Commit(rng, *pair) for pair in (
        ("monolithicSparse", "monolithicSparse"), ("monolithicFlat", "twoGbMaxExtentSparse"),
        ("vmfs", "vmfsSparse"), ("vmfsSparse", "vmfsSparse"))]
    return cases


def start(args, data):
    """Begins the command; what it shall read is a file, so that nobody needs to feed it."""
    with tempfile.TemporaryFile() as source:
        if data is not None:
            source.write(data)
            source.seek(0)
        return subprocess.Popen([VIXDISK, *args], stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Soak:
    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.count = {}  # case: [kills while it ran, ended before]
        self.seconds = {}
        self.left = 0
        self.faults = 0

    def fresh(self, case):
        os.chdir(self.folder)
        shutil.rmtree("work", ignore_errors=True)
        os.mkdir("work")
        os.chdir("work")
        case.prepare()

    def measure(self, case):
        """How long the operation takes when nobody kills it; that is checked too."""
        self.fresh(case)
        args, data = case.command()
        began = time.monotonic()
        process = start(args, data)
        said = process.communicate()[1].decode(errors="replace")
        self.seconds[case] = time.monotonic() - began
        if process.returncode != 0:
            raise Fault("not killed, exit status %d: %s" % (process.returncode, said))
        case.check()

    def kill_once(self, case):
        self.fresh(case)
        args, data = case.command()
        delay = self.rng.uniform(0, self.seconds[case])
        process = start(args, data)
        time.sleep(delay)
        process.kill()
        process.communicate()
        running = process.returncode == -9
        self.count.setdefault(case, [0, 0])[0 if running else 1] += 1
        strange = [name for name in os.listdir() if name not in case.expected() and not LEFT_OVER.match(name)]
        if strange:
            raise Fault("killed after %.4f s: left over: %s" % (delay, " ".join(strange)))
        self.left += any(LEFT_OVER.match(name) for name in os.listdir())
        try:
            case.check()
            case.again()
        except Fault as fault:
            raise Fault("killed after %.4f s: %s" % (delay, fault)) from fault

    def go(self, cases, kills):
        """Each case is killed four times at least; of the cases as many as that allows, chosen at random."""
        cases = self.rng.sample(cases, max(1, min(len(cases), kills // 4)))
        order = []
        failed = {}
        while len(order) < kills:
            order += self.rng.sample(cases, len(cases))
        for case in order[:kills]:
            try:
                if case not in self.seconds:
                    self.measure(case)
                self.kill_once(case)
            except (Fault, subprocess.TimeoutExpired) as fault:
                failed.setdefault(case, []).append(str(fault))
                self.faults += 1
        for case in cases:
            if case not in self.seconds:
                continue
            running, early = self.count.get(case, [0, 0])
            print("%s - %s: killed %d times (%d more had ended)" % ("not ok" if case in failed else "ok", case.name,
                                                                  running, early))
            for text in failed.get(case, []):
                print("# " + text.replace("\n", "\n# "))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("VIXDISK_TEST_SEED", time.time_ns() % 10**9)))
    parser.add_argument("--only", default="", help="operations whose name has this word")
    args = parser.parse_args()
    print("# seed %d" % args.seed, flush=True)
    rng = random.Random(args.seed)
    base = os.environ.get("TMPDIR") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vixdisk-kill9.", dir=base) as folder:
        soak = Soak(rng, folder)
        soak.go([case for case in all_cases(rng) if args.only in case.name], args.kills)
        os.chdir("/")
    running = sum(pair[0] for pair in soak.count.values())
    print("# %d kills, %d of them while the command ran; %d left temporary files; %d faults; %.0f s" %
          (sum(map(sum, soak.count.values())), running, soak.left, soak.faults, time.monotonic() - began))
    if running == 0:
        print("not ok - nothing was killed")
    return 1 if soak.faults or running == 0 else 0


sys.exit(main())
