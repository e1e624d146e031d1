# SPDX-License-Identifier: BSD-3-Clause
"""Rows of local disks."""
import os
import subprocess

from data import GIB, MIB
from sides import Row

FRESH = 2 * GIB  # capacity of the disks that are written for the first time


class Local:
    def __init__(self, build, data, sides):
        self.tool = os.path.join(build, "tool", "vixdisk")
        self.open = os.path.join(build, "bench", "bench_open")
        self.codec = os.path.join(build, "bench", "codec_limit")
        self.io = os.path.join(build, "bench", "bench_io")
        self.data = data
        self.sides = sides

    # ---- conversions ----

    def conversion(self, work, source, source_format, target, limit, at_most, ours_options=(), qemu_options=()):
        raw = target == "raw"
        suffix = ".raw" if raw else ".vmdk"
        data = self.data

        def ours():
            return self.sides.run([self.tool, "convert", "-q", "-f", source_format, "-t", target, *ours_options, source,
                                   data.fresh("out-ours" + suffix)])

        def peer():
            return self.sides.run(["qemu-img", "convert", "-f", source_format, "-O", "raw" if raw else "vmdk",
                                   *qemu_options, source, data.fresh("out-peer" + suffix)])

        def check():
            subprocess.check_call(["qemu-img", "compare", "-q", "-f", source_format, "-F", "raw" if raw else "vmdk",
                                   source, data.path("out-ours" + suffix)])
            sizes = [data.size("out-%s%s" % (who, suffix)) for who in ("ours", "peer")]
            return "ours %.1f MiB, peer %.1f MiB" % tuple(s / MIB for s in sizes)

        return Row(work, ours, peer, limit, check, at_most)

    def copied(self, source):
        """cp of the image, with its holes: what moving the bytes alone takes."""
        return lambda: self.sides.run(["cp", "--sparse=always", source, self.data.fresh("out-limit.raw")])

    def written(self, source):
        """Writing as many bytes as there are in a file."""
        return lambda: self.sides.run(["cp", "--sparse=never", source, self.data.fresh("out-limit.raw")])

    def to_stream(self, level, library, library_level, at_most):
        def row():
            image = self.data.image()
            packed = self.data.convert("packed-%d.vmdk" % level, image, "-f", "raw", "-t", "streamOptimized", "-l",
                                       str(level))
            limit = self.sides.total(
                self.sides.inner(self.codec, image, library, str(library_level), "2", "compress"), self.written(packed))
            return self.conversion("raw to streamOptimized, -l %d (limit: %s on 2 threads, and the write)" %
                                   (level, library), image, "raw", "streamOptimized", limit, at_most,
                                   ["-l", str(level)], subformat("streamOptimized"))
        return row

    def from_stream(self, target, at_most):
        def row():
            image = self.data.image()
            limit = self.sides.total(self.sides.inner(self.codec, image, "libdeflate", "6", "2", "decompress"),
                                     self.copied(image))
            return self.conversion("streamOptimized to %s (limit: inflate on 2 threads, and cp)" % target,
                                   self.data.stream(), "vmdk", target, limit, at_most)
        return row

    def to(self, source, source_format, target, at_most, work=None, qemu_options=()):
        def row():
            path = source()
            limit = self.copied(self.data.image())
            return self.conversion((work or os.path.basename(path)) + " to %s (limit: cp)" % target, path, source_format,
                                   target, limit, at_most, (), qemu_options)
        return row

    # ---- requests ----

    def requests(self, work, words, size, count, at_most, random=False, threads=1, depth=1, peer=True,
                 limit_threads=None, fresh=False):
        """Ours and the limit by one program, requests in the background by vixdisk bench. The limit is on the same bytes,
        as it matters where in memory they lie; of a disk that is written for the first time on a fresh raw file. The peer
        is qemu-img bench, which has no random places: it steps over the disk by a large odd number of requests."""
        def row():
            ours_path = self.data.path("fresh.vmdk") if fresh else self.data.full()
            peer_path = self.data.path("fresh-peer.vmdk") if fresh else ours_path
            limit_path = self.data.path("fresh.raw") if fresh else ours_path
            within = () if fresh else [str(n) for n in self.data.full_grains()]
            pattern = ["--random"] if random else []
            places = "random" if random else "sequential"
            if depth > 1:
                ours = self.sides.inner(self.tool, "bench", words, "-q", "--json", "-s", str(size), "-c", str(count), "-d",
                                        str(depth), *pattern, ours_path)
            else:
                ours = self.sides.inner(self.io, "disk", ours_path, words, str(size), str(count), places, str(threads))
            step = ["-S", str(size * 2049)] if random else []
            write = ["-w"] if words == "write" else []
            theirs = self.sides.inner("qemu-img", "bench", "-f", "vmdk", *write, "-s", str(size), "-c", str(count), "-d",
                                      str(threads * depth), *step, peer_path)
            limit = self.sides.inner(self.io, "file", limit_path, words, str(size), str(count), places,
                                     str(limit_threads or threads), *within)
            if fresh:
                ours = self.sides.after(lambda: self.create("fresh.vmdk"), ours)
                theirs = self.sides.after(lambda: self.create("fresh-peer.vmdk"), theirs)
                limit = self.sides.after(self.create_raw, limit)
            return Row(work, ours, theirs if peer else None, limit, self.size_of_fresh if fresh else None, at_most)
        return row

    def create(self, name):
        self.data.vixdisk("create", "-q", "-s", str(FRESH), self.data.fresh(name))

    def create_raw(self):
        with open(self.data.fresh("fresh.raw"), "wb") as f:
            f.truncate(FRESH)

    def size_of_fresh(self):
        used = [os.stat(self.data.path(n)).st_blocks * 512 / MIB for n in ("fresh.vmdk", "fresh.raw")]
        subprocess.check_call(["qemu-img", "check", "-q", self.data.path("fresh.vmdk")])
        return "on disk %.1f MiB, raw %.1f MiB" % tuple(used)

    # ---- the rest ----

    def open_huge(self):
        return Row("InitEx, Open, Close of a 2 TB sparse disk, in process", self.sides.inner(
            self.open, "open", self.data.huge()), self.sides.command("qemu-img", "info", self.data.huge()), seconds=0.002)

    def query(self):
        disk = self.data.scattered()
        return Row("QueryAllocatedBlocks, 100 GiB, 1,048,576 scattered grains (limit: reading the tables)",
                   self.sides.inner(self.open, "map", disk),
                   self.sides.command("qemu-img", "map", "--output=json", disk),
                   self.sides.inner(self.io, "file", disk, "read", str(MIB), "13", "sequential", "1"), at_most=2, seconds=0.030)

    def check(self):
        disk = self.data.scattered()
        return Row("check, 100 GiB, 1,048,576 scattered grains", self.sides.command(self.tool, "check", "-q", disk),
                   self.sides.command("qemu-img", "check", "-q", disk), seconds=0.12)

    def rows(self):
        d = self.data
        return {
            "stream-6": self.to_stream(6, "libdeflate", 6, 1.10),
            "stream-1": self.to_stream(1, "isal", 1, 1.25),
            "stream-raw": self.from_stream("raw", 1.25),
            "stream-sparse": self.from_stream("monolithicSparse", 1.25),
            "raw-sparse": self.to(d.image, "raw", "monolithicSparse", 1.25, "raw"),
            "raw-split": self.to(d.image, "raw", "twoGbMaxExtentSparse", 1.25, "raw", subformat("twoGbMaxExtentSparse")),
            "sparse-raw": self.to(d.sparse, "vmdk", "raw", 1.3, "monolithicSparse"),
            "sparse-sparse": self.to(d.sparse, "vmdk", "monolithicSparse", 1.3, "monolithicSparse"),
            "sparse-flat": self.to(d.sparse, "vmdk", "monolithicFlat", 1.3, "monolithicSparse",
                                   subformat("monolithicFlat")),
            "flat-sparse": self.to(d.flat, "vmdk", "monolithicSparse", 1.3, "monolithicFlat"),
            "flat-flat": self.to(d.flat, "vmdk", "monolithicFlat", 1.3, "monolithicFlat", subformat("monolithicFlat")),
            "chain-flat": self.to(d.chain, "vmdk", "monolithicFlat", 1.3, "chain of 5", subformat("monolithicFlat")),
            "rand-read": self.requests("random 4K read, allocated sparse, 1 thread (limit: pread)", "read", 4096, 400000,
                                       1 / 0.85, random=True),
            "rand-read-2": self.requests("random 4K read, allocated sparse, 2 threads on one handle (limit: pread)",
                                         "read", 4096, 800000, 1 / 0.8, random=True, threads=2),
            "rand-read-async": self.requests("random 4K read, asynchronous, 32 at once (limit: pread, 2 threads)", "read",
                                             4096, 400000, 1 / 0.7, random=True, depth=32, limit_threads=2),
            "rand-write": self.requests("random 4K write, allocated, 1 thread (limit: pwrite)", "write", 4096, 400000,
                                        1 / 0.85, random=True),
            "seq-read": self.requests("sequential read, 1M (limit: pread)", "read", MIB, 2048, 1 / 0.9),
            "seq-write": self.requests("sequential write, 1M, allocated (limit: pwrite)", "write", MIB, 2048, 1 / 0.9),
            "fresh-1m": self.requests("first sequential write, 1M, and flush (limit: a fresh raw file)", "write", MIB,
                                      2048, 1 / 0.85, fresh=True),
            "fresh-64k": self.requests("first sequential write, 64K, and flush (limit: a fresh raw file)", "write", 65536,
                                       32768, 1 / 0.85, fresh=True),
            "fresh-rand": self.requests("first random write, 4K, and flush (limit: a fresh raw file)", "write", 4096,
                                        100000, 1 / 0.6, random=True, fresh=True),
            "query": self.query,
            "check": self.check,
            "open-2tb": self.open_huge,
        }


def subformat(name):
    return ["-o", "subformat=" + name]
