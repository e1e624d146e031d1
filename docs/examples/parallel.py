#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Copies several disks at once, each by an nbdkit of its own and nbdcopy, as importers do, and tells what that takes.

  parallel.py [-n 1,4,16] [-r ROUNDS] [-t FOLDER] [-p PLUGIN] [PARAMETER=VALUE...] -- DISK...

  -n    how many at once; so many of the disks, from the first on, are taken
  -r    rounds of each, of which the median is told (1)
  -t    the copies go to files in this folder; else they are read and dropped
  -p    nbdkit's plugin: vddk (default), or vixdisk
  PARAMETER=VALUE is the plugin's: server=, user=, password=+FILE, thumbprint=, vm=, libdir=, transports=, compression=

Seconds are of the whole, from the first start to the last end. CPU seconds and peak memory are those of nbdkit and nbdcopy;
what a host on the same machine takes is not in them."""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

GIB, MIB = 1 << 30, 1 << 20


class Copy(threading.Thread):
    def __init__(self, args, folder, number, disk):
        super().__init__()
        self.socket = "%s/%d" % (folder, number)
        self.ready = self.socket + ".pid"
        self.server = ["nbdkit", "-r", "-f", "--exit-with-parent", "-U", self.socket, "-P", self.ready, args.plugin,
                       *args.parameters, "file=" + disk]
        self.uri = "nbd+unix:///?socket=" + self.socket
        self.target = "%s/%d.img" % (args.to, number) if args.to else "null:"
        self.failure = None

    def run(self):
        try:
            server = subprocess.Popen(self.server, stdin=subprocess.DEVNULL)
            while not os.path.exists(self.ready):
                if server.poll() is not None:
                    raise RuntimeError("nbdkit ended: " + " ".join(self.server))
                time.sleep(0.005)
            self.nbdcopy = finish(subprocess.Popen(["nbdcopy", self.uri, self.target], stdin=subprocess.DEVNULL))
            server.terminate()
            self.nbdkit = finish(server)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            self.failure = str(error)


def finish(process):
    """Waits for a process: what it has used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError("%s: exit status %d" % (process.args[0], process.returncode))
    return usage


def size_of(args, disk):
    return int(subprocess.check_output(["nbdkit", "-U", "-", "-r", args.plugin, *args.parameters, "file=" + disk, "--run",
                                        'nbdinfo --size "$uri"'], stdin=subprocess.DEVNULL))


def together(args, disks):
    """One round: seconds, CPU seconds, peak KiB of an nbdkit and of an nbdcopy."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Copy(args, folder, number, disk) for number, disk in enumerate(disks)]
        start = time.monotonic()
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
        seconds = time.monotonic() - start
    for copy in copies:
        if copy.failure:
            sys.exit("parallel.py: " + copy.failure)
    used = [u for copy in copies for u in (copy.nbdkit, copy.nbdcopy)]
    return (seconds, sum(u.ru_utime + u.ru_stime for u in used),
            max(copy.nbdkit.ru_maxrss for copy in copies), max(copy.nbdcopy.ru_maxrss for copy in copies))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-n", dest="numbers", default="1,4,16")
    parser.add_argument("-r", dest="rounds", type=int, default=1)
    parser.add_argument("-t", dest="to")
    parser.add_argument("-p", dest="plugin", default="vddk")
    parser.add_argument("words", nargs="*")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, disks = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1:]
    args.parameters = args.words
    print("%5s %9s %9s %14s %10s %11s %11s" %
          ("disks", "seconds", "MiB/s", "MiB/s per disk", "CPU s/GiB", "nbdkit MiB", "nbdcopy MiB"))
    for number in map(int, args.numbers.split(",")):
        if number > len(disks):
            sys.exit("parallel.py: %d at once, but there are %d disks" % (number, len(disks)))
        size = sum(size_of(args, disk) for disk in disks[:number])
        rounds = [together(args, disks[:number]) for _ in range(args.rounds)]
        seconds, cpu = (statistics.median(r[i] for r in rounds) for i in (0, 1))
        print("%5d %9.3f %9.0f %14.0f %10.3f %11.1f %11.1f" %
              (number, seconds, size / MIB / seconds, size / MIB / seconds / number, cpu / (size / GIB),
               max(r[2] for r in rounds) / 1024, max(r[3] for r in rounds) / 1024), flush=True)


main()
