#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Builds a 1 GiB ext4 image with about 700 MiB of real files from /usr, the rest holes.

usage: mkimg.py OUT.raw

Which files go in is decided by a checksum of their names, so that the mix is the same on every machine with the same
packages."""
import os
import shutil
import stat
import subprocess
import sys
import zlib

LIMIT = 700 << 20
LARGEST = 8 << 20
TOPS = ("bin", "share", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "include", "lib/gcc")


def candidates():
    for top in TOPS:
        for folder, _, names in os.walk(os.path.join(b"/usr", top.encode())):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    st = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISREG(st.st_mode) and st.st_size <= LARGEST:
                    yield zlib.crc32(path), st.st_size, path


def main():
    out = sys.argv[1]
    stage = out + ".stage"
    shutil.rmtree(stage, ignore_errors=True)
    total = 0
    for _, size, path in sorted(candidates()):
        total += (size + 4095) & ~4095
        if total > LIMIT:
            break
        copy = os.path.join(stage.encode(), path.lstrip(b"/"))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)
    if os.path.exists(out):
        os.unlink(out)
    subprocess.check_call(["truncate", "-s", "1G", out])
    subprocess.check_call(["mke2fs", "-q", "-F", "-t", "ext4", "-N", "131072", "-b", "4096",
                           "-E", "lazy_itable_init=1", "-d", stage, out])
    shutil.rmtree(stage)


if __name__ == "__main__":
    main()
