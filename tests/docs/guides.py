#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs what the guides and manuals tell people to do.

  tests/docs/guides.py ROOT [NAME...]   ROOT is what make install has put somewhere; NAME: only documents with it in theirs

Of docs/*.md: blocks that begin with ```sh run, the comments <!-- setup ... --> that prepare them, and the comments
<!-- check ... --> that look at what they did. Of man/*.in: blocks @example run, @setup and @check. The blocks of a document
are run in their order by one bash -eu -o pipefail in a folder of its own with disk.img, a raw image, disk.vmdk, the same as
a VMDK, secret, the password of a host, $THUMBPRINT, and $DATASTORE1, the folder of its datastore. A block that fails fails
the document from there on.

Every other block of commands in a guide (```sh, or indented) is told of and counted. The line before it has to say why it is
not run here, <!-- not run: WHY -->, or which test does it, <!-- run by TEST -->.

A vixdiskd on loopback is the server of every document. What is written for a reader stands for something here:
  vc.example           the host; server=vc.example (of nbdkit) is that with its ports
  moref=vm-57          its machine vm1
  /usr/local           ROOT; /usr/lib/vmware-vix-disklib: its folder laid out as VMware's kit
  /srv/vixdiskd        a folder beside the document's
  10809                a free port
nbdkit is Debian's, and for the plugin vddk the one of scripts/get-nbdkit. The plugin vixdisk, which packages put into its
folder, is that of ROOT."""
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROOT = os.path.abspath(sys.argv[1])
TIMEOUT = 120  # seconds, of one document
# Documents that need a device which a machine may lack, and it cannot be made.
DEVICES = {"man/vixdisk-mount.1.in": ("/dev/fuse", "c 10 229")}
NBDKIT = """#!/bin/bash
words=()
for word; do
    [ "$word" != vixdisk ] || word=%s/lib/nbdkit/plugins/nbdkit-vixdisk-plugin.so
    words+=("$word")
done
case " $* " in
*" vddk "*) exec %s/nbdkit "${words[@]}" ;;
esac
exec /usr/bin/nbdkit "${words[@]}"
"""
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


def not_run(path):
    """(line, first line of it, the reason or None) of each block of commands in a guide that is not run here."""
    inside, marker, blank, number = "", None, True, 0  # inside: what ends the block or comment
    for line in open(path, encoding="utf-8"):
        number += 1
        line = line.rstrip("\n")
        if inside:
            inside = "" if line.startswith(inside) else inside
        elif line.startswith("```"):
            inside = "```"
            if line == "```sh":
                yield number, line, marker
        elif re.match(r"<!-- \w+$", line):
            inside = "-->"
        elif line.startswith("    ") and blank:
            yield number, line.strip(), marker
        found = re.match(r"<!-- (not run: .+|run by .+) -->$", line)
        if found:
            marker = found.group(1)
        elif line and not line.startswith("    "):
            marker = None
        blank = not line or found is not None


def tell_of_the_rest(paths):
    """Blocks that are not run are few, and each has its reason."""
    count, bare = 0, []
    for path in paths:
        name = os.path.relpath(path, SRC)
        for line, text, reason in not_run(path):
            count += 1
            if reason is None:
                bare.append("%s:%d: %s" % (name, line, text))
            else:
                print("# %s:%d: %s" % (name, line, reason))
                if reason.startswith("run by ") and not os.path.exists(os.path.join(SRC, reason[7:])):
                    bare.append("%s:%d: there is no %s" % (name, line, reason[7:]))
    result("%d blocks of commands in the guides are not run here, each for a reason" % count, not bare, "\n".join(bare))


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
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    stands_for = {
        "server=vc.example": "server=127.0.0.1 port=%s nfchostport=%s" % (host.port, host.nfc_port),
        "vc.example": "127.0.0.1:" + host.port, "moref=vm-57": "moref=" + host.moref, "/usr/local": ROOT,
        "/usr/lib/vmware-vix-disklib": ROOT + "/lib/vixdisk", "/srv/vixdiskd": folder + "/srv", "10809": port}
    script = ""
    for line, text, own in blocks:
        text = re.sub("|".join(map(re.escape, stands_for)), lambda found: stands_for[found.group()], text)
        script += "echo begun %d >&3\n%s\necho done %d >&3\n" % (line, text, line)
    with open(folder + "/.script", "w") as file:
        file.write("exec 3>.progress\n" + script)
    environment = {**os.environ, **host.environment(), "THUMBPRINT": host.thumbprint, "SRC": SRC, "HOME": folder,
                   "DATASTORE1": host.folder + "/datastore1",
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
            file.write(NBDKIT % (ROOT, built.stdout.strip()))
        os.chmod(top + "/bin/nbdkit", 0o755)
        image = top + "/image.img"
        subprocess.run([SRC + "/scripts/make-image", image, "32", "8"], check=True, stdout=subprocess.DEVNULL)
        host = Host(top + "/host", image)
        host.start()
        paths = [path for path in sorted(glob.glob(SRC + "/docs/*.md") + glob.glob(SRC + "/man/*.in"))
                 if all(word in os.path.relpath(path, SRC) for word in sys.argv[2:])]
        tell_of_the_rest([path for path in paths if path.endswith(".md")])
        for path in paths:
            name = os.path.relpath(path, SRC)
            if name not in DEVICES or device_is_there(name):
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
