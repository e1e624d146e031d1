#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Random disks read by the library and by qemu-img, as they were made and damaged: where the two differ, why.

  tests/differential/run.py [--seeds N] [--first SEED] [--damages N] [--jobs N] [--only SEED/NUMBER [--keep FOLDER]]

A seed is a disk, alone or a chain of up to four links, of the types that qemu-img reads (images.py). As it was made,
ours, qemu-img and the rules of the formats (model.py) agree on every byte, and so do they after ours or qemu-img has
converted it. Then it is damaged in its structures (damage.py), and:
  - what ours reads is at every sector what the files say there by the plain rules, and what the rules give no sense is
    refused: no bytes from outside the files, from memory, or of another part of the disk;
  - a part that ours refuses has something in it that the rules give no sense;
  - a disk that a check calls sound can be read;
  - where ours and qemu-img differ, the difference has a name: a rule of model.LENIENT that makes the model read as
    qemu-img does, or what one of the two says when it refuses (OURS, THEIRS). One without a name is a failure.

The library runs in a process that reads many disks (reader.c), with memory that is not zero when it is new
(MALLOC_PERTURB_), and where there is a build with the address sanitizer, for half of the disks with that."""
import argparse
import collections
import concurrent.futures
import copy
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import damage
import images
import model

SECTOR = 512
MOST = 1 << 15  # sectors of a disk that are read
LARGEST = 128 << 20  # of a disk that qemu-img is to write
PATIENCE = 8  # seconds of a processor for qemu-img
VIXDISK = os.path.realpath(os.environ.get(
    "VIXDISK", os.path.join(os.path.dirname(__file__), "../../build/release/tool/vixdisk")))
BUILD = os.path.dirname(os.path.dirname(VIXDISK))

# What ours says when it refuses a disk that qemu-img reads: (class, sentence, why it is refused).
OURS = (
    ("header: version or features", r"header version|unknown incompatible|compression algorithm|not streamOptimized|: the word of flags|reserved word",
     "what is not known may change what the rest means"),
    ("header: line ends", r"line-end bytes of the header", "the file went through a transfer in text mode"),
    ("header: a field beyond its limits", r"header: \w+ is|header: the [\w ]+: \d+ sectors|numGDEntries is|grain directory has",
     "no writer makes it; arithmetic on it could run over"),
    ("header: not as the descriptor has it", r"sectors in the descriptor, |the descriptor gives th",
     "one of the two is wrong, and with it perhaps the place of every sector behind"),
    ("header: too short or none", r"bytes long, a |not a sparse extent|not an SE sparse|not a COWD|not a virtual disk|magic number|"
     r"not a VMDK, or encrypted|one extent of a disk, without|did not finish it|this is the data of",
     "the file is not what its name in the descriptor says"),
    ("directory outside the file", r"directory .*ends at byte|directory .*beyond the end|is to be at sector",
     "nothing can be found; qemu-img reads zeros instead of data"),
    ("SE sparse: not closed", r"not cleanly closed", "its journal has to be replayed first"),
    ("stream: no footer", r"has no footer", "the tables cannot be found; qemu-img takes another sector for the footer"),
    ("flat file too short", r"file is too short", "data is missing; qemu-img reads zeros in its place"),
    ("extent file missing", r"its (extent|parent) .* is not there", "an extent line that qemu-img leaves out names it"),
    ("descriptor: a line that is none", r"descriptor line \d+[ :]|line \d+ has",
     "the text is damaged, and what it said is not known; qemu-img looks for some words only"),
    ("descriptor: something is missing", r"the descriptor has no|not a VMDK descriptor|embedded descriptor|no extents",
     "qemu-img does without it"),
    ("descriptor: names itself, or files outside its folder", r"names the descriptor itself|allowed: files in|descriptor inside a sparse",
     "a disk may not name files of others"),
    ("chain: capacities differ", r"all links must have the same capacity", "a parent of another size is another disk"),
    ("chain: the parent was changed", r"the parent was written to since|content ID",
     "what the child leaves out is no longer there; qemu-img refuses only reads that need the parent"),
    ("chain: no parent to be found", r"names no parent|cannot be found|a circle|a child is sparse", "data is missing"),
)

# What qemu-img says when it refuses a disk that ours reads: (class, sentence, why ours reads it).
THEIRS = (
    ("CID lines", r"open '[^']*': Invalid argument$",
     "it wants CID= and parentCID= in the form that it writes, and both; ours takes blanks, other case, and no parentCID"),
    ("parent's name", r"open '[^']*': No such file or directory$",
     "it wants the line as it writes it, and takes the name as it stands; ours also looks beside the child"),
    ("createType", r"Unsupported image type|invalid VMDK image descriptor",
     "it knows some types and one way to write the line; ours goes by the extents"),
    ("extent lines", r"Invalid extent line|num_extents' failed",
     "it wants an offset for FLAT and none for VMFS, and ends with an assertion where no line is left"),
    ("footer not at the very end", r"Invalid footer", "ours finds it before zeros that were appended"),
    ("padding of SE sparse headers", r"non-zero (const|volatile) header padding", "nothing is read from there"),
    ("SE sparse fields", r"Unsupported (SESPARSE|version|grain|flags)|Unsupported.*size", "nothing is read by them"),
    ("file shorter than overHead", r"File truncated", "no grain that the tables name is missing"),
    ("limits of tables and grains", r"L2 table size too big|L1 size too big|Invalid granularity|L1 entry size",
     "ours takes tables of up to 8192 entries"),
    ("redundant directory", r"Could not read L1|read.*[lL]1", "only a repair needs it; the primary one is whole"),
)


class Fault(Exception):
    """Something that must not be."""


def named(table, said):
    for name, pattern, _ in table:
        if re.search(pattern, said):
            return name
    return None


# ---- the two readers ----

class Ours:
    """The library, in a process of its own."""

    def __init__(self, program, perturb):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "MALLOC_PERTURB_": str(perturb), "ASAN_OPTIONS": "exitcode=66:detect_leaks=1",
                 "UBSAN_OPTIONS": "halt_on_error=1"})

    def read(self, path, piece):
        """refused (a sentence) or None; capacity, code of the check, faults, bytes."""
        out = path + ".ours"
        self.process.stdin.write(("%s\t%d\t%s\n" % (path, piece, out)).encode())
        self.process.stdin.flush()
        faults = []
        while True:
            line = self.process.stdout.readline().decode(errors="replace").rstrip("\n")
            words = line.split(" ", 4)
            if words[0] == "refused":
                return " ".join(words[2:]), 0, None, [], b""
            if words[0] == "fault":
                faults.append((int(words[1]), int(words[2]), words[4]))
            elif words[0] == "read":
                with open(out, "rb") as file:
                    data = file.read()
                return None, int(words[1]), int(words[2]), faults, data
            else:
                raise Fault("the reader has died: %r\n%s" % (
                    line, self.process.communicate(timeout=60)[1].decode(errors="replace")[-3000:]))

    def end(self):
        """It must end well: no leak either."""
        _, said = self.process.communicate(timeout=60)
        if self.process.returncode != 0:
            raise Fault("the reader ends with %d\n%s" % (self.process.returncode, said.decode(errors="replace")[-3000:]))


def limits():
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))


def qemu_img(*arguments):
    return subprocess.run(["qemu-img", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=50 * PATIENCE, check=False, preexec_fn=limits)


def theirs(path):
    """What it says when it refuses, or None; size in sectors; the first sectors. A text where it comes to no end."""
    out = path + ".theirs"
    done = qemu_img("convert", "-f", "vmdk", "-O", "raw", path, out)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "qemu-img does not end within %d s" % PATIENCE
    said = done.stderr.decode(errors="replace")
    if done.returncode == -25 or "File too large" in said:
        return "too large for qemu-img to write"
    if done.returncode != 0:
        return said.replace(path, "DISK").strip() or "status %d" % done.returncode, 0, []
    size = os.path.getsize(out) // SECTOR
    with open(out, "rb") as file:
        data = file.read(MOST * SECTOR)
    return None, size, sectors(data)


def sectors(data):
    return [data[i:i + SECTOR] for i in range(0, len(data), SECTOR)]


# ---- one disk ----

def store(folder, disk):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, data in disk.files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    return os.path.join(folder, disk.top)


def difference(a, b):
    if len(a) != len(b):
        return "%d sectors, not %d" % (len(a), len(b))
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return "sector %d: %s, not %s" % (i, told(x), told(y))
    return None


def told(sector):
    """Where a sector comes from, for messages."""
    if not isinstance(sector, bytes):
        return sector
    if sector == images.ZERO:
        return "zeros"
    if sector.startswith(images.MARK):
        _, link, _, lba = images.STAMP.unpack_from(sector)
        return "sector %#x of link %d" % (lba, link)
    return sector[:16].hex()


def same(a, b, what):
    found = difference(a, b)
    if found:
        raise Fault("%s: %s" % (what, found))


def as_made(seed, disk, folder, ours):
    rng = random.Random("ways %d" % seed)
    path = store(folder, disk)
    same(model.read(disk.files, disk.top)[0], disk.data, "the model")
    if not disk.odd:
        same(model.read(disk.files, disk.top, frozenset(model.LENIENT))[0], disk.data, "the lenient model")
    refused, capacity, check, faults, data = ours.read(path, rng.choice((1, 7, 128, 1000, MOST)))
    if refused or faults or capacity != disk.capacity:
        raise Fault("ours: %s %d %s" % (refused, capacity, faults[:1]))
    same(sectors(data), disk.data, "ours")
    if check != 0:
        raise Fault("the check finds something: code %d" % check)
    said, _, data = theirs(path)
    if said:
        raise Fault("qemu-img: " + said)
    if disk.odd and difference(data, disk.data):
        rules = explained(disk, disk.capacity, data)
        if rules != ["grain-past-the-extent"]:
            raise Fault("qemu-img reads by %s" % rules)
        return "they read different bytes", rules[0]
    else:
        same(data, disk.data, "qemu-img")
    # Converted by one, read by the other.
    kind = rng.choice(("monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized", "monolithicFlat",
                       "twoGbMaxExtentFlat", "vmfs", "vmfsSparse"))
    made = os.path.join(folder, "made-by-us.vmdk")
    done = subprocess.run([VIXDISK, "convert", "-q", "-t", kind, path, made], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Fault("convert: " + done.stderr.decode())
    said, _, data = theirs(made)
    same(data, disk.data, "qemu-img of what ours has made (%s): %s" % (kind, said))
    if disk.odd:
        return "both read the same", "one of them by chance"
    kind = rng.choice(("monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized", "monolithicFlat",
                       "twoGbMaxExtentFlat"))
    made = os.path.join(folder, "made-by-qemu.vmdk")
    done = qemu_img("convert", "-f", "vmdk", "-O", "vmdk", "-o", "subformat=" + kind, path, made)
    if done.returncode != 0:
        raise Fault("qemu-img convert: " + done.stderr.decode())
    refused, _, _, _, data = ours.read(made, 128)
    same(sectors(data), disk.data, "ours of what qemu-img has made (%s): %s" % (kind, refused))
    return "both read the same", "and what each has made of it"


def is_what_the_files_say(disk, capacity, check, faults, data):
    """Ours against the plain rules. How many sectors tell of another place of the disk."""
    try:
        want, size = model.read(disk.files, disk.top, most=MOST)
    except Exception as e:
        raise Fault("ours reads what is no disk to the model: %r" % e) from e
    if size != capacity:
        raise Fault("ours has %d sectors, the model %d" % (capacity, size))
    refused = bytearray(len(want))
    for first, n, sentence in faults:
        refused[first:first + n] = b"\1" * n
        if model.BAD not in want[first:first + n]:
            raise Fault("ours refuses sectors %d + %d without need: %s" % (first, n, sentence))
    astray = 0
    for lba, sector in enumerate(want):
        got = data[lba * SECTOR:(lba + 1) * SECTOR]
        if refused[lba] or got == sector:
            strange = not refused[lba] and got.startswith(images.MARK) and images.STAMP.unpack_from(got)[3] != lba
            astray += strange
            continue
        raise Fault("sector %d: ours has %s, the files say %s" % (lba, told(got), told(sector)))
    if check == 0 and faults:
        raise Fault("the check calls sound what cannot be read: %s" % (faults[0],))
    if astray and set(disk.kinds) == {"streamOptimized"}:
        raise Fault("%d sectors of a stream belong elsewhere" % astray)
    return astray


def explained(disk, size, data):
    """The fewest rules with which the model reads as qemu-img does."""
    def fits(rules):
        try:
            got, said = model.read(disk.files, disk.top, frozenset(rules), MOST)
        except (model.Refused, ValueError, LookupError):
            return "the model finds no disk"
        return ("%d sectors, not %d" % (said, size) if said != size else None) or difference(got, data)

    why = fits(model.LENIENT)
    if why:
        raise Fault("qemu-img reads something else, and no rule tells why: the model by its rules has " + why)
    return fewest(lambda rules: fits(rules) is None)


def fewest(test):
    """A set of rules that holds none that the test can do without."""
    rules = set(model.LENIENT)
    for rule in model.LENIENT:
        if test(rules - {rule}):
            rules.remove(rule)
    return sorted(rules)


def stumbles(disk, rules):
    """Whether there is a sector that the rules give no sense."""
    return model.BAD in model.read(disk.files, disk.top, frozenset(rules), MOST)[0]


def has_other_cid_lines(disk):
    """Whether a descriptor has its CID in a form, or behind parentCID, where qemu-img does not find it: it then refuses
    what needs the parent."""
    texts = [data for data in disk.files.values() if re.search(rb"createType", data, re.I)]
    return not all(re.search(rb"\nparentCID=[0-9a-f]", t) and re.search(rb"\nCID=[0-9a-f]", t) and
                   t.find(b"CID=") == t.find(b"\nCID=") + 1 for t in texts)


def damaged(disk, folder, ours, piece):
    """The class of one damaged disk: which of the two reads, and why the other does not, or what differs."""
    path = store(folder, disk)
    refused, capacity, check, faults, data = ours.read(path, piece)
    astray = 0 if refused else is_what_the_files_say(disk, capacity, check, faults, data)
    there = theirs(path)
    if isinstance(there, str):
        return ("not compared: " + there, "ours refuses" if refused else "ours reads"), astray
    said, size, read = there
    if refused and said:
        return ("both refuse", "the disk"), 0
    if refused:
        name = named(OURS, refused)
        if name is None:
            raise Fault("only qemu-img reads it; ours says, which is in no class: " + refused)
        return ("only qemu-img reads", name), 0
    if said:
        name = named(THEIRS, said)
        if name is None and "error while reading" in said and stumbles(disk, model.LENIENT):
            name = "an error of reading by " + " + ".join(fewest(lambda rules: stumbles(disk, rules)))
        elif name is None and "error while reading" in said and has_other_cid_lines(disk):
            name = "CID lines"
        if faults:
            return ("both refuse", "ours only the part that is damaged"), astray
        if name is None:
            raise Fault("only ours reads it; qemu-img says, which is in no class: " + said)
        return ("only ours reads", name), astray
    if not faults and size == capacity and difference(read, sectors(data)) is None:
        return ("both read the same", "what belongs elsewhere, where an entry says so" if astray else
                "what was there" if read == disk.data else "zeros or other bytes, as the files say"), astray
    rules = explained(disk, size, read)
    if not rules:
        raise Fault("ours and qemu-img differ, and the model reads as qemu-img does")
    return ("only qemu-img reads all" if faults else "they read different bytes", " + ".join(rules)), astray


# ---- many ----

def readers():
    found = [os.path.join(BUILD, "tests/differential/reader"),
             os.path.join(BUILD, "../asan/tests/differential/reader")]
    return [r for r in found if os.path.exists(r)]


def try_seed(seed, damages, only=None, keep=None):
    """Classes, failures."""
    classes, failures = collections.Counter(), []
    programs = readers()
    folder = tempfile.mkdtemp(prefix="vixdisk-differential.")
    ours = Ours(programs[seed // len(images.BASES) % len(programs)], 1 + seed % 255)
    disk = images.make(random.Random("disk %d" % seed), seed)

    def attempt(number, what, test, *arguments):
        nonlocal ours
        try:
            return test(*arguments)
        except Fault as fault:
            failures.append("--only %d/%d (%s; %s): %s" % (seed, number, " on ".join(reversed(disk.kinds)), what, fault))
            if ours.process.poll() is not None:
                ours = Ours(programs[0], 1 + seed % 255)
        return None

    try:
        found = attempt(0, "as it was made", as_made, seed, disk, os.path.join(folder, "made"), ours)
        if found:
            classes[("as it was made: " + found[0], found[1])] += 1
        for number in range(1, damages + 1):
            if only is not None and number != only:
                continue
            rng = random.Random("damage %d/%d" % (seed, number))
            spoiled = copy.deepcopy(disk)
            done = damage.spoil(rng, spoiled)
            piece = rng.choice((1, 8, 128, 500))
            found = attempt(number, "; ".join(done), damaged, spoiled, os.path.join(folder, "damaged"), ours, piece)
            if found:
                classes[found[0]] += 1
                classes["astray"] += found[1]
            if only is not None:
                print("%s\n%s\n%s" % (disk.kinds, done, found))
        if keep:
            shutil.copytree(folder, keep)
        attempt(damages, "the end", ours.end)
    finally:
        shutil.rmtree(folder)
    return classes, failures


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=16)
    options.add_argument("--first", type=int, default=1)
    options.add_argument("--damages", type=int, default=12)
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--only")
    options.add_argument("--keep")
    options = options.parse_args()
    if not readers():
        sys.exit("no %s/tests/differential/reader" % BUILD)
    if options.only:
        seed, number = map(int, options.only.split("/"))
        classes, failures = try_seed(seed, number, number, options.keep)
        sys.exit("\n".join(failures))
    seeds = range(options.first, options.first + options.seeds)
    total, failures = collections.Counter(), []
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        for classes, failed in pool.map(try_seed, seeds, [options.damages] * len(seeds)):
            total += classes
            failures += failed
    astray = total.pop("astray", 0)
    count = sum(n for (outcome, _), n in total.items() if not outcome.startswith("as it was made"))
    for failure in failures:
        print("# " + failure.replace("\n", "\n# "))
    good = "not ok" if failures else "ok"
    print("%s - %d disks and chains, %d times damaged: ours and qemu-img agree, or the difference has a name"
          % (good, len(seeds), count))
    for (outcome, name), n in sorted(total.items(), key=lambda item: (item[0][0], -item[1])):
        print("# %6d  %s: %s" % (n, outcome, name))
    print("# %6d  sectors that belong elsewhere were read because an entry of the disk says so" % astray)
    sys.exit(1 if failures or not count else 0)


if __name__ == "__main__":
    main()
