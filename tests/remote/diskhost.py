# SPDX-License-Identifier: BSD-3-Clause
"""A vixdiskd under test: set up in a folder of its own, on free ports of loopback, and ended whatever happens."""
import atexit
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import client

PROGRAM = os.environ["VIXDISKD"]
STARTED = []


def run(*arguments, text=None, status=0):
    """Output of the program, both streams; its status is to be this one."""
    done = subprocess.run([PROGRAM, *arguments], input=text, capture_output=True, text=True, timeout=60)
    if done.returncode != status:
        raise AssertionError("%s: status %d: %s" % (arguments, done.returncode, done.stdout + done.stderr))
    return done.stdout + done.stderr


class DiskHost:
    def __init__(self, limits="", sections="", user=None):
        self.folder = tempfile.mkdtemp(prefix="vixdiskd-test.")
        self.process = None
        self.lines = []
        STARTED.append(self)
        self.root = os.path.join(self.folder, "host")
        self.said = run("--init", self.root, "--listen", "127.0.0.1", "--port", "0", "--nfc-port", "0", "--user",
                        user or pwd.getpwuid(os.getuid()).pw_name)
        self.config = os.path.join(self.root, "vixdiskd.conf")
        self.store = os.path.join(self.root, "datastore1")
        with open(os.path.join(self.root, "password"), encoding="ascii") as file:
            self.password = file.read().strip()
        self.add("[limits]\n" + limits + sections)

    def add(self, text):
        with open(self.config, "a", encoding="utf-8") as file:
            file.write("\n" + text + "\n")

    def at(self, *parts):
        return os.path.join(self.store, *parts)

    def start(self, *arguments, **environment):
        self.lines = []
        self.process = subprocess.Popen([PROGRAM, "--config", self.config, *arguments], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        ready = self.wait_log(r"ready, https (\d+), nfc (\d+), thumbprint (\S+)")
        self.port, self.nfc_port, self.thumbprint = int(ready[1]), int(ready[2]), ready[3]
        return self

    def read_log(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def log(self):
        return "".join(self.lines)

    def wait_log(self, pattern, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(pattern, self.log())
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError("no %s in the log:\n%s" % (pattern, self.log()))

    def stop(self, seconds=20):
        """Status and how long it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=seconds)
        self.reader.join(timeout=5)
        if status != 0:
            raise AssertionError("status %d:\n%s" % (status, self.log()))
        return time.monotonic() - began

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def login(self, user="vixdisk", password=None):
        vim = client.Vim("127.0.0.1", self.port)
        vim.login(user, self.password if password is None else password)
        return vim

    def nfc(self, timeout=20):
        return client.Nfc("127.0.0.1", self.nfc_port, timeout)


def remove_all():
    for host in STARTED:
        host.remove()


atexit.register(remove_all)
