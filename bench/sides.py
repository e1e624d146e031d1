# SPDX-License-Identifier: BSD-3-Clause
"""What can be timed: a command as a whole process, or a program that prints its own seconds."""
import json
import os
import re
import subprocess
import sys


class Run:
    """One timed piece of work: wall seconds, seconds of processors, KiB of peak resident memory."""

    def __init__(self, seconds, cpu, rss_kib):
        self.seconds = seconds
        self.cpu = cpu
        self.rss_kib = rss_kib


def timed(runner, argv):
    """Runs a command under bench/run_child, which knows the memory of what it starts: (Run, what it printed)."""
    read_end, write_end = os.pipe()
    child = subprocess.Popen([runner, str(write_end)] + argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, pass_fds=[write_end])
    os.close(write_end)
    out, err = child.communicate()
    with os.fdopen(read_end) as figures:
        words = figures.read().split()
    if child.returncode != 0:
        sys.exit("failed (%d): %s\n%s" % (child.returncode, " ".join(argv), err.decode(errors="replace")))
    return Run(float(words[0]), float(words[2]), int(words[1])), out.decode(errors="replace")


def printed_seconds(text):
    """The seconds that vixdisk bench --json, qemu-img bench, or a program of the bench says that its work took."""
    if text.startswith("{"):
        told = json.loads(text)
        return told["count"] / told["iops"]
    found = re.search(r"completed in ([0-9.]+) seconds|^([0-9.]+)", text, re.MULTILINE)
    if found is None:
        sys.exit("no seconds in: " + text)
    return float(found.group(1) or found.group(2))


class Sides:
    """Makes functions that run something and return a Run."""

    def __init__(self, build):
        self.runner = os.path.join(build, "bench", "run_child")

    def run(self, argv):
        return timed(self.runner, argv)[0]

    def command(self, *argv):
        """Measured as a whole process."""
        return lambda: self.run(list(argv))

    def inner(self, *argv):
        """Measures itself, without its start. bench_open knows what memory it added; of the others it is all."""
        def side():
            run, out = timed(self.runner, list(argv))
            rss = int(out.split()[1]) if os.path.basename(argv[0]) == "bench_open" else run.rss_kib
            return Run(printed_seconds(out), run.cpu, rss)
        return side

    @staticmethod
    def after(prepare, side):
        """Runs prepare, which is not timed, before each round of a side."""
        def both():
            prepare()
            return side()
        return both

    @staticmethod
    def total(*sides):
        """One after the other, as one piece of work."""
        def all_of_them():
            runs = [side() for side in sides]
            return Run(sum(r.seconds for r in runs), sum(r.cpu for r in runs), max(r.rss_kib for r in runs))
        return all_of_them


class Row:
    """A piece of work, done by ours, by the peer, and as bare work by the limit. Each side is a function that returns a
    Run, or None. second is what the limit itself takes under a condition that ours cannot leave. check compares the
    outputs of the last round, outside the timing, and returns a remark or None. At most so many times the limit, or so
    many seconds, are what ours has to show (None: nothing is asked). gib: GiB of the disk that ours reads or writes, where
    the processors' time of one is of interest."""

    def __init__(self, work, ours, peer=None, limit=None, check=None, at_most=None, seconds=None, second=None, gib=None):
        self.work = work
        self.ours = ours
        self.peer = peer
        self.limit = limit
        self.check = check
        self.at_most = at_most
        self.seconds = seconds
        self.second = second
        self.gib = gib
