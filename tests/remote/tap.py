# SPDX-License-Identifier: BSD-3-Clause
"""Results of tests in Python, one line each, as tests/lib/tap.sh has them."""
import os
import sys
import time
import traceback

began = time.monotonic()
ran = failed = 0


def result(good, name, *notes):
    global ran, failed
    ran += 1
    print("%s - %s" % ("ok" if good else "not ok", name))
    if not good:
        failed += 1
        for note in notes:
            for line in str(note).splitlines() or [""]:
                print("# " + line)
    sys.stdout.flush()
    return good


def check(name, test, *arguments):
    """One test: ok unless it raises."""
    try:
        test(*arguments)
    except Exception:
        return result(False, name, traceback.format_exc(limit=-4))
    return result(True, name)


def refused(kind, code, test, *arguments):
    """That a call raises an exception of a kind whose .code or .kind is this one; any of a tuple."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        test(*arguments)
    except kind as fault:
        got = getattr(fault, "kind", None) or getattr(fault, "code", None)
        if None not in codes and got not in codes:
            raise AssertionError("%s, not %s: %s" % (got, codes, fault)) from None
        return fault
    raise AssertionError("it was not refused")


def skip(name, why):
    global ran
    ran += 1
    print("ok - %s # SKIP %s" % (name, why))


def end():
    print("# %d tests in %.1f s" % (ran, time.monotonic() - began))
    if failed or not ran:
        print("# %d of %d failed" % (failed, ran))
    sys.stdout.flush()
    os._exit(1 if failed or not ran else 0)  # threads of a host that stalls do not matter any more
