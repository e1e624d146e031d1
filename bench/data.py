# SPDX-License-Identifier: BSD-3-Clause
"""The data of the measurements, made when a row asks for it the first time, in one folder."""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
GIB = 1 << 30


class Data:
    def __init__(self, tool, folder):
        self.tool = tool
        self.dir = folder
        self.made = set()

    def path(self, name):
        return os.path.join(self.dir, name)

    def make(self, name, how):
        """The path of a piece of data; how(path) makes it the first time."""
        path = self.path(name)
        if name not in self.made:
            self.made.add(name)
            how(path)
        return path

    def fresh(self, name):
        """A path for an output, with what an earlier round left there removed."""
        stem = os.path.splitext(name)[0]
        for old in os.listdir(self.dir):
            if old == name or old.startswith(stem + "-"):
                os.unlink(self.path(old))
        return self.path(name)

    def size(self, name):
        """Bytes of an output, with all its files."""
        stem = os.path.splitext(name)[0]
        return sum(os.path.getsize(self.path(file)) for file in os.listdir(self.dir)
                   if file == name or file.startswith(stem + "-"))

    def script(self, name, *args):
        subprocess.check_call([sys.executable, os.path.join(HERE, name), *args])

    def vixdisk(self, *args):
        subprocess.check_call([self.tool, *args])

    def convert(self, name, source, *options):
        return self.make(name, lambda p: self.vixdisk("convert", "-q", *options, source, p))

    def image(self):
        """1 GiB, ext4, some 700 MiB of files."""
        return self.make("img.raw", lambda p: self.script("mkimg.py", p))

    def sparse(self):
        return self.convert("sparse.vmdk", self.image(), "-f", "raw", "-t", "monolithicSparse")

    def flat(self):
        return self.convert("flat.vmdk", self.image(), "-f", "raw", "-t", "monolithicFlat")

    def stream(self):
        return self.convert("stream.vmdk", self.image(), "-f", "raw", "-t", "streamOptimized")

    def random(self):
        """2 GiB of random bytes."""
        return self.make("random.raw", lambda p: self.write_random(p, 2 * GIB))

    def big(self):
        """4 GiB of random bytes."""
        return self.make("big.raw", lambda p: self.write_random(p, 4 * GIB))

    @staticmethod
    def write_random(path, size):
        with open(path, "wb") as f:
            for _ in range(size // MIB):
                f.write(os.urandom(MIB))

    def full(self):
        """The same as a disk, every grain of it there."""
        return self.convert("full.vmdk", self.random(), "-f", "raw", "-t", "monolithicSparse")

    def full_grains(self):
        """Where the grains of that disk lie in its file: from, and how many bytes."""
        length = os.path.getsize(self.random())
        begin = os.path.getsize(self.full()) - length
        runs = json.loads(subprocess.check_output([self.tool, "map", "--json", self.full()]))
        assert min(run["offset"] for run in runs) == begin
        return begin, length

    def full_flat(self):
        return self.convert("whole.vmdk", self.random(), "-f", "raw", "-t", "monolithicFlat")

    def scattered(self):
        return self.make("grains.vmdk", lambda p: self.script("mkgrains.py", p, "100", "1048576", "scatter"))

    def huge(self):
        return self.make("huge.vmdk", lambda p: self.vixdisk("create", "-q", "-s", "2147220992K", p))

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
                    self.vixdisk("create", "-q", "-s", str(size), link)
                else:
                    self.vixdisk("snapshot", "-q", previous, link)
                self.write_part(link, image, i * part, part if i < 4 else size - i * part)
                previous = link
        return self.make("chain4.vmdk", make)

    def write_part(self, disk, image, start, length):
        with open(image, "rb") as f:
            f.seek(start)
            writer = subprocess.Popen([self.tool, "write", "-q", "-o", str(start), disk], stdin=subprocess.PIPE)
            while length > 0:
                piece = f.read(min(length, 4 * MIB))
                writer.stdin.write(piece)
                length -= len(piece)
            writer.stdin.close()
            if writer.wait() != 0:
                sys.exit("cannot write to " + disk)
