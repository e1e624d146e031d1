#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library and a server's SOAP face: connecting, what goes wrong, sessions, secrets, access, disks of nobody."""
import os
import re
import socket
import sys
import threading

import host
import host_disks
import nfc
import tap
from driving import *


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def kinds_of_servers(place, center):
    with Driven(place) as client:
        client.connect()
        assert any("connected to VMware %s" % ("VirtualCenter" if center else "HostAgent") in line
                   for line in client.messages()), client.messages()
        port = place.host.soap_port
        assert client.want(OK, "params") == "127.0.0.1 %d 0 %s moref=%s" % (port, place.host.user, place.host.vm)
        client.want(OK, "disconnect")
        calls = [entry[1] for entry in place.host.transcript if entry[0] == "soap"]
        assert calls.count("Login") == 1 and calls.count("Logout") == 1 and not place.host.cookies, calls
        client.connect(thumbprint=place.identity.sha256.lower())
        client.want(OK, "disconnect")


def what_servers_are_called(place):
    with Driven(place) as client:
        client.connect(server="localhost")
        client.want(OK, "disconnect")
        client.refused(SERVER_NOT_FOUND, *client.login(server="no-such-host.invalid"),
                       begins="no-such-host.invalid:%d: " % place.host.soap_port)
        for server in ("::1", "[::1]"):  # nobody is there, or this machine has no such address
            assert client.do(*client.login(server=server, port=closed_port()))[0] in (CONN_REFUSED, CANNOT_CONNECT)
            text = client.do("sentence")[1]
            assert re.match(r"\[::1\]:\d+: .{10}", text), text


def who_answers(place):
    port = closed_port()
    with Driven(place, "vixDiskLib.nfc.AcceptTimeoutMs = 1500\nvixdisk.soap.callTimeoutMs = 3000\n") as client:
        client.refused(CONN_REFUSED, *client.login(port=port), begins="127.0.0.1:%d: " % port)
        with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
            port = listener.getsockname()[1]
            with Deadline(10):  # nobody says anything
                client.refused(CANNOT_CONNECT, *client.login(port=port), begins="127.0.0.1:%d: " % port)
            threading.Thread(target=say_something_else, args=(listener,), daemon=True).start()
            client.refused(CANNOT_CONNECT, *client.login(port=port), begins="127.0.0.1:%d: " % port, sentence="TLS|HTTPS")


def say_something_else(listener):
    while True:
        try:
            sock, _ = listener.accept()
            sock.recv(1)
            sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)
            sock.close()
        except OSError:
            return


def certificates(place):
    with Driven(place) as client:
        wrong = "11:" * 19 + "22"
        text = client.refused(CANNOT_CONNECT, *client.login(thumbprint=wrong), sentence="thumbprint")
        assert wrong in text and place.identity.sha1 in text, text  # both
        client.refused(CANNOT_CONNECT, *client.login(thumbprint="-"), sentence=place.identity.sha1)
        client.refused(INVALID_ARG, *client.login(thumbprint="11:22:33"))
    with Driven(place, "vixdisk.caFile = %s\n" % place.identity.cert) as client:
        client.connect(thumbprint="-")
    with Driven(place, "vixdisk.caFile = %s\n" % place.path("none.pem")) as client:
        client.refused(CANNOT_CONNECT, *client.login(thumbprint="-"), sentence="none.pem")
    with Driven(place, "vixDiskLib.linuxSSL.verifyCertificates = 0\n") as client:
        client.connect(thumbprint="-")
        client.want(OK, "disconnect")
        client.refused(CANNOT_CONNECT, *client.login(thumbprint=wrong))  # what was asked for is checked all the same


def logins(place):
    place.write("wrong", "wr0ng-pass\n")
    with Driven(place) as client:
        client.refused(HOST_USER_PERMISSIONS, *client.login(password="wrong"), sentence="InvalidLogin|password")
        client.refused(HOST_USER_PERMISSIONS, *client.login(user="nobody"))
        assert not any("wr0ng" in line for line in client.messages())
        place.host.hook = fault_of(place, "Login", "NoPermission")
        client.refused(HOST_USER_PERMISSIONS, *client.login(), sentence="NoPermission|permi")
        place.host.hook = None
        client.connect()
        place.host.hook = fault_of(place, "CreateVirtualDisk_Task", "RestrictedVersion")
        assert client.do("create", "[store] new.vmdk", 2048, 7)[0] != OK
        assert "licence allows reading only" in client.do("sentence")[1]
        # what a property may not be read for
        place.host.hook = lambda label, data, session: re.sub(
            "<propSet><name>config.hardware.device</name>.*?</propSet>",
            "<missingSet><path>config.hardware.device</path><fault><fault xsi:type=\"NoPermission\"/>"
            "<localizedMessage/></fault></missingSet>", data)
        client.refused(HOST_USER_PERMISSIONS, "open", DISK, READ_ONLY, sentence="NoPermission")


def fault_of(place, method, kind, text=""):
    """A hook: a method is answered by a fault."""
    def hook(label, data, session):
        if label == "soap " + method:
            return 500, host.ENVELOPE % host.Fault(kind, text).xml()
        return data
    return hook


def cookies(place):
    with Driven(place) as client:
        client.connect()
        cookie = next(iter(place.host.cookies))
        place.write("cookie", cookie + "\n")
        with Driven(place) as other:
            other.connect(user="cookie", password="cookie")
            other.want(OK, "disconnect")
        assert cookie in place.host.cookies  # not ours to log out
        place.write("stale", '"0123456789"\n')
        with Driven(place) as other:
            other.refused(HOST_USER_PERMISSIONS, *other.login(user="cookie", password="stale"))
            assert not any("0123456789" in line for line in other.messages())
        client.want(OK, "disconnect")
        assert cookie not in place.host.cookies


def servers_in_trouble(place):
    there = place.host
    with Driven(place) as client:
        for answer, code in (((503, "starting"), SERVER_NOT_AVAILABLE), ((404, ""), CANNOT_CONNECT),
                             ((200, "<html>hello</html>"), INVALID_XML), ((200, "no XML at all <"), INVALID_XML),
                             ((200, ""), INVALID_XML), ((302, ""), None)):
            there.hook = lambda label, data, session, answer=answer: (
                answer if label == "soap RetrieveServiceContent" else data)
            if code is None:
                assert client.do(*client.login())[0] != OK
            else:
                client.refused(code, *client.login())
        there.hook = None
        client.connect()


def access(place):
    with Driven(place) as client:
        calls = lambda: [entry[1] for entry in place.host.transcript if entry[0] == "soap"]
        client.want(OK, *client.login("prepare", last=["backup-1"]))
        client.want(OK, *client.login("end", last=["backup-1"]))
        client.want(OK, *client.login("cleanup", last=["-"]))
        center = place.host.vcenter
        assert ("DisableMethods" in calls()) == ("EnableMethods" in calls()) == center, calls()
        assert not place.host.cookies
        client.refused(VM_NOT_FOUND, *client.login("prepare", vm="moref=vm-99", last=["backup-1"]))
        client.refused(VM_NOT_FOUND, *client.login("cleanup", vm="moref=vm-99", last=["-"]))
        client.refused(INVALID_ARG, *client.login("prepare", vm="-", last=["backup-1"]))
        client.refused(INVALID_ARG, *client.login("end", last=["x" * 51]))
        assert not place.host.cookies


def held_by_another(place):
    """A machine that another program has had kept where it is, until that one, or somebody in its name, ends it."""
    with Driven(place) as client:
        client.want(OK, *client.login("prepare", last=["backup-1"]))
        client.refused(5, *client.login("prepare", last=["backup-2"]), sentence="in the name of backup-1: .*EndAccess")
        client.want(OK, *client.login("end", last=["backup-2"]))
        client.refused(5, *client.login("prepare", last=["backup-2"]))
        client.want(OK, *client.login("end", last=["backup-1"]))
        client.want(OK, *client.login("prepare", last=["backup-2"]))
        place.host.hook = fault_of(place, "DisableMethods", "MethodAlreadyDisabledFault")
        client.refused(5, *client.login("prepare", last=["backup-2"]), sentence="does not tell")


def names_of_machines(place):
    there = place.host
    with Driven(place) as client:
        for name in ("moref=" + there.vm, "moref=VirtualMachine:" + there.vm, "uuid=" + there.uuid,
                     "instanceUuid=" + there.instance_uuid, "[store] vm1/vm1.vmx", "DC0/vm/vm1",
                     "vm1/vm1.vmx?dcPath=DC0&dsName=store", "vm1/vm1.vmx?dsName=store&dcPath=DC0"):
            client.connect(vm=name)
            client.want(OK, "open", DISK, READ_ONLY)
            client.want(OK, "close")
            client.want(OK, "disconnect")
        for name in ("moref=vm-99", "uuid=" + there.instance_uuid, "instanceUuid=" + there.uuid, "[store] vm1/other.vmx",
                     "DC0/vm/vm2", "vm1/vm1.vmx?dcPath=DC1&dsName=store", "vm1/vm1.vmx?dcPath=DC0&dsName=other"):
            client.connect(vm=name)
            client.refused(VM_NOT_FOUND, "open", DISK, READ_ONLY)
            client.want(OK, "disconnect")
        client.connect(vm="vm1/vm1.vmx?dcPath=DC0")
        client.refused(INVALID_ARG, "open", DISK, READ_ONLY, sentence="dsName")


def inventories_in_pages(place):
    """A server gives so many objects at once, and a token for the rest."""
    there = place.host
    new = "[store] paged/new.vmdk"
    asked = lambda: [entry[1] for entry in there.transcript if entry[0] == "soap"].count("ContinueRetrievePropertiesEx")
    first = dict(there.objects)
    there.objects.clear()
    for n in range(5, 12):
        there.objects["Datastore", "datastore-%d" % n] = {"name": host_disks.string("other-%d" % n)}
        there.objects["Datacenter", "datacenter-%d" % n] = {
            "name": host_disks.string("DC%d" % n), "datastore": host_disks.list_of("Datastore", "datastore-%d" % n)}
    there.objects.update(first)
    there.page = 1
    with Driven(place) as client:
        client.connect()
        client.want(OK, "create", new, 2048, 7)
        assert asked() >= 14 and not there.pages, (asked(), there.pages)
        client.want(OK, "unlink", new)
        there.hook = fault_of(place, "ContinueRetrievePropertiesEx", "InvalidArgument")
        client.refused(INVALID_ARG, "create", new, 2048, 7, sentence="InvalidArgument|ContinueRetrieve")
        # one that goes on without giving anything
        there.hook = lambda label, data, session: data if label != "soap ContinueRetrievePropertiesEx" else (
            re.sub("<objects>.*</objects>", "", data).replace("<returnval>", "<returnval><token>more</token>"))
        with Deadline(10):
            client.refused(OBJECT_NOT_FOUND, "create", new, 2048, 7)
        there.hook = None
        client.want(OK, "disconnect")
    there.make_inventory()


def datastores_of_one_name(place):
    """The one that the machine is on is meant."""
    there = place.host
    new = "[store] vm1/new.vmdk"
    first = dict(there.objects)
    there.objects.clear()
    there.objects["Datacenter", "datacenter-9"] = {
        "name": host_disks.string("DC1"), "datastore": host_disks.list_of("Datastore", "datastore-7")}
    there.objects["Datastore", "datastore-7"] = dict(first["Datastore", "datastore-1"])
    there.objects.update(first)
    with Driven(place) as client:
        for vm in ("moref=" + there.vm, "[store] vm1/vm1.vmx"):
            client.connect(vm=vm)
            client.want(OK, "create", new, 2048, 7)
            client.want(OK, "open", new, 0)  # by a ticket for the datastore
            client.want(OK, "close")
            client.want(OK, "grow", new, 4096)
            client.want(OK, "unlink", new)
            client.want(OK, "disconnect")
        client.connect(vm="-")
        client.refused(INVALID_ARG, "create", new, 2048, 7, sentence="2 datastores are called store.*vmxSpec")
        client.want(OK, "disconnect")
        client.connect(vm="moref=vm-99")
        client.refused(VM_NOT_FOUND, "create", new, 2048, 7)
        client.want(OK, "disconnect")
        there.objects["VirtualMachine", there.vm]["datastore"] = host_disks.list_of("Datastore", "datastore-8")
        client.connect()
        client.refused(INVALID_ARG, "create", new, 2048, 7, sentence="2 datastores are called store")
        client.want(OK, "disconnect")
    there.make_inventory()


def tasks_that_cannot_be_asked(place):
    """A server that is away for a moment says nothing of the task that it has begun."""
    there = place.host
    new = "[store] vm1/new.vmdk"
    calls = lambda method: [entry[1] for entry in there.transcript if entry[0] == "soap"].count(method)

    def away(times, answer):
        """Questions for tasks are not answered so many times."""
        left = [times]

        def hook(label, data, session):
            if label == "soap RetrievePropertiesEx" and "info.state" in data and left[0]:
                left[0] -= 1
                if answer is None:
                    session.close_connection = True
                return answer
            return data
        there.hook = hook

    with Driven(place, "vixdisk.soap.callTimeoutMs = 1000\n") as client:
        client.connect()
        for times, answer in ((1, (503, "busy")), (3, (503, "busy")), (2, None)):  # None: closed without an answer
            away(times, answer)
            made = calls("CreateVirtualDisk_Task")
            client.want(OK, "create", new, 2048, 7)
            assert calls("CreateVirtualDisk_Task") == made + 1
            said = [line for line in client.messages() if "the task is asked for again" in line]
            assert said and not client.warnings(), client.messages()
            there.hook = None
            client.want(OK, "unlink", new)
        away(1000, (503, "busy"))
        with Deadline(10):
            client.refused(SERVER_NOT_AVAILABLE, "create", new, 2048, 7, sentence="the task task-\\d+ was begun and may go on")
        away(1, (401, ""))  # no matter of time
        with Deadline(2):
            client.refused(HOST_USER_PERMISSIONS, "unlink", new, sentence="401")


def tickets(place):
    there = place.host
    calls = lambda: [entry[1] for entry in there.transcript if entry[0] == "soap"]
    with Driven(place) as client:
        # The machine's other files may be why its ticket is refused: one for the disk will do.
        there.hook = fault_of(place, "NfcGetVmFiles", "FileFault")
        client.connect()
        client.want(OK, "open", DISK, READ_ONLY)
        assert client.read_all(2 * MIB) == place.data
        client.want(OK, "close")
        assert "NfcRandomAccessOpenReadonly" in calls(), calls()
        # A ticket that names no service is for the usual one.
        there.hook = lambda label, data, session: (
            re.sub("<service>.*</service>", "", data) if label.startswith("soap Nfc") else data)
        client.want(OK, "open", DISK, READ_ONLY)
        assert client.read_all(2 * MIB) == place.data
        client.want(OK, "close")


def hosts_that_nobody_names(place):
    """Tickets that tell no certificate: the host is checked by what there is, and never quietly by nothing."""
    there = place.host
    impostor = nfc.Identity(place.folder, "impostor")
    there.hook = strip = lambda label, data, session: (
        re.sub("<sslThumbprint>.*?</sslThumbprint>", "", data) if label.startswith("soap Nfc") else data)
    other = lambda label, data, session: impostor if label == "tls1" else strip(label, data, session)

    def begun():
        return [entry for log in there.nfc_logs() for entry in log if entry[:2] == ("authd", "SESSION <id>")]

    def opens(client, hook, code, **how):
        there.hook = hook
        client.connect(**how)
        before = len(begun())
        if code == OK:
            client.want(OK, "open", DISK, READ_ONLY)
            client.want(OK, "close")
        else:
            client.refused(code, "open", DISK, READ_ONLY, begins="127.0.0.1:%d: " % there.nfc_port)
            assert len(begun()) == before, "the ticket is given to a host that nobody has checked"
        text = client.do("sentence")[1]
        client.want(OK, "disconnect")
        return text

    for transport in ("nbd", "nbdssl"):
        with Driven(place) as client:  # the server itself: by the thumbprint of the login
            opens(client, strip, OK, transports=transport)
            text = opens(client, other, HANDSHAKE, transports=transport)
            assert impostor.sha1 in text and place.identity.sha1 in text, text
            # a host that is not the server: by its chain
            text = opens(client, strip, HANDSHAKE, transports=transport, server="localhost")
            assert "vixdisk.caFile" in text and "verifyCertificates=0" in text, text
            assert not [line for line in client.warnings() if "not checked" in line]
        with Driven(place, "vixdisk.caFile = %s\n" % place.identity.cert) as client:
            opens(client, strip, OK, transports=transport, thumbprint="-")
            text = opens(client, other, HANDSHAKE, transports=transport, thumbprint="-")
            assert "certificate refused" in text, text
        with Driven(place, "vixDiskLib.linuxSSL.verifyCertificates = 0\n") as client:
            opens(client, strip, OK, transports=transport, thumbprint="-")
            assert [line for line in client.warnings() if "certificate is not checked" in line], client.warnings()
            opens(client, other, HANDSHAKE, transports=transport)  # what was asked for is checked all the same


def hosts_without_room(place):
    there = place.host
    full = b"421 Too many connections\r\n"
    begins = "127.0.0.1:%d: " % there.nfc_port
    with Driven(place) as client:
        client.connect()
        for at in ("banner", "PROXY"):
            there.hook = lambda label, data, session: full if label == at else data
            before = len(there.nfc_logs())
            client.refused(HANDSHAKE, "open", DISK, READ_ONLY, begins=begins, sentence="no more room.*try later")
            assert len(there.nfc_logs()) == before + 2  # once more, later
        times = []
        there.hook = lambda label, data, session: (
            full if label == "PROXY" and not times and not times.append(1) else data)
        client.want(OK, "open", DISK, READ_ONLY)
        client.want(OK, "close")


def secrets(place):
    """Nothing of a password or a cookie is in the memory of the process once it has disconnected."""
    tail = place.host.password[-7:].encode()
    with Driven(place) as client:
        client.connect()
        cookie = next(iter(place.host.cookies)).strip('"').encode()
        assert client.memory_has(tail), "the search itself finds nothing"
        client.want(OK, "disconnect")
        found = client.memory_has(tail, cookie)
        assert not found, found
        place.write("wrong", "other-secret-71ab\n")
        client.do(*client.login(password="wrong"))
        client.do(*client.login("prepare", last=["backup"]))
        found = client.memory_has(tail, b"secret-71ab")
        assert not found, found
        log = "\n".join(client.messages()).encode()
        assert tail not in log and cookie not in log and b"secret-71ab" not in log


def disks_of_nobody(place):
    new = "[store] some/where/new.vmdk"
    with Driven(place) as client:
        client.connect()
        client.want(OK, "create", new, 2048, 7)
        assert place.flat_of("some/where/new-flat.vmdk") == bytes(MIB) and place.host.created[-1] == ("thin", "lsiLogic")
        client.refused(FILE_ALREADY_EXISTS, "create", new, 2048, 5)
        client.want(OK, "grow", new, 4096)
        assert len(place.flat_of("some/where/new-flat.vmdk")) == 2 * MIB
        client.want(OK, "unlink", new)
        assert not os.listdir(place.path("store/some/where"))
        client.refused(FILE_NOT_FOUND, "unlink", new)
        client.refused(NOT_SUPPORTED, "create", new, 2048, 8)
        client.want(OK, "create", new, 2048, 5)
        assert place.host.created[-1] == ("preallocated", "lsiLogic")
        client.want(OK, "unlink", new)
        client.refused(OBJECT_NOT_FOUND if place.host.vcenter else INVALID_ARG, "create", "[elsewhere] a.vmdk", 2048, 7)
        for path in ("/tmp/x.vmdk", "x.vmdk", "[store]", "[] x.vmdk", "[store"):
            for call in (("create", path, 2048, 1), ("unlink", path), ("open", path, 0), ("grow", path, 4096)):
                client.refused(INVALID_ARG, *call)
        client.refused(NOT_SUPPORTED_ON_REMOTE_OBJECT, "check", DISK)
        client.want(INVALID_ARG, "rename", DISK, new)
        client.want(OK, "disconnect")
        client.connect(read_only=1)
        client.refused(FILE_READ_ONLY, "create", new, 2048, 7)
        client.refused(FILE_READ_ONLY, "unlink", DISK)
        client.want(FILE_READ_ONLY, "grow", DISK, 65536)


def many_at_once(place):
    clients = [Driven(place) for _ in range(2)]
    for n in range(3):
        for client in clients:
            client.send(*client.login())
        assert [client.answer()[0] for client in clients] == [OK, OK]
        for client in clients:
            client.want(OK, "disconnect")
    for client in clients:
        client.__exit__(None)


TESTS = [("names of servers", what_servers_are_called), ("servers that do not answer, or not as servers", who_answers),
         ("certificates and thumbprints", certificates), ("logins that are refused", logins),
         ("cookies of other sessions", cookies), ("servers in trouble", servers_in_trouble),
         ("PrepareForAccess, EndAccess, Cleanup", access), ("no secret stays in memory or in the log", secrets),
         ("disks that belong to no machine", disks_of_nobody), ("many connections", many_at_once),
         ("names of machines", names_of_machines), ("inventories in pages", inventories_in_pages),
         ("datastores of one name", datastores_of_one_name),
         ("tickets", tickets), ("hosts whose certificate nobody names", hosts_that_nobody_names),
         ("hosts without room for a connection", hosts_without_room),
         ("tasks that cannot be asked for", tasks_that_cannot_be_asked),
         ("a machine that another program holds", held_by_another)]


def main():
    for center in (True, False):
        kind = "vCenter" if center else "ESXi"
        with Place(size=2 * MIB, vcenter=center) as place:
            tap.check("connect to %s, log out" % kind, kinds_of_servers, place, center)
            for name, test in TESTS if center else TESTS[6:9]:
                place.host.reset()
                tap.check("%s: %s" % (kind, name), test, place)
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
