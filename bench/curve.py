#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How the time of convert, map, check and open grows: with the capacity of a disk that has 1,000 grains, and with the
grains of a disk of 100 GiB. Medians of some runs; a table on standard output, and a picture.

usage: curve.py --build DIR [--svg FILE] [--rounds N]"""
import argparse
import math
import os
import shutil
import statistics
import tempfile

from data import Data
from sides import Sides

CAPACITIES = [1, 8, 64, 512, 2047]  # GiB, of disks with FEW grains
FEW = 1000
GRAINS = [1000, 10000, 100000, 1000000]  # of disks of WIDE GiB
WIDE = 100
WORKS = ["convert", "check", "map", "open"]


class Curve:
    def __init__(self, build, data, sides, rounds):
        self.tool = os.path.join(build, "tool", "vixdisk")
        self.open = os.path.join(build, "bench", "bench_open")
        self.data = data
        self.sides = sides
        self.rounds = rounds

    def side(self, work, disk):
        if work == "convert":
            return lambda: self.sides.run([self.tool, "convert", "-q", "-t", "monolithicSparse", disk,
                                           self.data.fresh("out.vmdk")])
        if work == "check":
            return self.sides.command(self.tool, "check", "-q", disk)
        return self.sides.inner(self.open, work, disk)

    def measure(self, gib, grains):
        """Seconds of each work on a disk."""
        disk = self.data.fresh("disk.vmdk")
        self.data.script("mkgrains.py", disk, str(gib), str(grains), "scatter")
        times = {}
        for work in WORKS:
            side = self.side(work, disk)
            side()
            times[work] = statistics.median(side().seconds for _ in range(self.rounds))
        return times


# ---- the picture ----

STYLE = """svg{--convert:#b5482a;--check:#2a6db5;--map:#3a8f4d;--open:#8250a8}
text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}polyline{fill:none;stroke-width:2}rect{fill:#fff}
%s@media(prefers-color-scheme:dark){svg{--convert:#e07a5c;--check:#6aa8ea;--map:#6cc081;--open:#b58ad8}
rect{fill:#1b1b1b}text{fill:#ddd}.grid{stroke:#333}}
%s""" % ("".join("polyline.%s{stroke:var(--%s)}" % (work, work) for work in WORKS) + "\n",
         "".join("text.%s{fill:var(--%s)}" % (work, work) for work in WORKS))
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 440, 320, 64, 40, 72, 44
LABEL = 14  # from one label of a line down to the next


def panel(title, unit, points, offset):
    """One diagram, both axes logarithmic. @points [(x, {work: seconds})]"""
    xs = [x for x, _ in points]
    seconds = [s for _, times in points for s in times.values()]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(x):
        return offset + LEFT + width * math.log(x / xs[0]) / math.log(xs[-1] / xs[0])

    def y_of(s):
        return TOP + height * (high - math.log10(s)) / (high - low)

    out = ['<text x="%d" y="22">%s</text>' % (offset + LEFT, title)]
    for power in range(low, high + 1):
        y = y_of(10.0 ** power)
        label = "%g s" % 10 ** power if power >= 0 else "%g ms" % 10 ** (power + 3)
        out.append('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>' % (offset + LEFT, offset + LEFT + width, y, y))
        out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (offset + LEFT - 6, y + 4, label))
    for x in xs:
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (x_of(x), TOP + height + 18, format(x, ",")))
    out.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % (offset + LEFT + width // 2, HEIGHT - 8, unit))
    last = points[-1][1]
    y = -math.inf
    for work in sorted(WORKS, key=last.get, reverse=True):
        line = " ".join("%.1f,%.1f" % (x_of(x), y_of(times[work])) for x, times in points)
        out.append('<polyline class="%s" points="%s"/>' % (work, line))
        y = max(y_of(last[work]) + 4, y + LABEL)
        out.append('<text class="%s" x="%d" y="%.1f">%s</text>' % (work, offset + LEFT + width + 6, y, work))
    return "\n".join(out)


def picture(by_capacity, by_grains):
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">\n<title>Time against capacity and '
            'grains</title>\n<style>%s</style>\n<rect width="100%%" height="100%%"/>\n%s\n%s\n</svg>\n' %
            (2 * WIDTH, HEIGHT, STYLE, panel("%s grains" % format(FEW, ","), "capacity, GiB", by_capacity, 0),
             panel("%d GiB" % WIDE, "allocated grains", by_grains, WIDTH)))


def table(head, points):
    print("%-12s %s" % (head, " ".join("%10s" % work for work in WORKS)))
    for x, times in points:
        print("%-12s %s" % (format(x, ","), " ".join("%10.5f" % times[work] for work in WORKS)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="folder of the optimised build")
    parser.add_argument("--svg", help="where the picture goes")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    build = os.path.abspath(args.build)
    folder = tempfile.mkdtemp(prefix="vixdisk-curve-", dir="/dev/shm")
    try:
        curve = Curve(build, Data(os.path.join(build, "tool", "vixdisk"), folder), Sides(build), args.rounds)
        by_capacity = [(gib, curve.measure(gib, FEW)) for gib in CAPACITIES]
        table("GiB", by_capacity)
        by_grains = [(grains, curve.measure(WIDE, grains)) for grains in GRAINS]
        table("grains", by_grains)
        if args.svg:
            with open(args.svg, "w") as f:
                f.write(picture(by_capacity, by_grains))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
