#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library and the command against govmomi's simulator of vCenter and ESXi, a server that others have written. Its
tickets are taken by the tests' NFC host, then by vixdiskd, over the simulator's datastore.   simulated.py SIMULATOR"""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time

import host
import nfc
import tap
from driving import *

SIZE = 2 * MIB


class Simulated(Place):
    """A simulator with its datastore in the folder, and a host beside it. .soap stands where Place has host."""

    def __init__(self, program, esx, vixdiskd=False, more=()):
        super().__init__(SIZE, vcenter=not esx, tickets="tickets", soap=False)
        self.daemon = None
        self.host.tickets_file = self.write("tickets", "")
        self.host.user, self.host.password = "user", "Simulated&-8f41c7"
        self.write("password", self.host.password + "\n")
        there = self.host
        if vixdiskd:
            there.stop()
            self.prepare_daemon()
        self.process = subprocess.Popen(
            [program, "-l", "127.0.0.1:0", "-username", there.user, "-password", there.password, "-nfc-host",
             "" if esx else "127.0.0.1", "-nfc-port", str(there.nfc_port), "-nfc-thumbprint", there.identity.sha1,
             "-tickets", there.tickets_file, *more] + (["-esx"] if esx else []),
            env=dict(os.environ, TMPDIR=self.folder), stderr=subprocess.PIPE, text=True)
        ready = self.process.stderr.readline()
        there.soap_port = int(re.search(r"127.0.0.1:(\d+)/sdk", ready)[1])
        pem = ssl.get_server_certificate(("127.0.0.1", there.soap_port))
        self.thumbprint = nfc.colons(nfc.hashlib.sha1(ssl.PEM_cert_to_DER_cert(pem)))
        store = [name for name in os.listdir(self.folder) if name.startswith("govcsim-") and "LocalDS_0" in name][0]
        os.symlink(self.path(store), self.path("LocalDS_0"))
        self.vm_name = "ha-host_VM0" if esx else "DC0_H0_VM0"
        self.flat = self.path("LocalDS_0/%s/disk1-flat.vmdk" % self.vm_name)
        self.disk = "[LocalDS_0] %s/disk1.vmdk" % self.vm_name
        if vixdiskd:
            self.start_daemon()
        else:
            self.fill()

    def prepare_daemon(self):
        """A certificate, and a port that is free now: the simulator tells both before the host can start."""
        text = subprocess.run([build + "/daemon/vixdiskd", "--init", self.path("host")], check=True, text=True,
                              capture_output=True).stdout
        self.host.identity.sha1 = re.search(r"Thumbprint: (\S+)", text)[1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host.nfc_port = free.getsockname()[1]

    def start_daemon(self):
        """vixdiskd over the simulator's datastore, with a real disk in it."""
        self.write("image", self.data)
        for name in (self.flat, self.flat.replace("-flat", "")):
            os.unlink(name)
        self.run("convert", "-q", "-f", "raw", "-t", "vmfs", "image", self.flat.replace("-flat", ""))
        config = self.write("host/host.conf", """[server]
listen = 127.0.0.1
port = 0
nfc-port = %d
certificate = certificate.pem
key = key.pem
user = root
[datastore LocalDS_0]
path = %s
writable = yes
""" % (self.host.nfc_port, os.path.realpath(self.path("LocalDS_0"))))
        self.daemon = subprocess.Popen([build + "/daemon/vixdiskd", "--config", config, "--test-tickets",
                                        self.host.tickets_file], stderr=subprocess.PIPE, text=True)
        for line in self.daemon.stderr:
            if "vixdiskd: ready" in line:
                return
        self.process.kill()
        raise AssertionError("vixdiskd does not start")

    def stop_daemon(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.stderr.read()
        assert self.daemon.wait(30) == 0

    def __exit__(self, *fault):
        if self.daemon is not None:
            self.stop_daemon()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.process.stderr.close()
        super().__exit__(*fault)

    def variables(self, **more):
        return dict(os.environ, VIXDISK_HOST="127.0.0.1:%d" % self.host.soap_port, VIXDISK_USER=self.host.user,
                    VIXDISK_PASSWORD_FILE=self.path("password"), VIXDISK_THUMBPRINT=self.thumbprint, **more)

    def run(self, *arguments, **more):
        return subprocess.run([vixdisk] + [str(word) for word in arguments], env=self.variables(**more), check=True,
                              capture_output=True, cwd=self.folder, timeout=120).stdout


def inventory(place):
    all = json.loads(place.run("ls", "--json"))
    vm = [vm for vm in all["vms"] if vm["name"] == place.vm_name][0]
    place.moref = vm["moref"]
    assert vm["disks"][0]["filename"] == place.disk and vm["vmx"].endswith(".vmx"), vm
    assert all["vcenter"] == place.host.vcenter and [d["name"] for d in all["datastores"]] == ["LocalDS_0"], all
    place.vmx = vm["vmx"]
    text = place.run("ls").decode()
    assert place.disk in text and "moref=" + place.moref in text, text


def connect(client, **how):
    there = client.place
    client.connect(**{"thumbprint": there.thumbprint, "vm": "moref=" + there.moref, **how})


def machines(place):
    """By each way to name one."""
    file = place.vmx.partition("] ")[2]
    center = "DC0" if place.host.vcenter else "ha-datacenter"
    for spec in ("moref=" + place.moref, place.vmx, "%s?dcPath=%s&dsName=LocalDS_0" % (file, center),
                 "%s/vm/%s" % (center, place.vm_name)):
        with Driven(place) as client:
            connect(client, vm=spec, read_only=1)
            client.want(OK, "open", place.disk, READ_ONLY)
            assert client.read_all(SIZE, 64) == place.data, spec
            client.want(OK, "close")
    with Driven(place) as client:
        connect(client, vm="moref=vm-99999")
        client.refused(VM_NOT_FOUND, "open", place.disk, READ_ONLY)
        client.want(OK, "disconnect")
        connect(client)
        client.refused(FILE_NOT_FOUND, "open", "[LocalDS_0] none/none.vmdk", 0,
                       begins="127.0.0.1:%d: " % place.host.nfc_port)


def logins(place):
    place.write("wrong", "wrong\n")
    with Driven(place) as client:
        login = lambda **how: client.login(**{"thumbprint": place.thumbprint, "vm": "moref=" + place.moref, **how})
        client.refused(HOST_USER_PERMISSIONS, *login(password="wrong"))
        client.refused(CANNOT_CONNECT, *login(thumbprint="00" * 20))
        client.want(OK, *login(operation="prepare", last=["backup"]))
        client.want(OK, *login(operation="end", last=["backup"]))
        client.want(OK, *login(operation="cleanup", last=["-"]))


def reads_and_writes(place):
    with Driven(place) as client:
        connect(client, transports="nbdssl:nbd")
        assert client.want(OK, "open", place.disk, ZLIB) == "nbdssl"
        assert client.read_all(SIZE) == place.data
        piece = os.urandom(5 * SECTOR)
        place.write("piece", piece)
        client.want(OK, "write", 99, 5, place.path("piece"))
        client.want(OK, "flush")
        client.want(OK, "close")
        data = place.data[:99 * SECTOR] + piece + place.data[104 * SECTOR:]
        with open(place.flat, "rb") as file:
            assert file.read() == data
    place.fill()


def by_nbd(place):
    with Driven(place) as client:
        connect(client, transports="nbd", read_only=1)
        assert client.want(OK, "open", place.disk, SKIPZ | READ_ONLY) == "nbd"
        assert client.read_all(SIZE) == place.data
        client.want(OK, "close")


def converts(place):
    place.run("convert", "--vm", "moref=" + place.moref, "-t", "streamOptimized", place.disk, "copy.vmdk")
    place.run("compare", "--vm", "moref=" + place.moref, place.disk, "copy.vmdk")


def disks_of_nobody(place):
    """The simulator makes empty files: what they would hold is not tried."""
    new = "[LocalDS_0] some/where/n.vmdk"
    with Driven(place) as client:
        connect(client)
        client.want(OK, "create", new, 2048, 7)
        assert os.path.exists(place.path("LocalDS_0/some/where/n.vmdk"))
        client.refused(FILE_ALREADY_EXISTS, "create", new, 2048, 7)
        client.want(OK, "unlink", new)
        assert not os.path.exists(place.path("LocalDS_0/some/where/n.vmdk"))
        client.refused(FILE_NOT_FOUND, "unlink", new)


def power_off(place):
    """A disk is not attached to a machine that runs."""
    there = place.host
    call = http.client.HTTPSConnection("127.0.0.1", there.soap_port, context=ssl._create_unverified_context())
    cookie = {}

    def ask(method, of, value, inner=""):
        call.request("POST", "/sdk", host.ENVELOPE % ('<%s xmlns="urn:vim25"><_this type="%s">%s</_this>%s</%s>' % (
            method, of, value, inner, method)), {"Content-Type": "text/xml", **cookie})
        answer = call.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        if answer.getheader("Set-Cookie"):
            cookie["Cookie"] = answer.getheader("Set-Cookie").partition(";")[0]
        return text
    ask("Login", "SessionManager", "SessionManager" if there.vcenter else "ha-sessionmgr",
        "<userName>%s</userName><password>%s</password>" % (there.user, there.password.replace("&", "&amp;")))
    ask("PowerOffVM_Task", "VirtualMachine", place.moref)
    asked = ("<specSet><propSet><type>VirtualMachine</type><pathSet>runtime.powerState</pathSet></propSet><objectSet>"
             '<obj type="VirtualMachine">%s</obj></objectSet></specSet>' % place.moref)
    collector = "propertyCollector" if there.vcenter else "ha-property-collector"
    for _ in range(100):
        if "poweredOff" in ask("RetrieveProperties", "PropertyCollector", collector, asked):
            call.close()
            return
        time.sleep(0.1)
    raise AssertionError("the machine is not off")


def new_disks_by_way_of_the_machine(place):
    """A host that opens no new disk with a ticket for the datastore: the disk is the machine's as long as it is open."""
    there, data = place.host, sample(SIZE, 91)
    power_off(place)
    place.write("new.raw", data)
    before = json.loads(place.run("ls", "--json"))["vms"]
    seen = []

    def files_of_machine():
        machines = json.loads(place.run("ls", "--json"))["vms"]
        return [disk["filename"] for vm in machines if vm["moref"] == place.moref for disk in vm["disks"]]

    def refuse_store_tickets(path):
        kind = there.sessions[-1].ticket.kind
        seen.append((kind, files_of_machine()))
        if kind == "rw-store":
            raise nfc.Refused(nfc.PERMISSION, "NfcAioProcessOpenFileMsg: permission check failed for file '%s'" % path)
        name = host.Host.path_of(there, path)
        os.truncate(name, SIZE)  # the simulator has made it empty
        return name
    there.path_of = refuse_store_tickets
    os.makedirs(place.path("LocalDS_0/fresh"), exist_ok=True)
    target, flat = "[LocalDS_0] fresh/n.vmdk", place.path("LocalDS_0/fresh/n-flat.vmdk")
    place.run("convert", "--vm", "moref=" + place.moref, "new.raw", target)
    assert [(kind, target in files) for kind, files in seen] == [("rw-store", False), ("rw-disk", True)], seen
    with open(flat, "rb") as file:
        assert file.read() == data
    assert json.loads(place.run("ls", "--json"))["vms"] == before  # without the disk, whose file has stayed
    del seen[:]

    def cut(label, data, session):
        if label == "request" and data >= 2:
            session.wire.close()
            raise nfc.Cut()
        return data
    there.hook = cut
    other, arguments = "[LocalDS_0] fresh/o.vmdk", ("--vm", "moref=" + place.moref, "--set", "vixdisk.nfc.requestKiB=64")
    failed = subprocess.run([vixdisk, "convert", *arguments, place.path("new.raw"), other], env=place.variables(),
                            capture_output=True, text=True, timeout=120)
    there.hook = None
    assert failed.returncode == 75 and "CONN_LOST" in failed.stderr, failed
    assert [kind for kind, _ in seen] == ["rw-store", "rw-disk"], seen
    assert json.loads(place.run("ls", "--json"))["vms"] == before
    assert sorted(os.listdir(place.path("LocalDS_0/fresh"))) == ["n-flat.vmdk", "n.vmdk"]
    del seen[:]
    place.write("new.raw", place.data)
    place.run("convert", "--vm", "moref=" + place.moref, "--overwrite", "new.raw", target)
    part = [name for _, files in seen for name in files if ".part-" in name]
    assert len(part) == 1, seen
    with open(flat, "rb") as file:
        assert file.read() == place.data
    assert json.loads(place.run("ls", "--json"))["vms"] == before
    assert sorted(os.listdir(place.path("LocalDS_0/fresh"))) == ["n-flat.vmdk", "n.vmdk"]
    place.run("rm", "--vm", "moref=" + place.moref, target)
    del there.path_of


def main():
    for esx in (False, True):
        kind = "ESXi" if esx else "vCenter"
        with Simulated(sys.argv[1], esx) as place:
            for name, test in (("inventory", inventory), ("logins", logins), ("machines by name", machines),
                               ("reads and writes", reads_and_writes), ("convert and compare", converts),
                               ("disks that belong to no machine", disks_of_nobody),
                               ("new disks by way of the machine", new_disks_by_way_of_the_machine)):
                tap.check("simulated %s: %s" % (kind, name), test, place)
        with Simulated(sys.argv[1], esx, vixdiskd=True) as place:
            for name, test in (("inventory", inventory), ("machines by name", machines), ("nbd", by_nbd),
                               ("reads and writes", reads_and_writes), ("convert and compare", converts)):
                tap.check("simulated %s and vixdiskd: %s" % (kind, name), test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
