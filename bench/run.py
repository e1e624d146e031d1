#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the measurements: ours, the peer and the limit in turn, several rounds after a warm-up, medians and ratios.

usage: run.py --build DIR [--row NAME]... [--rounds N] [--json] [--list]

Data and outputs live in a folder of their own on tmpfs (/dev/shm) that is removed at the end. Every row states what it
compares; outputs that can be compared are, once, outside the timing."""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


class Run:
    """One timed command: wall seconds and peak resident memory."""

    def __init__(self, seconds, rss_kib):
        self.seconds = seconds
        self.rss_kib = rss_kib


RUNNER = None  # bench/run_child, which knows the memory of what it starts


def timed(argv):
    read_end, write_end = os.pipe()
    child = subprocess.Popen([RUNNER, str(write_end)] + argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, pass_fds=[write_end])
    os.close(write_end)
    out, err = child.communicate()
    with os.fdopen(read_end) as figures:
        words = figures.read().split()
    if child.returncode != 0:
        sys.exit("failed (%d): %s\n%s" % (child.returncode, " ".join(argv), err.decode(errors="replace")))
    return Run(float(words[0]), int(words[1])), out.decode(errors="replace")


def command(*argv):
    """A side that is measured as a whole process."""
    return lambda: timed(list(argv))[0]


def inner(*argv):
    """A side that prints its own seconds, and KiB of memory as the second word if it knows."""
    def side():
        run, out = timed(list(argv))
        words = out.split()
        return Run(float(words[0]), int(words[1]) if argv[0].endswith("bench_open") else run.rss_kib)
    return side


class Bench:
    def __init__(self, build, folder):
        self.tool = os.path.join(build, "tool", "vixdisk")
        self.open = os.path.join(build, "bench", "bench_open")
        global RUNNER
        RUNNER = os.path.join(build, "bench", "run_child")
        self.codec = os.path.join(build, "bench", "codec_limit")
        self.dir = folder
        self.made = {}

    def path(self, name):
        return os.path.join(self.dir, name)

    def data(self, name, make):
        """Builds a piece of data the first time it is asked for."""
        path = self.path(name)
        if name not in self.made:
            self.made[name] = True
            make(path)
        return path

    def script(self, name, *args):
        subprocess.check_call([sys.executable, os.path.join(HERE, name), *args])

    def image(self):
        return self.data("img.raw", lambda p: self.script("mkimg.py", p))

    def convert(self, name, source, *options):
        return self.data(name, lambda p: subprocess.check_call([self.tool, "convert", "-q", *options, source, p]))

    def sparse(self):
        return self.convert("sparse.vmdk", self.image(), "-f", "raw", "-t", "monolithicSparse")

    def flat(self):
        return self.convert("flat.vmdk", self.image(), "-f", "raw", "-t", "monolithicFlat")

    def stream(self):
        return self.convert("stream.vmdk", self.image(), "-f", "raw", "-t", "streamOptimized")

    def full(self):
        def make(path):
            raw = self.path("full.raw")
            with open(raw, "wb") as f:
                for _ in range(1024):
                    f.write(os.urandom(1 << 20))
            subprocess.check_call([self.tool, "convert", "-q", "-f", "raw", "-t", "monolithicSparse", raw, path])
            os.unlink(raw)
        return self.data("full.vmdk", make)

    def scattered(self):
        return self.data("grains.vmdk", lambda p: self.script("mkgrains.py", p, "100", "1048576", "scatter"))

    def huge(self):
        return self.data("huge.vmdk", lambda p: subprocess.check_call([self.tool, "create", "-s", "2147220992K", p]))

    def chain(self):
        """Base and four snapshots, each with a fifth of the image's data written to it."""
        def make(path):
            image = self.image()
            size = os.path.getsize(image)
            part = size // 5 // 65536 * 65536
            previous = None
            for i in range(5):
                link = path if i == 4 else self.path("chain%d.vmdk" % i)
                if previous is None:
                    subprocess.check_call([self.tool, "create", "-q", "-s", str(size), link])
                else:
                    subprocess.check_call([self.tool, "snapshot", "-q", previous, link])
                start = i * part
                length = part if i < 4 else size - start
                with open(image, "rb") as f:
                    f.seek(start)
                    writer = subprocess.Popen([self.tool, "write", "-q", "-o", str(start), link],
                                              stdin=subprocess.PIPE)
                    while length > 0:
                        piece = f.read(min(length, 4 << 20))
                        writer.stdin.write(piece)
                        length -= len(piece)
                    writer.stdin.close()
                    if writer.wait() != 0:
                        sys.exit("cannot build the chain")
                previous = link
        return self.data("chain4.vmdk", make)

    def fresh(self, name):
        """A path for an output, with what an earlier run left there removed."""
        stem = os.path.splitext(name)[0]
        for old in os.listdir(self.dir):
            if old == name or old.startswith(stem + "-"):
                os.unlink(self.path(old))
        return self.path(name)


# ---- the rows: each returns (what, ours, peer or None, limit or None, check or None) ----

def conversion(bench, what, source, source_format, target, ours_options, qemu_options, limit):
    raw = target == "raw"
    suffix = ".raw" if raw else ".vmdk"

    def ours():
        out = bench.fresh("out-ours" + suffix)
        return timed([bench.tool, "convert", "-q", "-f", source_format, "-t", target, *ours_options, source, out])[0]

    def peer():
        out = bench.fresh("out-peer" + suffix)
        return timed(["qemu-img", "convert", "-f", source_format, "-O", "raw" if raw else "vmdk",
                      *qemu_options, source, out])[0]

    def check():
        subprocess.check_call(["qemu-img", "compare", "-q", "-f", source_format, "-F", "raw" if raw else "vmdk",
                               source, bench.path("out-ours" + suffix)])
        sizes = [os.path.getsize(bench.path("out-%s%s" % (who, suffix))) for who in ("ours", "peer")]
        return "ours %.1f MiB, peer %.1f MiB" % tuple(s / 1048576 for s in sizes)

    return what, ours, peer, limit, check


def copy_limit(bench, source):
    def side():
        return timed(["cp", "--sparse=always", source, bench.fresh("out-limit.raw")])[0]
    return side


def subformat(name):
    return ["-o", "subformat=" + name]


def rows(b):
    def stream(level, library, library_level):
        def row():
            image = b.image()
            return conversion(b, "raw to streamOptimized, -l %d (limit: %s on 2 threads)" % (level, library), image,
                              "raw", "streamOptimized", ["-l", str(level)], subformat("streamOptimized"),
                              inner(b.codec, image, library, str(library_level), "2", "compress"))
        return row

    def convert(what, source, source_format, target, qemu_options):
        def row():
            path = source()
            return conversion(b, what, path, source_format, target, [], qemu_options, copy_limit(b, b.image()))
        return row

    def sequential_read():
        full = b.full()
        return ("sequential read of a full 1 GiB monolithicSparse (limit: dd of the same file)",
                command(b.tool, "bench", "read", "-q", "-s", "1M", "-c", "1024", full),
                command("qemu-img", "bench", "-f", "vmdk", "-s", "1M", "-c", "1024", "-d", "1", full),
                command("dd", "if=" + full, "of=/dev/null", "bs=1M", "status=none"), None)

    def open_huge():
        return ("InitEx, Open, Close of a 2 TB sparse disk, in process",
                inner(b.open, "open", b.huge()), command("qemu-img", "info", b.huge()), None, None)

    def query():
        return ("QueryAllocatedBlocks, 100 GiB, 1,048,576 scattered grains",
                inner(b.open, "map", b.scattered()), command("qemu-img", "map", "--output=json", b.scattered()),
                None, None)

    def check():
        return ("check, 100 GiB, 1,048,576 scattered grains",
                command(b.tool, "check", "-q", b.scattered()), command("qemu-img", "check", "-q", b.scattered()),
                None, None)

    return {
        "stream-6": stream(6, "libdeflate", 6),
        "stream-1": stream(1, "isal", 1),
        "raw-sparse": convert("raw to monolithicSparse", b.image, "raw", "monolithicSparse", []),
        "raw-split": convert("raw to twoGbMaxExtentSparse", b.image, "raw", "twoGbMaxExtentSparse",
                             subformat("twoGbMaxExtentSparse")),
        "sparse-raw": convert("monolithicSparse to raw", b.sparse, "vmdk", "raw", []),
        "stream-raw": convert("streamOptimized to raw", b.stream, "vmdk", "raw", []),
        "seq-read": sequential_read,
        "open-2tb": open_huge,
        "query": query,
        "sparse-sparse": convert("monolithicSparse to monolithicSparse", b.sparse, "vmdk", "monolithicSparse", []),
        "sparse-flat": convert("monolithicSparse to monolithicFlat", b.sparse, "vmdk", "monolithicFlat",
                               subformat("monolithicFlat")),
        "flat-sparse": convert("monolithicFlat to monolithicSparse", b.flat, "vmdk", "monolithicSparse", []),
        "stream-sparse": convert("streamOptimized to monolithicSparse", b.stream, "vmdk", "monolithicSparse", []),
        "chain-flat": convert("chain of 5 to monolithicFlat", b.chain, "vmdk", "monolithicFlat",
                              subformat("monolithicFlat")),
        "check": check,
    }


def measure(row, rounds):
    what, ours, peer, limit, check = row()
    sides = [("ours", ours), ("peer", peer), ("limit", limit)]
    results = {name: [] for name, side in sides if side is not None}
    for number in range(rounds + 1):
        for name, side in sides:
            if side is not None:
                run = side()
                if number > 0:  # the first round is the warm-up
                    results[name].append(run)
    note = check() if check is not None else None
    out = {"work": what}
    for name, runs in results.items():
        out[name] = statistics.median(r.seconds for r in runs)
    out["rss_mib"] = max(r.rss_kib for r in results["ours"]) / 1024
    if "peer" in out:
        out["peer_over_ours"] = out["peer"] / out["ours"]
    if "limit" in out:
        out["ours_over_limit"] = out["ours"] / out["limit"]
    if note:
        out["note"] = note
    return out


def show(name, r):
    def seconds(key):
        return "%10.4f" % r[key] if key in r else "%10s" % "-"

    def ratio(key):
        return "%8.2f" % r[key] if key in r else "%8s" % "-"

    print("%-14s %s %s %s %s %s %9.1f  %s" % (name, seconds("ours"), seconds("peer"), seconds("limit"),
                                              ratio("peer_over_ours"), ratio("ours_over_limit"), r["rss_mib"],
                                              r["work"] + ("; " + r["note"] if "note" in r else "")), flush=True)


def machine():
    model = ""
    try:
        with open("/proc/cpuinfo") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")
    except OSError:
        pass
    return "%s, %d cores, Linux %s, tmpfs" % (model, len(os.sched_getaffinity(0)), platform.release())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="folder of the optimised build")
    parser.add_argument("--row", action="append", help="only this row (may be given again)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="names of the rows")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="vixdisk-bench-", dir="/dev/shm")
    try:
        table = rows(Bench(os.path.abspath(args.build), folder))
        if args.list:
            print("\n".join(table))
            return
        wanted = args.row or list(table)
        unknown = [name for name in wanted if name not in table]
        if unknown:
            sys.exit("no such row: " + ", ".join(unknown))
        results = {}
        if not args.json:
            print("# " + machine() + "; medians of %d rounds, seconds" % args.rounds)
            print("%-14s %10s %10s %10s %8s %8s %9s  %s" % ("row", "ours", "peer", "limit", "peer/our", "our/lim",
                                                            "peak MiB", "work"))
        for name in wanted:
            results[name] = measure(table[name], args.rounds)
            if not args.json:
                show(name, results[name])
        if args.json:
            print(json.dumps({"machine": machine(), "rounds": args.rounds, "rows": results}, indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
