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
import signal
import statistics
import sys
import tempfile

from attached import Attached
from data import Data
from local import Local
from luns import Luns
from remote import Remote
from sides import Sides


FAR = 10  # a peer that takes so many times as long as ours is run once: no median is needed to tell
SHORT = 1.5  # seconds: what takes less hangs more on where the memory of a process happens to lie, and costs little:
MORE_ROUNDS = 6  # without the peer


def measure(row, rounds):
    first = 0.0
    sides = [(name, side) for name, side in (("ours", row.ours), ("peer", row.peer), ("limit", row.limit),
                                             ("second_limit", row.second)) if side is not None]
    results = {name: [] for name, side in sides}
    for number in range(rounds + MORE_ROUNDS + 1):
        if number > rounds and first > SHORT:
            break
        for name, side in sides:
            if name == "peer" and (number > rounds or results["peer"] and results["peer"][0].seconds > FAR * first):
                continue
            run = side()
            if number == 0 and name == "ours":
                first = run.seconds
            # The first round is the warm-up, but of a peer that is far behind.
            if number > 0 or name == "peer" and run.seconds > FAR * first:
                results[name].append(run)
    note = row.check() if row.check is not None else None
    out = {"work": row.work}
    for name, runs in results.items():
        out[name] = statistics.median(r.seconds for r in runs)
    out["rss_mib"] = max(r.rss_kib for r in results["ours"]) / 1024
    out["cpu_seconds"] = statistics.median(r.cpu for r in results["ours"])
    if row.gib is not None:
        out["cpu_seconds_per_gib"] = out["cpu_seconds"] / row.gib
    if "peer" in out:
        out["peer_over_ours"] = out["peer"] / out["ours"]
    if "limit" in out:
        out["ours_over_limit"] = out["ours"] / out["limit"]
    if "second_limit" in out:
        out["ours_over_second"] = out["ours"] / out["second_limit"]
    shown = []
    if row.at_most is not None:
        out["at_most_limit"] = row.at_most
        shown.append(out["ours_over_limit"] <= row.at_most)
    if row.seconds is not None:
        out["at_most_seconds"] = row.seconds
        shown.append(out["ours"] <= row.seconds)
    if shown:
        out["shown"] = all(shown)
    if note:
        out["note"] = note
    return out


COLUMNS = "%-16s %9s %9s %9s %8s %8s %8s %5s %8s %8s %8s  %s"
HEADS = ("row", "ours", "peer", "limit", "peer/our", "our/lim", "asked", "shown", "cpu s", "cpu/GiB", "peak MiB", "work")


def show(name, r):
    def number(key, form):
        return form % r[key] if key in r else "-"

    asked = number("at_most_limit", "%.2f") if "at_most_limit" in r else number("at_most_seconds", "%.3fs")
    print(COLUMNS % (name, number("ours", "%.4f"), number("peer", "%.4f"), number("limit", "%.4f"),
                     number("peer_over_ours", "%.2f"), number("ours_over_limit", "%.2f"), asked,
                     {True: "yes", False: "NO", None: "-"}[r.get("shown")], number("cpu_seconds", "%.2f"),
                     number("cpu_seconds_per_gib", "%.2f"), number("rss_mib", "%.1f"),
                     "; ".join([r["work"], *remarks(r)])), flush=True)


def remarks(r):
    if "second_limit" in r:
        yield "second limit %.4f, ours %.2f times that" % (r["second_limit"], r["ours_over_second"])
    if "note" in r:
        yield r["note"]


def machine():
    model = ""
    try:
        with open("/proc/cpuinfo") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")
    except OSError:
        pass
    return "%s, %d cores, Linux %s, tmpfs" % (model, len(os.sched_getaffinity(0)), platform.release())


def stop(signum, frame):
    sys.exit(128 + signum)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="folder of the optimised build")
    parser.add_argument("--row", action="append", help="only this row (may be given again)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="names of the rows")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    build = os.path.abspath(args.build)
    folder = tempfile.mkdtemp(prefix="vixdisk-bench-", dir="/dev/shm")
    sides = Sides(build)
    data = Data(os.path.join(build, "tool", "vixdisk"), folder)
    remote = Remote(build, data, sides)
    try:
        table = {**Local(build, data, sides).rows(), **remote.rows(), **Attached(build, data, sides).rows(),
                 **Luns(build, data, sides).rows()}
        if args.list:
            print("\n".join(table))
            return
        wanted = args.row or list(table)
        unknown = [name for name in wanted if name not in table]
        if unknown:
            sys.exit("no such row: " + ", ".join(unknown))
        results = {}
        if not args.json:
            print("# %s; medians of %d rounds, of what takes less than %.1f s of %d; seconds" % (
                machine(), args.rounds, SHORT, args.rounds + MORE_ROUNDS))
            print(COLUMNS % HEADS)
        for name in wanted:
            results[name] = measure(table[name](), args.rounds)
            remote.end_row()
            if not args.json:
                show(name, results[name])
        if args.json:
            print(json.dumps({"machine": machine(), "rounds": args.rounds, "rows": results}, indent=1))
    finally:
        remote.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
