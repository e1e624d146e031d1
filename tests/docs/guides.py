#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs what the guides and manuals tell people to do.

  tests/docs/guides.py ROOT [NAME...]   ROOT is what make install has put somewhere; NAME: only documents with it in theirs

Of docs/*.md: blocks that begin with ```sh run, the comments <!-- setup ... --> that prepare them, and the comments
<!-- check ... --> that look at what they did. Of man/*.in: blocks @example run, @setup and @check. The blocks of a document are run in their order by one bash -eu -o pipefail in a folder of its
own with disk.img, a raw image, disk.vmdk, the same as a VMDK, secret, the password of a host, and $THUMBPRINT. A block
that fails fails the document from there on.

A vixdiskd on loopback is the server of every document. What is written for a reader stands for something here:
  vc.example           the host; server=vc.example (of nbdkit) is that with its ports
  moref=vm-57          its machine vm1
  /usr/local           ROOT
  /srv/vixdiskd        a folder beside the document's
nbdkit is Debian's, and for the plugin vddk the one of scripts/get-nbdkit."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROOT = os.path.abspath(sys.argv[1])
TIMEOUT = 120  # seconds, of one document
# Documents that need a device which a machine may lack, and it cannot be made.
DEVICES = {"man/vixdisk-mount.1.in": ("/dev/fuse", "c 10 229")}
failed = 0


def result(name, good, output=""):
    global failed
    failed += not good
    print("%sok - %s" % ("" if good else "not ", name))
    if not good:
        for line in output.splitlines()[-30:]:
            print("# " + line)
    sys.stdout.flush()


def blocks_of_guide(path):
    """(line, text, whether it is a result of its own) of each block, in order."""
    text = open(path, encoding="utf-8").read()
    for found in re.finditer(r"^(?:```sh |<!-- )(run|setup|check)\n(.*?)^(?:```|-->)$", text, re.M | re.S):
        yield text.count("\n", 0, found.start()) + 1, found.group(2), found.group(1) != "setup"


def blocks_of_manual(path):
    text = open(path, encoding="utf-8").read()
    for found in re.finditer(r"^@(example run|setup|check)\n(.*?)^@end$", text, re.M | re.S):
        yield text.count("\n", 0, found.start()) + 1, found.group(2), found.group(1) != "setup"


class Host:
    """vixdiskd, with one machine whose disk is the image."""

    def __init__(self, folder, image):
        self.folder = folder
        init = subprocess.run([ROOT + "/sbin/vixdiskd", "--init", folder, "--listen", "127.0.0.1", "--name", "127.0.0.1",
                               "--port", "0", "--nfc-port", "0"], check=True, capture_output=True, text=True).stdout
        self.thumbprint = re.search(r"^Thumbprint: (\S+)", init, re.M).group(1)
        self.disk = folder + "/datastore1/vm1/vm1.vmdk"
        self.log = open(folder + "/log", "w+")
        self.process = None
        os.makedirs(folder + "/kept")
        vixdisk("convert", "-q", "-t", "vmfsThin", image, folder + "/kept/vm1.vmdk")
        self.reset()

    def start(self):
        self.process = subprocess.Popen([ROOT + "/sbin/vixdiskd", "--config", self.folder + "/vixdiskd.conf"], stderr=self.log)
        for _ in range(200):
            ready = re.search(r"ready, https (\d+), nfc (\d+)", open(self.folder + "/log").read())
            if ready:
                break
            time.sleep(0.05)
        self.port, self.nfc_port = ready.groups()
        listed = json.loads(vixdisk("ls", "--json", env=self.environment()))
        self.moref = listed["vms"][0]["moref"]

    def reset(self):
        """Its datastore as it was at the beginning."""
        shutil.rmtree(os.path.dirname(self.disk))
        shutil.copytree(self.folder + "/kept", os.path.dirname(self.disk))

    def environment(self):
        return {"VIXDISK_HOST": "127.0.0.1:" + self.port, "VIXDISK_USER": "vixdisk",
                "VIXDISK_PASSWORD_FILE": self.folder + "/password", "VIXDISK_THUMBPRINT": self.thumbprint,
                "VIXDISK_VM": "[datastore1] vm1/vm1.vmx"}

    def end(self):
        self.process.terminate()
        return self.process.wait(30)


def vixdisk(*arguments, env=None):
    return subprocess.run([ROOT + "/bin/vixdisk", *arguments], check=True, capture_output=True, text=True,
                          env={**os.environ, **(env or {})}).stdout


def device_is_there(name):
    path, kind = DEVICES[name]
    if not os.path.exists(path):
        subprocess.run(["mknod", "-m", "666", path, *kind.split()], stderr=subprocess.DEVNULL)
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError:
        print("ok - %s # SKIP %s cannot be opened here (a container without it, or a kernel)" % (name, path))
        return False
    return True


def run_document(name, blocks, host, image, top):
    blocks = list(blocks)
    if not any(own for _, _, own in blocks):
        return
    folder = tempfile.mkdtemp(dir=top)
    shutil.copy(image, folder + "/disk.img")
    vixdisk("convert", "-q", "-t", "monolithicSparse", image, folder + "/disk.vmdk")
    shutil.copy(host.folder + "/password", folder + "/secret")
    host.reset()
    script = ""
    for line, text, own in blocks:
        text = text.replace("server=vc.example", "server=127.0.0.1 port=%s nfchostport=%s" % (host.port, host.nfc_port))
        text = text.replace("vc.example", "127.0.0.1:" + host.port).replace("moref=vm-57", "moref=" + host.moref)
        text = text.replace("/usr/local", ROOT).replace("/srv/vixdiskd", folder + "/srv")
        script += "echo begun %d >&3\n%s\necho done %d >&3\n" % (line, text, line)
    with open(folder + "/.script", "w") as file:
        file.write("exec 3>.progress\n" + script)
    environment = {**os.environ, **host.environment(), "THUMBPRINT": host.thumbprint, "SRC": SRC, "HOME": folder,
                   "PATH": "%s/bin:%s/bin:%s/sbin:/usr/sbin:/usr/bin:/sbin:/bin" % (top, ROOT, ROOT)}
    environment.pop("LD_LIBRARY_PATH", None)
    with open(folder + "/.output", "w+", errors="replace") as output:
        process = subprocess.Popen(["bash", "-eu", "-o", "pipefail", ".script"], cwd=folder, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            output.write("longer than %d s\n" % TIMEOUT)
        output.seek(0)
        said = output.read()
    progress = open(folder + "/.progress").read()
    for line, text, own in blocks:
        good = "done %d\n" % line in progress
        if own or not good:
            result("%s:%d: %s" % (name, line, text.strip().split("\n")[0][:70]), good,
                   said if "begun %d\n" % line in progress else "what was before it has failed")


def main():
    # Debian's python3 and tools.
    top = tempfile.mkdtemp(prefix="vixdisk-guides.")
    host = None
    try:
        os.mkdir(top + "/bin")
        built = subprocess.run([SRC + "/scripts/get-nbdkit"], capture_output=True, text=True)
        with open(top + "/bin/nbdkit", "w") as file:
            file.write('#!/bin/sh\ncase " $* " in\n*" vddk "*) exec %s/nbdkit "$@" ;;\nesac\nexec /usr/bin/nbdkit "$@"\n' %
                       built.stdout.strip())
        os.chmod(top + "/bin/nbdkit", 0o755)
        image = top + "/image.img"
        subprocess.run([SRC + "/scripts/make-image", image, "32", "8"], check=True, stdout=subprocess.DEVNULL)
        host = Host(top + "/host", image)
        host.start()
        for path in sorted(glob.glob(SRC + "/docs/*.md") + glob.glob(SRC + "/man/*.in")):
            name = os.path.relpath(path, SRC)
            if all(word in name for word in sys.argv[2:]) and (name not in DEVICES or device_is_there(name)):
                blocks = blocks_of_guide(path) if path.endswith(".md") else blocks_of_manual(path)
                run_document(name, blocks, host, image, top)
        result("the host ends in order", host.end() == 0)
        host = None
    finally:
        if host is not None and host.process is not None:
            host.process.kill()
        shutil.rmtree(top, ignore_errors=True)
    sys.exit(bool(failed))


main()
