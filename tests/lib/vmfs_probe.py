# SPDX-License-Identifier: BSD-3-Clause
"""The reader under test: a volume that tests/vmfs/probe.c has open."""
import os
import subprocess


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__("%d: %s" % (code, text))
        self.code = code
        self.text = text


class Probe:
    def __init__(self, luns, partition=0, write=False):
        self.process = subprocess.Popen(
            [os.environ["VMFS_PROBE"], str(partition), "w" if write else "r", *luns],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._answer()
        except Refused:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.wait(60) != 0:
            raise AssertionError("the probe ended with %d" % self.process.returncode)

    def _answer(self):
        words = self.process.stdout.readline().split()
        if not words:
            raise AssertionError("the probe is gone, %s" % self.process.wait(60))
        data = self.process.stdout.read(int(words[-1]))
        if words[0] == b"fail":
            raise Refused(int(words[1]), data.decode(errors="replace"))
        return data

    def _call(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()
        return self._answer()

    def info(self):
        return self._call("info").decode().split(" ")

    def ls(self, path="/"):
        return sorted(self._call("ls", path).decode(errors="replace").splitlines())

    def map(self, path):
        return [tuple(int(w) for w in line.split()) for line in self._call("map", path).decode().splitlines()]

    def survey(self, path):
        return dict(zip(("data", "hole", "zeroed", "unsure", "not_own", "in_use", "has_zeroed"),
                        map(int, self._call("survey", path).split())))

    def read(self, path, off, length):
        return self._call("read", path, off, length)

    def write(self, path, off, length, byte):
        return self._call("write", path, off, length, byte)

    def disk(self, path, sector, count):
        return self._call("disk", path, sector, count)

    def link(self, path, sector, count):
        return self._call("link", path, sector, count)

    def write_disk(self, path, sector, count, byte):
        return self._call("wdisk", path, sector, count, byte)
